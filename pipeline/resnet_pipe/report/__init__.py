"""Reports: what a run tells monitoring systems and people."""
