"""A run starts quickly: no process imports a large library that it has no use for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.run.faults import GATE
from tests.run.jobs import JobFolder, numbered

LIBRARIES = (
    "av",
    "click",
    "matplotlib",
    "onnx",
    "pandas",
    "PIL",
    "pyarrow",
    "pydantic",
    "ruamel",
    "torch",
)

NOTED = f"""
{GATE}
ENGINE = "resnet_pipe.run.engines.engine_process" in sys.orig_argv

class Noted:
    def find_spec(self, name, path=None, target=None):
        if name in {LIBRARIES}:
            with (FOLDER / ("worker" if IN_WORKER else "engine" if ENGINE else "run")).open("a") as file:
                file.write(f"{{name}}\\n")

sys.meta_path.insert(0, Noted())
"""
"""Each process notes which of the libraries it asks for, whether they are installed or not."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, network: Path) -> JobFolder:
    """A job of images that has run, of which each process has left a note. Do not change it."""
    job = JobFolder(tmp_path_factory.mktemp("imports"), network)
    job.write(
        writer="[{kind: parquet, path: out, fields: [logits, top_k], k: 3}, {kind: jsonl, k: 2}, {kind: npy}]"
    )
    job.add(*numbered(3))
    job.run(faults=NOTED).expect(0)
    return job


@pytest.mark.parametrize(
    ("process", "needed"),
    [("run", {"click", "onnx", "pyarrow", "pydantic", "ruamel"}), ("worker", {"PIL"}), ("engine", set())],
)
def test_a_process_imports_only_what_it_needs(finished: JobFolder, process: str, needed: set[str]) -> None:
    notes = finished.folder / process
    assert set(notes.read_text().split() if notes.exists() else ()) <= needed
