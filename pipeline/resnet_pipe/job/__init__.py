"""The job file: read, checked, and brought together with its model."""
