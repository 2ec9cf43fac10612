"""Fixtures for the tests of studies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.networks import write_tiny
from tests.run.jobs import JobFolder, numbered


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    """A job of thirty images, which says nothing about speed."""
    folder = tmp_path / "job"
    folder.mkdir()
    job = JobFolder(folder, write_tiny(tmp_path / "tiny.onnx"))
    job.add(*numbered(30))
    text = (
        job.file.read_text().replace(", batch_size: 2", "").replace("run: {workers: 1, chunk_items: 2}\n", "")
    )
    job.file.write_text(text)
    return job
