"""Fixtures of the tests of the doctor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doctor.environment import Environment


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """An environment like this one, until something is put into it."""
    place = tmp_path / "environment"
    place.mkdir()
    return Environment(place)
