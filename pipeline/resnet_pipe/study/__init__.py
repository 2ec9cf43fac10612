"""Studies: the same job run in several ways on a sample of its input, and compared."""
