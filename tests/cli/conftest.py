"""What tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_pipe.convert import catalogue, description
from resnet_pipe.model import model
from tests.networks import write_tiny
from tests.run.jobs import JobFolder, numbered


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory in which converted models are looked for."""
    folder = tmp_path / "models"
    folder.mkdir()
    for module in (model, catalogue, description):
        monkeypatch.setattr(module, "models_dir", lambda: folder)
    return folder


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    """A job of five images."""
    job = JobFolder(tmp_path, write_tiny(tmp_path / "tiny.onnx"))
    job.add(*numbered(5))
    return job
