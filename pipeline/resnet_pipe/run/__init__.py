"""The run: composes the stages, times them, and commits what they produce."""
