"""Fixtures of the tests of readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.videos import SAMPLES, make


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all sample videos. Do not change it."""
    folder = tmp_path_factory.mktemp("videos")
    for recipe in SAMPLES.values():
        make(folder, recipe)
    return folder
