"""Engines execute the network."""
