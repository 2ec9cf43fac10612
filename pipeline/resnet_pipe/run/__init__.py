"""The run: composes the four stages, times them, and commits what they produce."""
