"""The command line: parsing, signals, printing, exit codes."""
