"""Studies run a job many times, each in a process of its own, and compare."""
