"""Users of the system, who have no home, or none that can be written; the package as pip installs it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.networks import write_tiny
from tests.run.commands import PATIENCE_S, Result
from tests.run.jobs import SIDECAR, JobFolder, numbered

ROOT = Path(__file__).parents[2]
UNKNOWN_TO_THE_SYSTEM = """\
import pwd
def unknown(user):
    raise KeyError(user)
pwd.getpwuid = unknown
"""
HOMES = {"none": None, "unwritable": "/dev/null/home"}
"""Nothing can be made below /dev/null, not even by root."""


class User:
    """A user of an installed package.

    Args:
        folder: empty; the current directory of the commands is in it.
        home: their home directory; None for a user without one, whom the system does not know either.
    """

    def __init__(self, folder: Path, home: str | None) -> None:
        site = folder / "site"
        shutil.copytree(
            ROOT / "pipeline/resnet_pipe", site / "resnet_pipe", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copytree(ROOT / "models", site / "resnet_pipe/recipes")
        self.place = folder / "place"
        self.place.mkdir()
        named = ("HOME", "MPLCONFIGDIR", "ORT_DISABLE_TELEMETRY")
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if name not in named and not name.startswith("XDG_")
        }
        self._environment["PYTHONPATH"] = str(site)
        if home is None:
            (site / "sitecustomize.py").write_text(UNKNOWN_TO_THE_SYSTEM)
        else:
            self._environment["HOME"] = home

    def calls(self, *arguments: str, **environment: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "resnet_pipe", *arguments],
            cwd=self.place,
            env=self._environment | environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture(params=HOMES)
def user(tmp_path: Path, request: pytest.FixtureRequest) -> User:
    (tmp_path / "user").mkdir()
    return User(tmp_path / "user", HOMES[request.param])


def test_a_user_without_a_home_works_quietly_with_a_model_that_is_named_by_its_path(
    user: User, job: JobFolder
) -> None:
    job.add(*numbered(3))
    network = job.folder / "tiny.onnx"
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    weights = {"kind": "random", "name": "seed 0", "requested": "random"}  # is said, but not every night
    network.with_suffix(".json").write_text(
        json.dumps({**SIDECAR, "onnx_sha256": digest, "weights": weights})
    )
    engine = "onnxruntime" if find_spec("onnxruntime") else "opencv"  # which has wishes of its own
    said = user.calls(
        "run", str(job.file), "--quiet", "--set", "run.report=true", "--set", f"infer.engine={engine}"
    ).expect(0)
    assert (said.stdout, said.stderr) == ("", "")
    assert (job.last_run() / "report.html").is_file()
    assert list(user.place.iterdir()) == [], "nothing is written for want of a home"


def test_a_user_without_a_home_is_told_where_models_may_be(
    user: User, job: JobFolder, tmp_path: Path
) -> None:
    job.add("a.jpg")
    listed = user.calls("models").expect(0)
    assert listed.stdout.count("  resnet-pipe convert resnet") == 5
    user.calls("doctor", "models").expect(0)
    bare = ("run", str(job.file), "--set", "infer.model=resnet18")
    assert "--set infer.model: infer.model: no such model: " in user.calls(*bare).expect(2).stderr
    assert "XDG_CACHE_HOME" in user.calls("convert", "resnet18", "--weights", "random").expect(2).stderr
    cache = tmp_path / "cache/resnet-pipe"
    (cache / "models").mkdir(parents=True)
    write_tiny(cache / "models/resnet18.onnx")
    report = ("--quiet", "--set", "run.report=true")
    assert user.calls(*bare, *report, XDG_CACHE_HOME=str(cache.parent)).expect(0).stderr == ""
    assert list((cache / "matplotlib").glob("fontlist*")), "found again by the next run"
