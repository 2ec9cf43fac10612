"""Fixtures for the tests of verification and of the choice of an engine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from resnet_pipe.study import verifier
from tests.networks import write_tiny
from tests.run.jobs import SIDECAR, JobFolder, numbered
from tests.study.engines import Install


@pytest.fixture
def install(install: Install, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make engines of `tests.study.engines` the only ones; their speed is measured briefly."""
    monkeypatch.setattr(verifier, "SECONDS", 0.1)
    return install


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    """A job of five images, whose model has a sidecar."""
    network = write_tiny(tmp_path / "tiny.onnx")
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    (tmp_path / "tiny.json").write_text(json.dumps({**SIDECAR, "onnx_sha256": digest}))
    job = JobFolder(tmp_path, network)
    job.add(*numbered(5))
    return job
