"""The executor of a Ray cluster: a driver, which commits, and actors, which run chunks on its nodes."""
