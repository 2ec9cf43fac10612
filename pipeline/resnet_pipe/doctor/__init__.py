"""The doctor: is this environment fit for runs, and what to do where it is not."""
