"""Fixtures for the tests of unattended runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.networks import write_pixels, write_tiny
from tests.run.jobs import CROP, JobFolder, VideoFolder, numbered
from tests.videos import SAMPLES, make


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network. Do not change it."""
    return write_tiny(tmp_path_factory.mktemp("network") / "tiny.onnx")


@pytest.fixture
def make_job(tmp_path: Path, network: Path) -> Callable[[str], JobFolder]:
    """Make a job in a folder of a given name."""

    def make(name: str) -> JobFolder:
        (tmp_path / name).mkdir()
        return JobFolder(tmp_path / name, network)

    return make


@pytest.fixture(scope="session")
def five_done(tmp_path_factory: pytest.TempPathFactory, network: Path) -> Path:
    """A job of five images in three chunks that has run. Do not change it."""
    job = JobFolder(tmp_path_factory.mktemp("five"), network)
    job.add(*numbered(5))
    job.run().expect(0)
    return job.folder


@pytest.fixture
def done(five_done: Path, tmp_path: Path, network: Path) -> JobFolder:
    """A job of five images in three chunks that has run."""
    shutil.copytree(five_done, tmp_path / "done")
    return JobFolder(tmp_path / "done", network)


@pytest.fixture
def job(make_job: Callable[[str], JobFolder]) -> JobFolder:
    """A job without images."""
    return make_job("job")


@pytest.fixture(scope="session")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose features are its input. Do not change it."""
    return write_pixels(tmp_path_factory.mktemp("pixels") / "tiny.onnx", CROP)


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all sample videos. Do not change it."""
    folder = tmp_path_factory.mktemp("samples")
    for recipe in SAMPLES.values():
        make(folder, recipe)
    return folder


@pytest.fixture
def film(tmp_path: Path, pixels: Path) -> VideoFolder:
    """A job without videos."""
    (tmp_path / "film").mkdir()
    return VideoFolder(tmp_path / "film", pixels)
