"""Executors: who runs the chunks of a plan."""
