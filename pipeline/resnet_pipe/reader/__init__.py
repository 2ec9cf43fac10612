"""Readers list sources and, inside a worker process, turn one source into decoded items."""
