"""Where an engine gets batches wrong, items are executed one at a time, and the run says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_pipe.infer.engine import ENGINES
from resnet_pipe.infer.first_passes import execute, noise
from resnet_pipe.preprocess.network_input import Pixels
from tests.infer.requests import request
from tests.networks import write_tiny, write_yolo
from tests.odd_networks import mix, spoil_last
from tests.run.jobs import JobFolder, numbered, read_lines
from tests.sidecars import make_finder, write_yolo_sidecar

WHY = "batches come out wrong here, so items are executed one at a time"


@pytest.fixture(params=["opencv", "openvino", "onnxruntime"])
def engine(request: pytest.FixtureRequest) -> str:
    """The name of an engine whose library is installed."""
    name: str = request.param
    pytest.importorskip({"opencv": "cv2"}.get(name, name))
    assert name in ENGINES
    return name


def features(job: JobFolder) -> NDArray[np.float64]:
    return np.array([row["features"] for row in job.rows()])


def note_of(job: JobFolder) -> str:
    note: str = job.summary()["engine"]["note"]
    return note


def with_batches_of(job: JobFolder, size: int, out: str, *settings: str) -> JobFolder:
    """Run a job, which is returned as one whose results lie there."""
    told = [f"infer.batch_size={size}", f"writer.path={out}", *settings]
    job.run(*(word for setting in told for word in ("--set", setting))).expect(0)
    job.out = job.folder / out
    return job


def test_a_network_that_is_wrong_in_batches_gives_what_it_gives_for_single_items(
    job: JobFolder, engine: str
) -> None:
    mix(job.folder / "tiny.onnx")
    job.add(*numbered(5))
    job.write(infer=f"engine: {engine}", chunk_items=5, canary=4)
    whole = features(with_batches_of(job, 4, "four"))
    assert WHY in note_of(job)
    assert "as the second of " in note_of(job)
    assert any(WHY in event["text"] for event in job.events("note"))
    if job.summary()["no_canary"] is None:
        assert job.summary()["canary"]["cosine_min"] > 0.99999
    alone = features(with_batches_of(job, 1, "one"))
    assert WHY not in note_of(job)
    np.testing.assert_allclose(whole, alone, rtol=1e-5)


def test_of_a_network_for_one_size_of_batches_each_item_is_the_first(job: JobFolder, engine: str) -> None:
    right = features(with_batches_of(job_with(job, engine), 4, "right"))
    assert WHY not in note_of(job)
    (job.folder / "tiny.onnx").unlink()
    spoil_last(write_tiny(job.folder / "tiny.onnx", batch=4), 4)
    spoilt = features(with_batches_of(job, 4, "spoilt"))
    assert "as the last of 4, an item differs by " in note_of(job)
    np.testing.assert_allclose(spoilt, right, rtol=1e-5)


def job_with(job: JobFolder, engine: str) -> JobFolder:
    job.add(*numbered(6))
    job.write(infer=f"engine: {engine}", chunk_items=6)
    return job


def boxes(job: JobFolder) -> list[list[dict[str, Any]]]:
    shards = sorted(job.out.glob("part-*.jsonl"))
    return [row["detections"] for shard in shards for row in read_lines(shard)]


@pytest.mark.parametrize(("kind", "engine"), [("yolo", "opencv"), ("yolo_end_to_end", "onnxruntime")])
def test_boxes_are_those_of_single_items_too(tmp_path: Path, kind: str, engine: str) -> None:
    pytest.importorskip({"opencv": "cv2"}.get(engine, engine))
    finder = make_finder(tmp_path / "finder", kind, infer=f"engine: {engine}", chunk_items=4, canary=2)
    finder.add(*numbered(4))
    right = boxes(with_batches_of(finder, 4, "right"))
    assert WHY not in note_of(finder)
    network = mix(write_yolo(finder.folder / "tiny.onnx", kind))
    write_yolo_sidecar(network, kind)
    mixed = boxes(with_batches_of(finder, 4, "mixed"))
    assert WHY in note_of(finder)
    alone = boxes(with_batches_of(finder, 1, "alone"))
    assert mixed != right
    assert list(map(len, mixed)) == list(map(len, alone))
    for one, other in zip(chain(*mixed), chain(*alone), strict=True):
        assert one["label"] == other["label"]
        assert [one[name] for name in ("x1", "y2", "score")] == pytest.approx(
            [other[name] for name in ("x1", "y2", "score")], abs=1e-3
        )


Outputs = Mapping[str, NDArray[np.generic]]


@pytest.mark.parametrize(("precision", "right"), [("bf16", True), ("fp16", False), ("fp32", False)])
def test_each_precision_may_round_as_it_does(precision: str, right: bool) -> None:
    wanted = request(Path("x.onnx"), ("features",), precision=precision)

    def forward(batch: Pixels) -> Outputs:
        values = batch.mean(axis=(1, 2), dtype=np.float32)
        return {"features": values * np.float32(1.02 if len(batch) > 1 else 1)}

    assert (execute(wanted, forward, RuntimeError).wrong == "") is right


def test_features_beside_boxes_are_compared_number_by_number() -> None:
    wanted = replace(request(Path("x.onnx"), ("boxes", "features")), rows=False)

    def forward(batch: Pixels) -> Outputs:
        values = batch.reshape(len(batch), -1).astype(np.float32)
        features = values[:, :64].copy()
        if len(batch) > 1:
            features[1:, 3] += 10  # of 255
        return {"boxes": values[:, : 50 * 6].reshape(-1, 50, 6), "features": features}

    assert "in output 'features'" in execute(wanted, forward, RuntimeError).wrong
    alone = replace(wanted, outputs=("boxes",))
    assert execute(alone, forward, RuntimeError).wrong == ""


@pytest.mark.parametrize(("moved", "right"), [("order", True), ("items", False)])
def test_boxes_that_a_network_has_chosen_may_come_in_another_order(moved: str, right: bool) -> None:
    wanted = replace(request(Path("x.onnx"), ("boxes",)), rows=False)

    def forward(batch: Pixels) -> Outputs:
        found = batch.reshape(len(batch), -1)[:, : 50 * 6].reshape(-1, 50, 6).astype(np.float32)
        if len(batch) > 1:
            found = found[:, ::-1] if moved == "order" else found[::-1]
        return {"boxes": found}

    assert (execute(wanted, forward, RuntimeError).wrong == "") is right


def test_the_items_that_are_executed_first_are_no_black_ones_and_differ() -> None:
    batch = noise(request(Path("x.onnx"), batch_size=5))
    assert len({item.tobytes() for item in batch}) == 4
    assert (batch[1] == batch[4]).all()
    assert all(item.std() > 10 for item in batch)
