"""Fixtures of the tests of readers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from resnet_pipe.reader.archives.archives import drive


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's cache directory."""
    folder = tmp_path_factory.mktemp("cache")
    with mock.patch.dict(os.environ, XDG_CACHE_HOME=str(folder)):
        yield folder
    drive.close()


@pytest.fixture(scope="session")
def videos(samples: Path) -> Path:
    """A folder with all sample videos. Do not change it."""
    return samples
