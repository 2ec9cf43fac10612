"""Engines on the devices of a run, each in a process of its own."""
