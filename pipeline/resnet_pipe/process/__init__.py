"""Child processes: started, supervised and ended."""
