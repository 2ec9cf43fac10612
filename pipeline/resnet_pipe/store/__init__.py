"""Where files are: on this machine's disk."""
