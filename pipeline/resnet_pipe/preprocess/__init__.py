"""Preprocessing brings a decoded frame to the network's input size, as uint8 RGB."""
