"""Engines compared on a network that finds objects: by the boxes that are made of what they give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnet_pipe.convert import catalogue
from resnet_pipe.doctor import models as doctor_models
from resnet_pipe.errors import ExitCode
from resnet_pipe.head.detectors.settings import DetectorSettings
from resnet_pipe.job.job import load
from resnet_pipe.run.stop import Stop
from resnet_pipe.study import verifier
from resnet_pipe.study.items import read_items
from resnet_pipe.study.matching import apart, items_of, matched
from resnet_pipe.study.subject import of_model
from resnet_pipe.study.trial import open_trials
from tests.networks import YOLO_CROP, write_yolo
from tests.run.commands import Result
from tests.run.jobs import Cli, JobFolder, numbered
from tests.sidecars import make_finder, write_yolo_sidecar
from tests.study.engines import Install


@pytest.fixture
def finder(tmp_path: Path) -> JobFolder:
    """A job that finds objects in five images."""
    finder = make_finder(tmp_path / "finder")
    finder.add(*numbered(5))
    return finder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which a choice is remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def by_engine(result: Result) -> dict[str, dict[str, Any]]:
    return {row["engine"]: row for row in json.loads(result.stdout)["engines"]}


def test_engines_are_compared_by_boxes_in_pixels_and_scores(
    cli: Cli, finder: JobFolder, install: Install
) -> None:
    install(opencv="shifted", torch="honest")
    model = finder.folder / "tiny.onnx"
    result = cli("verify", model, "--images", finder.images, "--json").expect(ExitCode.FAILED)
    printed, rows = json.loads(result.stdout), by_engine(result)
    assert printed["compared"] == "boxes"
    assert printed["thresholds"]["fp32"] == 0.98
    assert {name: row["status"] for name, row in rows.items()} == {"opencv": "fail", "torch": "pass"}
    assert (rows["torch"]["matched"], rows["torch"]["max_box_difference"]) == (1.0, 0.0)
    assert rows["torch"]["max_score_difference"] == 0.0
    assert rows["torch"]["boxes"] == rows["opencv"]["boxes"] > 10
    assert rows["opencv"]["matched"] < 0.9
    assert rows["opencv"]["max_box_difference"] == pytest.approx(4, abs=1e-4)  # of those large enough
    assert "cosine_min" not in rows["torch"]


def test_the_table_has_the_figures_of_boxes(cli: Cli, finder: JobFolder, install: Install) -> None:
    install(opencv="shifted", torch="honest")
    result = cli("verify", finder.file, "--count", "3").expect(ExitCode.FAILED)
    lines = result.stdout.splitlines()
    rows = {line.split()[0]: line for line in lines[2:] if line}
    assert rows["engine"].split("  ")[0] == "engine"
    assert [title in rows["engine"] for title in ("boxes", "the same", "max px", "max score")] == [True] * 4
    assert "100.0%" in rows["torch"]
    assert rows["torch"].endswith("  pass")
    assert rows["opencv"].endswith("  FAIL")
    assert "cosine" not in result.stdout
    assert "must reach fp32 0.98, fp16 0.9, bf16 0.9, int8 0.8" in result.stdout


@pytest.mark.parametrize("kind", ["yolo5", "yolo_end_to_end"])
def test_every_kind_of_yolo_is_compared_by_the_engines_that_are_installed(
    cli: Cli, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(verifier, "SECONDS", 0.05)
    finder = make_finder(tmp_path / kind, kind, batch=2)
    finder.add(*numbered(3))
    engines = [word for name in ("opencv", "onnxruntime") for word in ("--engine", name)]
    for row in by_engine(cli("verify", finder.file, *engines, "--json").expect(0)).values():
        assert row["status"] == "pass"
        assert row["boxes"] > 0
        assert row["max_box_difference"] < 0.01


def test_auto_chooses_an_engine_that_finds_the_same_boxes(
    cli: Cli, finder: JobFolder, install: Install
) -> None:
    install(opencv="shifted", torch="honest")
    auto = ("--set", "infer.engine=auto")
    said = cli("run", finder.file, *auto, "--dry-run").expect(0).stderr
    assert "engine auto: opencv fp32: fail, " in said
    assert "engine auto: torch fp32: pass, 100.0% of the boxes the same, " in said
    assert "engine auto chose torch fp32" in said
    assert "comparing" not in cli("run", finder.file, *auto, "--dry-run").expect(0).stderr
    other = cli("run", finder.file, *auto, "--set", "infer.score=0.5", "--dry-run").expect(0).stderr
    assert "comparing" in other, "other boxes need another comparison"


@pytest.fixture
def both(tmp_path: Path) -> JobFolder:
    """A job for boxes and features of five images."""
    both = make_finder(tmp_path / "both", features=True)
    both.add(*numbered(5))
    return both


def test_right_boxes_and_wrong_features_do_not_pass(cli: Cli, both: JobFolder, install: Install) -> None:
    install(opencv="wrong", openvino="shifted", torch="honest")
    for spec in (both.file, both.folder / "tiny.onnx"):
        result = cli("verify", spec, "--images", both.images, "--json").expect(ExitCode.FAILED)
        printed, rows = json.loads(result.stdout), by_engine(result)
        assert printed["compared"] == "boxes and features"
        assert {name: row["status"] for name, row in rows.items()} == {
            "opencv": "fail",
            "openvino": "fail",
            "torch": "pass",
        }
        assert rows["opencv"]["matched"] == 1.0
        assert rows["opencv"]["cosine_min"] < 0.99
        assert "output `features`" in rows["opencv"]["reason"]
        assert rows["openvino"]["cosine_min"] > 0.99999
        assert "of the boxes are the same" in rows["openvino"]["reason"]
        assert rows["torch"]["boxes"] > 10
        assert rows["torch"]["cosine_min"] > 0.99999


def test_the_table_has_the_figures_of_boxes_and_of_features(
    cli: Cli, both: JobFolder, install: Install
) -> None:
    install(opencv="wrong", torch="honest")
    printed = cli("verify", both.file).expect(ExitCode.FAILED).stdout
    title, rows = printed.splitlines()[2], printed.splitlines()[3:5]
    assert title.split() == [
        *("engine", "precision", "device", "boxes", "the", "same", "max", "px", "max", "score"),
        *("cosine", "min", "max", "error", "images/s", "result"),
    ]
    assert all(len(row.split("  ")[0]) and "100.0%" in row for row in rows)
    assert "must reach fp32 0.98" in printed
    assert "cosine: of the output `features`; the smallest of all images must reach fp32 0.99999" in printed


@pytest.mark.parametrize("fields", ["[boxes, features]", "[boxes]", "[features]"])
def test_auto_chooses_no_engine_with_wrong_features(
    cli: Cli, both: JobFolder, install: Install, fields: str
) -> None:
    install(opencv="wrong", torch="honest")
    asked = ("--set", "infer.engine=auto", "--set", f"writer.fields={fields}", "--dry-run")
    said = cli("run", both.file, *asked).expect(0).stderr
    assert "engine auto: opencv fp32: fail, " in said
    assert "engine auto chose torch fp32" in said


def test_the_doctor_and_the_list_of_models_name_the_features(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = write_yolo(tmp_path / "tiny.onnx", features=True)
    write_yolo_sidecar(network, features=True)
    (finding,) = doctor_models.check(tmp_path)
    assert "an item; features (N, 16): features" in finding.text
    monkeypatch.setattr(catalogue, "models_dir", lambda: tmp_path)
    (model,) = [one for one in json.loads(cli("models", "--json").expect(0).stdout) if one["path"]]
    assert model["outputs"] == {"features": 16}


def test_a_network_that_finds_objects_is_not_asked_for_classes(
    cli: Cli, finder: JobFolder, install: Install
) -> None:
    install(opencv="honest", torch="honest")
    asked = ("--set", "writer.fields=[top_k]", "--set", "infer.engine=auto")
    said = cli("run", finder.file, *asked).expect(ExitCode.USAGE).stderr
    assert "tiny finds objects, and gives no top_k: write fields: [boxes]" in said


def test_a_trial_of_tune_runs_a_job_with_boxes(finder: JobFolder) -> None:
    with open_trials(load(finder.file)[0], Stop()) as trials:
        assert trials.run(8, {"infer.batch_size": 4}, 60.0)["items"] == 8


def test_the_doctor_says_what_such_a_model_finds(tmp_path: Path) -> None:
    network = write_yolo(tmp_path / "tiny.onnx")
    write_yolo_sidecar(network)
    (finding,) = doctor_models.check(tmp_path)
    assert finding.level == "OK"
    assert "boxes of 5 classes from output0 (yolo); score above 0.25" in finding.text


def test_the_doctor_says_of_a_file_that_may_find_objects_how_to_tell(tmp_path: Path) -> None:
    network = write_yolo(tmp_path / "tiny.onnx")
    (finding,) = doctor_models.check(tmp_path)
    assert finding.level == "WARN"
    assert finding.text.endswith("; its outputs: perhaps boxes, as a YOLO gives them; converting it tells")
    assert finding.remedy == f"resnet-pipe convert {network} --name NAME"


def test_a_sample_knows_where_the_image_of_each_item_lies(finder: JobFolder) -> None:
    section = load(finder.file)[0].reader
    geometry = of_model(finder.folder / "tiny.onnx").geometry
    sample = read_items(section.make_reader(), geometry, 2, section.timeout_s)
    with Image.open(finder.images / numbered(1)[0]) as image:
        left, top, width, height = sample.placements[0].tolist()
        assert max(width, height) == YOLO_CROP > min(width, height)
        assert (2 * left + width, 2 * top + height) == (YOLO_CROP, YOLO_CROP)
        assert width / height == pytest.approx(image.width / image.height, rel=0.05)
    assert (sample.items[0][0, 0] == 114).all(), "the margin is where no image is"


def test_a_box_is_in_one_pair_and_one_without_an_area_is_its_own() -> None:
    one = np.array([[0, 0, 10, 10, 0.9, 1], [0, 0, 10, 10, 0.8, 1], [5, 5, 5, 9, 0.7, 1]], np.float32)
    other = np.array([[0, 0, 10, 10.5, 0.85, 1], [5, 5, 5, 9, 0.7, 1], [0, 0, 10, 10, 0.5, 2]], np.float32)
    found = apart(one, other)
    assert found.corners.tolist() == [0.5, 0.0]
    assert found.scores == pytest.approx([0.05, 0.0], abs=1e-6)
    nothing = items_of(np.zeros((1, 12), np.float32))
    assert len(nothing[0]) == 0
    assert len(apart(nothing[0], one).corners) == len(apart(one, nothing[0]).corners) == 0


def test_boxes_without_an_area_are_the_same_if_only_rounding_differs() -> None:
    settings = DetectorSettings(kind="fcos", classes=2, score=0.1, nms=0.5, max_detections=2)
    one = np.array([[[1, 2, 1, 9, 0.9, 1], [0, 3, 0.001, 7, 0.8, 1]]], np.float32).reshape(1, -1)
    rounded = one + np.array([0, 1e-4, 0, 1e-4, 1e-4, 0, 0, 0, 1e-3, 0, 0, 0], np.float32)
    assert matched(rounded, one, settings) == 1
    elsewhere = one + np.array([0, 3, 0, 3, 0, 0] * 2, np.float32)
    assert matched(elsewhere, one, settings) == 0
