"""Jobs of detectors that give features, too: beside the boxes or alone, and never from a file without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from tests.networks import YOLO_WIDTH
from tests.run.jobs import Cli, JobFolder, numbered, read_lines
from tests.sidecars import make_finder, write_sidecar, write_yolo_sidecar
from tests.study.engines import Install

BOTH = ["path", "frame_index", "pts_s", "detections", "width", "height", "features"]
ENGINES = ["opencv", "onnxruntime", "openvino"]


@pytest.fixture
def finder(tmp_path: Path) -> JobFolder:
    """A job for boxes and features of five images, which has not been run."""
    finder = make_finder(tmp_path / "finder", features=True)
    finder.write(kind="parquet", fields="[boxes, features]", preprocess="{}")
    finder.add(*numbered(5))
    return finder


def settings(*changes: str) -> list[str]:
    return [word for change in changes for word in ("--set", change)]


def features(rows: list[dict[str, Any]]) -> NDArray[np.float32]:
    return np.array([row["features"] for row in rows], np.float32)


def rows_with(finder: JobFolder, *changes: str) -> list[dict[str, Any]]:
    """Return the rows of a job that has run with other settings, in a place of its own."""
    out = finder.folder / f"out {len(list(finder.folder.iterdir()))}"
    finder.run(*settings(f"writer.path={out}", *changes)).expect(0)
    return sorted(
        (row for shard in out.glob("part-*.parquet") for row in pq.read_table(shard).to_pylist()),
        key=lambda row: str(row["path"]),
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_both_are_what_each_is_alone(finder: JobFolder, engine: str) -> None:
    pytest.importorskip({"opencv": "cv2"}.get(engine, engine))
    infer = f"infer.engine={engine}"
    both, boxes, alone = (
        rows_with(finder, infer, f"writer.fields={fields}")
        for fields in ("[boxes, features]", "[boxes]", "[features]")
    )
    assert list(both[0]) == BOTH
    assert [{name: row[name] for name in boxes[0]} for row in both] == boxes
    assert sum(len(row["detections"]) for row in both) > 10
    assert "detections" not in alone[0]
    np.testing.assert_allclose(features(both), features(alone), rtol=1e-5, atol=1e-6)
    assert len({row.tobytes() for row in features(both)}) == 5


def test_the_columns_are_those_of_a_classifier_and_in_the_order_of_the_fields(finder: JobFolder) -> None:
    finder.run(*settings("writer.fields=[features, boxes]")).expect(0)
    schema = pq.read_schema(finder.out / "part-000000.parquet")
    assert schema.names == [*BOTH[:3], "features", *BOTH[3:6]]
    assert schema.field("features").type == pa.list_(pa.float32(), YOLO_WIDTH)
    outputs = json.loads(schema.metadata[b"resnet_pipe.outputs"])
    assert outputs["features"] == {"output": "features", "width": YOLO_WIDTH}
    assert outputs["boxes"]["outputs"] == ["output0"]


def test_they_do_not_depend_on_the_size_of_a_batch(finder: JobFolder) -> None:
    one, three = (rows_with(finder, f"infer.batch_size={size}") for size in (1, 3))
    np.testing.assert_allclose(features(one), features(three), rtol=1e-5, atol=1e-6)
    assert [len(row["detections"]) for row in one] == [len(row["detections"]) for row in three]


def test_each_writer_has_what_it_can_hold(finder: JobFolder) -> None:
    writers = [
        "{kind: jsonl, path: out, fields: [boxes, features]}",
        "{kind: npy, layout: matrix}",
        "{kind: coco}",
        "{kind: csv, fields: [boxes]}",
        "{kind: parquet, fields: [features], aggregate: mean}",
    ]
    finder.run(*settings(f"writer=[{', '.join(writers)}]", "run.chunk_items=5")).expect(0)
    lines = read_lines(finder.out / "part-000000.jsonl")
    assert list(lines[0]) == BOTH
    np.testing.assert_array_equal(np.load(finder.out / "part-000000.npy"), features(lines))
    coco = json.loads((finder.out / "coco" / "detections.json").read_text())
    assert len(coco) == sum(len(row["detections"]) for row in lines)
    assert "features" not in (finder.out / "part-000000.coco").read_text()
    assert "features" not in (finder.out / "part-000000.csv").read_text()
    means = pq.read_table(finder.out / "part-000000.parquet")
    assert means.column_names == [*BOTH[:3], "features"]
    np.testing.assert_allclose(features(means.to_pylist()), features(lines), rtol=1e-6)


def test_a_table_that_does_not_say_its_fields_has_boxes_beside_others(finder: JobFolder) -> None:
    writers = "[{kind: jsonl, path: out, fields: [boxes, features]}, {kind: parquet}]"
    finder.run(*settings(f"writer={writers}")).expect(0)
    assert pq.read_schema(finder.out / "part-000000.parquet").names == BOTH[:6]


@pytest.mark.parametrize(
    ("writer", "said"),
    [
        ("{kind: parquet, path: out, fields: [boxes, features, top_k]}", "gives no top_k: write fields: "),
        ("{kind: parquet, path: out, fields: [features, logits]}", "gives no logits: write fields: [boxes]"),
        ("{kind: npy, path: out, field: logits}", "gives no logits: write field: features"),
        ("{kind: csv, path: out, fields: [boxes, features]}", "input should be 'logits', 'top_k' or 'boxes'"),
        ("{kind: parquet, path: out, fields: [boxes, features], aggregate: mean}", "boxes are of one frame"),
        (
            "[{kind: jsonl, path: out, fields: [boxes]}, {kind: csv, aggregate: mean}]",
            "boxes are of one frame",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(finder: JobFolder, writer: str, said: str) -> None:
    assert said in finder.run(*settings(f"writer={writer}")).expect(2).stderr
    assert not finder.out.exists()


def test_a_job_may_say_the_kind_of_a_network_that_gives_features_too(finder: JobFolder) -> None:
    said = finder.run(*settings("infer.boxes=retinanet")).expect(2).stderr
    assert "and so it is no retinanet: it fits yolo5 or yolo or yolo_end_to_end" in said
    finder.run(*settings("infer.boxes=yolo")).expect(0)


@pytest.mark.parametrize("fields", ["[boxes, features]", "[features]"])
@pytest.mark.parametrize(
    ("kind", "remedy"),
    [("yolo", "choose other fields"), ("retinanet", "convert it again, or choose other fields")],
)
def test_a_file_without_features_is_refused(tmp_path: Path, fields: str, kind: str, remedy: str) -> None:
    finder = make_finder(tmp_path / "finder", fields=fields)
    finder.add(*numbered(1))
    write_yolo_sidecar(finder.folder / "tiny.onnx", kind)
    said = finder.run().expect(2).stderr
    assert f"writer.fields: tiny gives no features: {remedy}" in said
    finder.run(*settings("writer.fields=[boxes]", "infer.boxes=yolo")).expect(0)


def test_what_the_second_network_of_a_detector_gives_are_no_features(tmp_path: Path, cli: Cli) -> None:
    """As in a Faster R-CNN that was converted before it had features: its box head gives rows of numbers."""
    finder = make_finder(tmp_path / "finder", fields="[features]")
    finder.add(*numbered(1))
    path = finder.folder / "tiny.onnx"
    model = onnx.load(path)
    parts = helper.make_tensor_value_info("parts", onnx.TensorProto.FLOAT, ["R", 4])
    model.graph.input.append(parts)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((4, 8), np.float32), "eight"))
    model.graph.node.append(helper.make_node("MatMul", ["parts", "eight"], ["deltas"]))
    model.graph.output.append(helper.make_tensor_value_info("deltas", onnx.TensorProto.FLOAT, ["R", 8]))
    path.unlink()
    onnx.save(model, path)
    write_yolo_sidecar(path, "faster_rcnn")
    assert "tiny gives no features: convert it again" in finder.run().expect(2).stderr
    shown = json.loads(cli("models", "show", path, "--json").expect(0).stdout)
    assert {one["name"]: one["held"] for one in shown["outputs"]}["deltas"] == "boxes (faster_rcnn)"
    write_sidecar(
        path, classes=[], preprocessing=json.loads(path.with_suffix(".json").read_text())["preprocessing"]
    )
    assert "has no output with features" in finder.run().expect(2).stderr


def test_a_file_that_is_wrong_about_their_width_is_refused(finder: JobFolder) -> None:
    path = finder.folder / "tiny.onnx"
    model = onnx.load(path)
    model.graph.output[1].type.tensor_type.shape.dim[1].dim_value = YOLO_WIDTH + 1
    path.unlink()
    onnx.save(model, path)
    write_yolo_sidecar(path, features=True)
    engine = settings("infer.engine=onnxruntime")  # cv2 believes the file
    said = finder.run(*engine).expect(2).stderr
    assert f"output 'features' has {YOLO_WIDTH} values per image; the file says {YOLO_WIDTH + 1}" in said


def test_the_plan_and_the_models_tell_of_them(
    finder: JobFolder, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = f"boxes of 5 classes from output0 (yolo); .*; features (N, {YOLO_WIDTH}): features"
    start, _, end = said.partition(".*")
    plan = finder.run("--dry-run").expect(0).stdout
    assert start in plan
    assert end in plan
    assert end not in finder.run("--dry-run", *settings("writer.fields=[boxes]")).expect(0).stdout
    model = finder.folder / "tiny.onnx"
    shown = json.loads(cli("models", "show", model, "--json").expect(0).stdout)
    assert [one["held"] for one in shown["outputs"]] == ["boxes (yolo)", "features"]
    assert shown["sidecar"]["features"] == YOLO_WIDTH


def test_a_directory_with_boxes_alone_is_not_continued_with_features(finder: JobFolder) -> None:
    finder.run(*settings("writer.fields=[boxes]")).expect(0)
    said = finder.run().expect(2).stderr
    assert "writer.fields" in said


def test_the_canary_finds_wrong_features_beside_right_boxes(finder: JobFolder, install: Install) -> None:
    install(opencv="honest", openvino="wrong")
    wrong = settings("infer.engine=openvino", "run.canary=4", "run.chunk_items=5", "infer.batch_size=5")
    said = finder.run(*wrong).expect(1).stderr
    assert "gives wrong numbers" in said
    assert "output `features`" in said
    assert not list(finder.out.glob("part-*"))
    finder.run(*wrong, *settings("infer.engine=opencv")).expect(0)
    canary = finder.summary()["canary"]
    assert canary["cosine_min"] > 0.99999
    assert canary["matched"] == 1.0


def test_items_without_boxes_are_a_canary_by_their_features(finder: JobFolder) -> None:
    finder.run(*settings("infer.score=0.999", "run.canary=4")).expect(0)
    canary = finder.summary()["canary"]
    assert canary["cosine_min"] > 0.99999
    assert canary["matched"] is None
