"""Engines with known faults. Each stands in for one of the registry, in the processes of trials as well."""

from __future__ import annotations

from collections.abc import Callable

Install = Callable[..., None]
"""Makes some of these the only engines: takes a module for each name of the registry."""
