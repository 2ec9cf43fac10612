"""Fixtures of the tests of readers."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def videos(samples: Path) -> Path:
    """A folder with all sample videos. Do not change it."""
    return samples
