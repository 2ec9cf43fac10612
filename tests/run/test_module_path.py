"""Files beside a job are data: none is executed because it is named like a module."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.run.jobs import Cli, JobFolder, numbered

TRAPS = ("json", "numpy", "cv2", "simplejpeg", "PIL", "runpy", "sitecustomize")
TRAP = "open(__file__ + '.executed', 'w').close()\n"

COMMANDS = {
    "run": ("run", "JOB"),
    "verify": ("verify", "JOB", "--engine", "opencv", "--count", "2"),
    "doctor": ("doctor", "cv2", "cuda", "decoders"),
}


@pytest.fixture
def job_among_traps(job: JobFolder, monkeypatch: pytest.MonkeyPatch) -> JobFolder:
    """A job whose folder is the current directory and has a file of code for each of `TRAPS`."""
    job.write(writer="[{kind: parquet, path: out}, {kind: images, path: out}]")
    job.add(*numbered(3))
    for name in TRAPS:
        (job.folder / f"{name}.py").write_text(TRAP)
    monkeypatch.chdir(job.folder)
    return job


@pytest.mark.parametrize("name", COMMANDS)
def test_no_process_takes_a_module_from_the_current_directory(
    job_among_traps: JobFolder, cli: Cli, name: str
) -> None:
    job = job_among_traps
    cli(*(job.file if word == "JOB" else word for word in COMMANDS[name])).expect(0)
    assert list(job.folder.glob("*.executed")) == []


def test_an_empty_entry_of_pythonpath_is_not_the_current_directory_either(
    job_among_traps: JobFolder, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_among_traps
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", *entries, ""]))
    cli("run", job.file).expect(0)
    assert list(job.folder.glob("*.executed")) == []


def test_modules_that_pythonpath_names_are_still_found(
    job_among_traps: JobFolder, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "sitecustomize.py").write_text(TRAP)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["../own", os.environ.get("PYTHONPATH", "")]))
    cli("run", job_among_traps.file).expect(0)
    assert (tmp_path / "own" / "sitecustomize.py.executed").exists()
