"""The doctor compares the models that were converted with their sidecars."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from resnet_pipe.doctor import models
from resnet_pipe.doctor.examination import Finding
from tests.networks import write_tiny
from tests.run.jobs import SIDECAR


def add(folder: Path, stem: str = "tiny", **sidecar: object) -> Path:
    """Add a model with a sidecar that fits, but for what is given."""
    path = write_tiny(folder / f"{stem}.onnx")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    about = {"onnx_sha256": digest, "file_bytes": path.stat().st_size, "name": "x"}
    path.with_suffix(".json").write_text(json.dumps({**SIDECAR, **about, **sidecar}))
    return path


def only(folder: Path) -> Finding:
    (finding,) = models.check(folder)
    assert finding.check == "models"
    assert bool(finding.remedy) == (finding.level != "OK")
    return finding


def test_a_model_that_fits_its_sidecar_is_fine(tmp_path: Path) -> None:
    add(tmp_path)
    finding = only(tmp_path)
    assert finding.level == "OK"
    about = "tiny: 0 MB, SHA-256 matches its sidecar; checkpoint weights (x)"
    assert finding.text == f"{about}; logits (N, 10): logits; features (N, 3): features"


def test_random_weights_are_said_aloud(tmp_path: Path) -> None:
    add(tmp_path, weights={"kind": "random", "name": "seed 0", "requested": "auto"})
    finding = only(tmp_path)
    assert finding.level == "OK"
    assert "random weights (seed 0): good for timing, not for results" in finding.text


def test_a_model_with_one_bit_flipped_is_a_fail_with_the_command_that_makes_it(tmp_path: Path) -> None:
    path = add(tmp_path, "resnet50")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    finding = only(tmp_path)
    assert finding.level == "FAIL"
    assert "the SHA-256 differs" in finding.text
    assert "resnet-pipe convert resnet50" in finding.remedy


@pytest.mark.parametrize("contents", ["", "{", '{"schema_version": 2}', "[1, 2]", "\x00\xff"])
def test_a_damaged_sidecar_is_a_fail(tmp_path: Path, contents: str) -> None:
    add(tmp_path).with_suffix(".json").write_text(contents)
    finding = only(tmp_path)
    assert finding.level == "FAIL"
    assert "not a valid sidecar" in finding.text


def test_a_model_without_a_sidecar_is_a_warning(tmp_path: Path) -> None:
    add(tmp_path).with_suffix(".json").unlink()
    finding = only(tmp_path)
    assert finding.level == "WARN"
    assert "no sidecar" in finding.text
    assert finding.text.endswith("; its outputs: logits (N, 10): logits; features (N, 3): features")
    assert "preprocess" in finding.remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_model_that_may_not_be_read_is_a_fail(tmp_path: Path) -> None:
    add(tmp_path).chmod(0)
    assert "Permission denied" in only(tmp_path).text


def test_a_directory_in_the_place_of_a_sidecar_is_a_fail(tmp_path: Path) -> None:
    path = add(tmp_path).with_suffix(".json")
    path.unlink()
    path.mkdir()
    assert only(tmp_path).level == "FAIL"


def test_of_more_than_can_be_hashed_in_seconds_the_size_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tmp_path, "a")
    size = 5000
    with add(tmp_path, "large", file_bytes=size).open("r+b") as file:
        file.truncate(size)
    monkeypatch.setattr(models, "HASHED_BYTES", size)
    small, large = models.check(tmp_path)
    assert "SHA-256" in small.text
    assert "size matches its sidecar, too large to hash here" in large.text
    with (tmp_path / "large.onnx").open("r+b") as file:
        file.truncate(size + 1)
    _, large = models.check(tmp_path)
    assert large.level == "FAIL"
    assert large.text.endswith("large.onnx has 5001 bytes, but its sidecar says 5000")


@pytest.mark.parametrize("exists", [False, True])
def test_without_models_the_line_tells_how_to_make_one(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path if exists else tmp_path / "nowhere"
    finding = only(folder)
    assert finding.level == "OK"
    assert "resnet-pipe convert resnet50" in finding.text


def test_a_hostile_name_does_no_harm(tmp_path: Path) -> None:
    for path in (add(tmp_path), tmp_path / "tiny.json"):
        path.rename(path.with_stem(os.fsdecode(b"evil\x1b[2J\xff")))
    assert only(tmp_path).text.startswith("evil\x1b[2J\\xff: ")
