"""The canary: a run whose engine gives other numbers than float32 ends before it commits anything."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from resnet_pipe.infer.engine import ENGINES
from resnet_pipe.infer.probe import Probe
from resnet_pipe.run import canary
from tests.machine.test_control_groups import SMALL, pages
from tests.networks import write, write_int8, write_residual, write_tiny
from tests.report.browser import Outline
from tests.run.commands import Result
from tests.run.faults import GATE, Gate, shorten_spans
from tests.run.jobs import (
    HOME,
    SIDECAR,
    Cli,
    JobFolder,
    VideoFolder,
    assert_clean,
    assert_same_rows,
    numbered,
    records,
    wait_until,
)
from tests.run.test_alerts import NIGHTLY, read_metrics
from tests.sidecars import make_finder
from tests.study.engines import Install

COSINE = ("resnet_pipe_canary_cosine", NIGHTLY)
REFERENCE_WAITS = f"""
{GATE}
if "resnet_pipe.infer.probe_process" in sys.orig_argv:
    wait_at("reference")
"""


@pytest.fixture
def watched(job: JobFolder) -> JobFolder:
    """A job of five images, four a batch and a chunk, with a canary."""
    job.write(batch_size=4, chunk_items=4, canary=4)
    job.add(*numbered(5))
    return job


def problem_of(result: Result) -> str:
    return next(line for line in result.stderr.splitlines() if line.startswith("error: "))


def assert_nothing_is_committed(job: JobFolder) -> None:
    assert records(job.out) == []
    assert_clean(job.out)


def found(job: JobFolder) -> dict[str, Any]:
    """Return the canary of the last run."""
    figures: dict[str, Any] = job.summary()["canary"]
    return figures


def test_an_engine_that_is_wrong_in_batches_ends_the_run_before_anything_is_committed(
    watched: JobFolder, install: Install
) -> None:
    pytest.importorskip("onnxruntime")
    real = dict(ENGINES)
    install(opencv="batching")
    ENGINES["onnxruntime"] = real["onnxruntime"]
    result = watched.run().expect(1)
    said = problem_of(result)
    assert "engine opencv " in said
    assert " on cpu in fp32 gives wrong numbers" in said
    assert " to onnxruntime " in said
    assert f"is {found(watched)['cosine_min']:.3f}" in said
    assert "must be 0.99999 at least" in said
    assert "resnet-pipe verify JOB" in result.stderr
    assert_nothing_is_committed(watched)
    assert found(watched)["items"] == 4
    assert found(watched)["cosine_min"] < 0.99
    assert read_metrics(watched.out / "metrics.prom")[COSINE] == found(watched)["cosine_min"]
    assert watched.summary()["exit_code"] == 1
    ENGINES["opencv"] = real["opencv"]
    watched.run().expect(0)
    assert_same_rows(watched.out, watched.undisturbed())


@pytest.mark.parametrize(
    ("engine", "fields", "wrong"),
    [
        ("reversing", "[logits, features]", "logits"),
        ("reversing", "[top_k, features]", "logits"),
        ("tripling", "[features]", "features"),
        ("tripling", "[logits]", "logits"),
    ],
)
def test_no_output_may_be_wrong_and_neither_may_its_scale(
    watched: JobFolder, install: Install, engine: str, fields: str, wrong: str
) -> None:
    install(opencv="honest", openvino=engine)
    result = watched.run("--set", "infer.engine=openvino", "--set", f"writer.fields={fields}").expect(1)
    said = problem_of(result)
    assert f"the largest difference of the output `{wrong}` from opencv " in said
    assert "times its largest value, and must be 0.01 at most" in said
    assert found(watched)["cosine_min"] > 0.99999
    assert_nothing_is_committed(watched)


@pytest.mark.parametrize(("engine", "code"), [("tripling", 1), ("honest", 0)])
def test_an_output_of_one_value_is_judged_by_its_size(
    watched: JobFolder, install: Install, engine: str, code: int
) -> None:
    (watched.folder / "tiny.onnx").unlink()
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["pooled"], axis=1),
        helper.make_node("Gemm", ["pooled", "weight"], ["logits"]),
    ]
    write(watched.folder / "tiny.onnx", nodes, {"logits": 1}, {"weight": np.ones((3, 1), np.float32)})
    install(opencv="honest", openvino=engine)
    watched.run("--set", "infer.engine=openvino", "--set", "writer.fields=[logits]").expect(code)


def test_without_another_library_the_engine_itself_is_asked_one_item_at_a_time(
    watched: JobFolder, install: Install
) -> None:
    install(opencv="batching")
    assert " to opencv " in problem_of(watched.run().expect(1))
    assert_nothing_is_committed(watched)


def test_a_run_whose_engine_is_right_says_how_right(watched: JobFolder, cli: Cli) -> None:
    pytest.importorskip("onnxruntime")
    watched.run("--set", "run.report=true").expect(0)
    figures = found(watched)
    assert figures["items"] == 4
    assert figures["reference"].startswith("onnxruntime ")
    assert figures["reference"].endswith(" fp32 cpu")
    assert 0.999999 < figures["cosine_min"] <= 1
    assert figures["top1"] == 1
    assert watched.summary()["no_canary"] is None
    (event,) = watched.events("canary")
    assert {name: event[name] for name in figures} == figures
    assert event["device"] == "cpu"
    assert [record["canary"] for record in records(watched.out)] == [figures, figures]
    assert read_metrics(watched.out / "metrics.prom")[COSINE] == figures["cosine_min"]
    page = Outline((watched.last_run() / "report.html").read_text())
    assert f"4 items were computed again with {figures['reference']}" in page.text
    cli("check", watched.out).expect(0)


@pytest.mark.parametrize("why", ["turned off", "nothing new"])
def test_a_run_without_a_canary_starts_no_process_for_it(watched: JobFolder, why: str) -> None:
    watched.write(batch_size=4, chunk_items=4, canary=0)
    with mock.patch("resnet_pipe.study.subject.Probe", wraps=Probe) as probe:
        watched.run().expect(0)
        if why == "nothing new":
            watched.run("--set", "run.canary=4").expect(0)
            assert watched.summary()["items"] == 0
    assert probe.call_count == 0
    assert found(watched) is None
    assert watched.summary()["no_canary"] is None
    assert [record for record in records(watched.out) if "canary" in record] == []
    assert COSINE not in read_metrics(watched.out / "metrics.prom")


def assert_goes_on_without(job: JobFolder, reason: str) -> None:
    job.run("--set", "infer.engine=onnxruntime").expect(0)
    assert found(job) is None
    assert reason in job.summary()["no_canary"]
    assert any(reason in event["text"] for event in job.events("note"))
    assert job.paths() == numbered(5)
    assert COSINE not in read_metrics(job.out / "metrics.prom")


def test_a_network_that_the_reference_cannot_run_is_noted_and_the_run_goes_on(
    watched: JobFolder, install: Install
) -> None:
    install(opencv="unable", onnxruntime="honest")
    assert_goes_on_without(watched, "no operator Frobnicate")


def test_a_reference_that_hangs_is_noted_and_the_run_goes_on(
    watched: JobFolder, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(opencv="hanging", onnxruntime="honest")
    monkeypatch.setattr(canary, "PATIENCE_S", 0.5)
    assert_goes_on_without(watched, "it has taken longer than ")


def test_cv2_is_not_asked_about_a_network_that_takes_several_items_only(
    watched: JobFolder, install: Install, tmp_path: Path
) -> None:
    install(opencv="honest", onnxruntime="honest")
    (watched.folder / "tiny.onnx").unlink()
    write_tiny(watched.folder / "tiny.onnx", batch=4)
    assert_goes_on_without(watched, "the network takes exactly 4 images at a time")


@pytest.mark.parametrize(("precision", "code"), [("fp32", 1), ("bf16", 0)])
def test_each_precision_has_the_threshold_of_verify(
    watched: JobFolder, install: Install, precision: str, code: int
) -> None:
    install(opencv="honest", openvino="coarse")
    watched.run("--set", "infer.engine=openvino", "--set", f"infer.precision={precision}").expect(code)
    assert 0.999 < found(watched)["cosine_min"] < 0.99999


def test_an_int8_model_is_compared_with_itself_without_int8(job: JobFolder) -> None:
    pytest.importorskip("onnxruntime")
    (job.folder / "tiny.onnx").unlink()
    write_int8(write_residual(job.folder / "source.onnx"), job.folder / "tiny.onnx")
    job.write(infer="engine: onnxruntime", canary=4)
    job.add(*numbered(2))
    job.run().expect(0)
    assert found(job)["reference"].endswith("fp32 cpu, the int8 model itself, computed without int8")
    assert found(job)["cosine_min"] > 0.99


def write_far_int8(folder: Path, measured: float) -> None:
    """Write an int8 model and its source, whose first weights have been changed, with a figure of both."""
    source = write_residual(folder / "far.onnx")
    model = write_int8(source, folder / "far-int8.onnx")
    network = onnx.load(source)
    weights = numpy_helper.to_array(network.graph.initializer[0])
    noise = np.random.default_rng(0).normal(size=weights.shape).astype(np.float32) * weights.std() * 0.5
    network.graph.initializer[0].raw_data = (weights + noise).tobytes()
    onnx.save(network, source)
    sidecar: dict[str, Any] = {**SIDECAR, "onnx_sha256": hashlib.sha256(model.read_bytes()).hexdigest()}
    sidecar["quantization"] = {
        "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "method": "x",
        **dict.fromkeys(("calibrated", "held_out", "skipped", "max_relative_error"), 0),
        **dict.fromkeys(("top1", "top5", "cosine_mean"), 1),
        "cosine_min": measured,
    }
    model.with_suffix(".json").write_text(json.dumps(sidecar))
    sidecar |= {"onnx_sha256": sidecar["quantization"]["source_sha256"], "quantization": None}
    source.with_suffix(".json").write_text(json.dumps(sidecar))


@pytest.mark.parametrize(("measured", "code"), [(0.98, 0), (0.999, 1)])
def test_an_int8_model_may_be_as_far_off_as_its_conversion_leads_to_expect(
    job: JobFolder, measured: float, code: int
) -> None:
    pytest.importorskip("onnxruntime")
    write_far_int8(job.folder, measured)
    job.write(infer="engine: onnxruntime", canary=4)
    job.add(*numbered(4))
    job.run("--set", f"infer.model={job.folder / 'far-int8.onnx'}").expect(code)
    assert 0.96 < found(job)["cosine_min"] < 0.99
    assert found(job)["reference"].endswith("far, which it was made from")


@pytest.mark.parametrize(("score", "compared"), [(0.25, True), (0.999, False)])
def test_items_without_objects_are_no_canary(tmp_path: Path, score: float, compared: bool) -> None:
    job = make_finder(tmp_path / "finder", canary=4)
    job.add(*numbered(4))
    job.run("--set", f"infer.score={score}").expect(0)
    assert (found(job) is not None) == compared
    if not compared:
        assert job.summary()["no_canary"] == "no objects are found in these items"


def test_a_run_too_small_for_a_whole_batch_has_one_of_its_largest(
    watched: JobFolder, install: Install
) -> None:
    install(opencv="batching")
    watched.write(batch_size=8, chunk_items=3, canary=4)
    assert "for 3 items of a batch of 3" in problem_of(watched.run().expect(1))
    assert_nothing_is_committed(watched)


def test_rows_that_are_not_finite_are_failures_and_no_canary(watched: JobFolder, install: Install) -> None:
    install(opencv="infinite")
    watched.run().expect(3)
    assert {failure["error"] for failure in watched.failures().values()} == {"not_finite"}
    assert found(watched) is None


def test_of_several_devices_each_is_compared_and_the_wrong_one_is_named(
    watched: JobFolder, install: Install
) -> None:
    install(openvino="second_wrong", opencv="honest")
    watched.write(batch_size=1, chunk_items=5, canary=1, infer="engine: openvino")
    said = problem_of(watched.run("--set", "infer.device=[cpu, cpu]").expect(1))
    assert "gives wrong numbers (device " in said
    assert_nothing_is_committed(watched)
    wrong = [event["device"] for event in watched.events("canary") if event["cosine_min"] < 0.99]
    assert len(wrong) == 1
    assert f"({wrong[0]})" in said


def test_finished_spans_of_a_wrong_engine_are_not_used_again(
    film: VideoFolder, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = dict(ENGINES)
    shorten_spans(monkeypatch)
    install(opencv="batching")
    film.describe(canary=4, workers=2)
    film.add_video("a.mkv", 36)
    film.run().expect(1)
    assert_nothing_is_committed(film)
    ENGINES.update(right)
    film.run().expect(0)
    assert [index for _, index, number in film.numbers() if index != number] == []


def test_a_stop_waits_for_the_canary_and_the_chunk_in_flight_is_committed(watched: JobFolder) -> None:
    with watched.start(faults=REFERENCE_WAITS) as run:
        Gate(watched, "reference").wait()
        run.signal(15)
        wait_until(lambda: watched.events("note"), "the run has seen the signal")
        assert records(watched.out) == []
        Gate(watched, "reference").open()
        run.end().expect(143)
    assert watched.paths()[:4] == numbered(4)
    assert found(watched)["items"] == 4


@pytest.mark.parametrize("grace", ["grace_s: 0", "grace_s: 30"])
def test_a_stop_that_does_not_wait_ends_the_canary_and_commits_nothing(
    watched: JobFolder, grace: str
) -> None:
    watched.write(batch_size=4, chunk_items=4, canary=4, run=grace)
    with watched.start(faults=REFERENCE_WAITS) as run:
        Gate(watched, "reference").wait()
        run.signal(15)
        if grace != "grace_s: 0":
            wait_until(lambda: watched.events("note"), "the run has seen the first signal")
            run.signal(15)
        run.end().expect(143)
    assert_nothing_is_committed(watched)
    assert not list((watched.out / HOME).rglob("*.parquet"))


@pytest.mark.parametrize(("items", "workers"), [(0, 2), (4, 1)])
def test_where_memory_is_small_there_is_room_for_the_canary(job: JobFolder, items: int, workers: int) -> None:
    job.write(batch_size=1, canary=items)
    job.add(*numbered(8))
    job.run("--set", "run.workers=auto", faults=SMALL.format(pages=pages(job, 2))).expect(0)
    assert job.summary()["workers"] == workers
