"""A job that leaves everything about speed to the machine."""

from __future__ import annotations

from pathlib import Path

from tests.networks import preprocess_yaml, write_tiny
from tests.run.jobs import JobFolder, numbered


def plain_job(tmp_path: Path) -> JobFolder:
    """Return a job of thirty images, which says nothing about speed."""
    folder = tmp_path / "job"
    folder.mkdir()
    job = JobFolder(folder, write_tiny(tmp_path / "tiny.onnx"))
    job.add(*numbered(30))
    job.file.write_text(
        "name: nightly\n"
        "reader: {kind: images, path: images}\n"
        f"preprocess: {preprocess_yaml()}\n"
        "infer: {model: tiny.onnx, device: cpu}\n"
        "writer: {kind: parquet, path: out}\n"
    )
    return job
