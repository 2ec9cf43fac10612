"""Engines with known faults. Each stands in for one of the registry, in the processes of trials as well."""
