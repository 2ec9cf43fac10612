"""A YOLO in an ONNX file is adopted with what its metadata says, and a job finds what its rules find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from resnet_pipe.model.model import Sidecar, read_sidecar
from tests.networks import YOLO_CLASSES, YOLO_CROP, write_tiny, write_yolo
from tests.photographs import NAMES, photograph
from tests.run.commands import Result
from tests.run.jobs import Cli, JobFolder

KINDS = ("yolo5", "yolo", "yolo_end_to_end")
CLASSES = [f"thing {index}" for index in range(YOLO_CLASSES)]
SAID = {"task": "detect", "stride": "32", "names": str(dict(enumerate(CLASSES)))}
SCORE = 0.4
Boxes = list[tuple[list[float], float, int]]
"""Corners in pixels of the source, score and class of each, the best first."""


def write(path: Path, kind: str = "yolo", **said: str | None) -> Path:
    """Write a YOLO with metadata as ultralytics writes it; None leaves something out."""
    proto = onnx.load(write_yolo(path, kind))
    for key, value in {**SAID, **said}.items():
        if value is not None:
            proto.metadata_props.add(key=key, value=value)
    onnx.save(proto, path)
    return path


def adopt(cli: Cli, path: Path) -> Result:
    return cli("convert", path, "--out", path.parent / "models")


def sidecar_of(path: Path) -> Sidecar:
    return read_sidecar(path.parent / "models" / f"{path.stem}.json")


@pytest.mark.parametrize("kind", KINDS)
def test_kind_size_and_names_are_in_the_sidecar(tmp_path: Path, cli: Cli, kind: str) -> None:
    path = write(tmp_path / "theirs.onnx", kind, license="AGPL-3.0")
    adopt(cli, path).expect(0)
    known = sidecar_of(path)
    assert known.detection is not None
    assert (known.detection.kind, known.detection.score) == (kind, 0.25)
    assert known.classes == CLASSES
    assert known.licence == "AGPL-3.0"
    told = known.preprocessing.told()
    assert (told["fit"], told["crop"], told["pad_value"]) == ("pad", YOLO_CROP, 114)
    assert known.proved["opencv"] < 1e-5


def test_a_network_for_any_size_is_made_for_the_one_that_its_metadata_says(tmp_path: Path, cli: Cli) -> None:
    path = write(tmp_path / "theirs.onnx", imgsz=str([YOLO_CROP, YOLO_CROP]))
    proto = onnx.load(path)
    for axis in (2, 3):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"side {axis}"
    onnx.save(proto, path)
    adopt(cli, path).expect(0)
    converted = onnx.load(tmp_path / "models" / "theirs.onnx")
    sides = [axis.dim_value for axis in converted.graph.input[0].type.tensor_type.shape.dim[2:]]
    assert sides == [YOLO_CROP, YOLO_CROP]


def test_one_class_and_an_objectness_are_not_taken_for_chosen_boxes(tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "theirs.onnx"
    proto = onnx.load(write_yolo(path, "yolo5", classes=1))
    for key, value in {**SAID, "names": "{0: 'thing'}", "end2end": "False"}.items():
        proto.metadata_props.add(key=key, value=value)
    onnx.save(proto, path)
    adopt(cli, path).expect(0)
    known = sidecar_of(path)
    assert known.detection is not None
    assert (known.detection.kind, known.classes) == ("yolo5", ["thing"])


def test_half_precision_becomes_float32(tmp_path: Path, cli: Cli) -> None:
    float16 = pytest.importorskip("onnxruntime.transformers.float16")
    path = write(tmp_path / "theirs.onnx")
    onnx.save(float16.convert_float_to_float16(onnx.load(path)), path)
    adopt(cli, path).expect(0)
    (image,) = onnx.load(tmp_path / "models" / "theirs.onnx").graph.input
    assert image.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert 1e-5 < sidecar_of(path).max_relative_difference < 5e-3


def test_a_name_that_no_file_can_hold_is_replaced(tmp_path: Path, cli: Cli) -> None:
    names = str(dict(enumerate(CLASSES))).replace("'thing 1'", r"'\ud83d half'")
    path = write(tmp_path / "theirs.onnx", names=names)
    adopt(cli, path).expect(0)
    assert sidecar_of(path).classes == ["thing 0", "? half", *CLASSES[2:]]


def test_names_that_nobody_says_are_numbers_and_that_is_said(tmp_path: Path, cli: Cli) -> None:
    path = write(tmp_path / "theirs.onnx", names=None, stride=None, task=None)
    assert "the labels `class 0` and on" in adopt(cli, path).expect(0).stdout
    assert sidecar_of(path).classes == [f"class {index}" for index in range(YOLO_CLASSES)]


@pytest.mark.parametrize(
    ("kind", "said", "text"),
    [
        ("yolo", {"task": "segment"}, "is a YOLO for the task 'segment', and only 'detect' is supported"),
        ("yolo", {"task": "pose"}, "is a YOLO for the task 'pose'"),
        ("yolo", {"task": "obb"}, "is a YOLO for the task 'obb'"),
        ("yolo", {"task": "classify"}, "is a YOLO for the task 'classify'"),
        ("yolo", {"names": "{0: 'one'}"}, f"names 1 classes, and its output has {YOLO_CLASSES}"),
        ("yolo", {"names": "{0: 'a', 1: 'b', 9: 'c'}"}, "its metadata 'names' leaves out numbers of classes"),
        ("yolo", {"names": "__import__('os').getpid()"}, "its metadata 'names' is no list of values"),
        ("yolo", {"names": "[" * 10_000}, "its metadata 'names' is no list of values"),
        ("yolo_end_to_end", {"names": None}, "does not say what its classes are called"),
    ],
)
def test_what_is_no_yolo_for_boxes_is_refused(
    tmp_path: Path, cli: Cli, kind: str, said: dict[str, str | None], text: str
) -> None:
    path = write(tmp_path / "theirs.onnx", kind, **said)
    assert text in adopt(cli, path).expect(2).stderr
    assert not (tmp_path / "models").exists()


def test_a_network_that_says_it_is_a_yolo_and_is_none_is_refused(tmp_path: Path, cli: Cli) -> None:
    path = write_tiny(tmp_path / "theirs.onnx")
    proto = onnx.load(path)
    for key, value in SAID.items():
        proto.metadata_props.add(key=key, value=value)
    onnx.save(proto, path)
    assert "export it again" in adopt(cli, path).expect(2).stderr


def lettered(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], list[float], list[int]]:
    """Return an image as ultralytics prepares it, (1, 3, H, W); its scales, and how far it is moved.

    Its sides are rounded, so they have scales of their own, which ultralytics takes for the same.
    """
    height, width = image.shape[:2]
    scale = min(YOLO_CROP / height, YOLO_CROP / width)
    inner = round(width * scale), round(height * scale)
    left, top = (YOLO_CROP - inner[0]) // 2, (YOLO_CROP - inner[1]) // 2
    canvas = np.full((YOLO_CROP, YOLO_CROP, 3), 114, np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(image, inner)
    scales = [inner[0] / width, inner[1] / height] * 2
    return canvas.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255), scales, [left, top] * 2


def found_by_the_rules(path: Path, image: NDArray[np.uint8]) -> Boxes:
    """Return what ultralytics finds in an image, with its rules written plainly."""
    onnxruntime = pytest.importorskip("onnxruntime")
    given, scales, moved = lettered(image)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (values,) = session.run(None, {"input": given})[0]
    end_to_end, objectness = values.shape[1] == 6, values.shape[1] == 5 + YOLO_CLASSES
    candidates = []
    for row in values if end_to_end or objectness else values.T:
        x, y, width, height = row[:4]
        corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        scores = row[5:] * row[4] if objectness else row[4:]
        score, label = (row[4], int(row[5])) if end_to_end else (scores.max(), int(scores.argmax()))
        if score > SCORE:
            candidates.append((list(row[:4]) if end_to_end else corners, float(score), label))
    kept: Boxes = []
    for one in sorted(candidates, key=lambda candidate: -candidate[1]):
        if end_to_end or all(one[2] != other[2] or overlap(one[0], other[0]) <= 0.5 for other in kept):
            kept.append(one)
    limits = [image.shape[1], image.shape[0]] * 2
    found: Boxes = []
    for corners, score, label in kept:
        edges = zip(corners, moved, scales, limits, strict=True)
        found.append(([min(max((at - by) / scale, 0), most) for at, by, scale, most in edges], score, label))
    return found


def overlap(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (sum(areas) - shared)


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_finds_what_the_rules_find(tmp_path: Path, network: Path, cli: Cli, kind: str) -> None:
    path = write(tmp_path / "theirs.onnx", kind)
    adopt(cli, path).expect(0)
    (tmp_path / "job").mkdir()
    job = JobFolder(tmp_path / "job", network)
    images = {f"{index}.png": np.asarray(photograph(name)) for index, name in enumerate(NAMES[:4])}
    images["thin.png"] = np.ascontiguousarray(images["0.png"][:60])
    for name, image in images.items():
        cv2.imwrite(str(job.images / name), image[..., ::-1])
    job.file.write_text(
        "name: boxes\nreader: {kind: images, path: images}\n"
        f"infer: {{model: {tmp_path}/models/theirs.onnx, device: cpu, score: {SCORE}, nms: 0.5}}\n"
        "writer: {kind: parquet, path: out, fields: [boxes]}\nrun: {report: false}\n"
    )
    job.run().expect(0)
    rows: dict[str, dict[str, Any]] = {row["path"]: row for row in job.rows()}
    total = 0
    for name, image in images.items():
        expected, found = found_by_the_rules(path, image), rows[name]["detections"]
        total += len(expected)
        assert len(found) == len(expected)
        for box, (corners, score, label) in zip(found, expected, strict=True):
            assert [box[edge] for edge in ("x1", "y1", "x2", "y2")] == pytest.approx(corners, abs=0.05)
            assert box["score"] == pytest.approx(score, abs=1e-4)
            assert (box["label"], box["name"]) == (label, CLASSES[label])
    assert total > 10
