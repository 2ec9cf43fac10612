"""Heads say what a network's outputs mean, and turn them into rows."""
