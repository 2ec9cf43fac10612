"""A job that leaves everything about speed to the machine."""

from __future__ import annotations

from pathlib import Path

from tests.networks import write_tiny
from tests.run.jobs import JobFolder, numbered


def plain_job(tmp_path: Path) -> JobFolder:
    """Return a job of thirty images, which says nothing about speed."""
    folder = tmp_path / "job"
    folder.mkdir()
    job = JobFolder(folder, write_tiny(tmp_path / "tiny.onnx"))
    job.add(*numbered(30))
    text = job.file.read_text().replace(", batch_size: 2", "")
    job.file.write_text(text.partition("run:")[0])
    return job
