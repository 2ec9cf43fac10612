"""The trace of a run: valid, complete, and in agreement with run.json."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from resnet_pipe.errors import ExitCode
from tests import networks
from tests.run.jobs import JobFolder


def test_the_spans_of_a_trace_add_up_to_run_json_and_flows_follow_every_batch(tmp_path: Path) -> None:
    job = JobFolder(tmp_path, networks.write_tiny(tmp_path / "network.onnx"))
    job.add(*(f"{index}.jpg" for index in range(7)))
    job.add_bad("bad.jpg")
    job.write(run="trace: true", workers=2)
    job.run().expect(ExitCode.SOME_FAILED)
    trace = json.loads((job.last_run() / "trace.json").read_text())
    events = trace["traceEvents"]

    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert {"worker 0", "worker 1", "engine stream 0", "writer"} <= set(names.values())

    busy: dict[str, float] = defaultdict(float)
    for event in events:
        if event["ph"] == "X":
            assert event["dur"] >= 0
            assert event["tid"] in names
            busy[event["name"]] += event["dur"] / 1e6
    stages = job.summary()["stages"]
    for stage, figures in stages.items():
        assert busy[stage] == pytest.approx(figures["busy_s"], abs=1e-3), stage

    batches = defaultdict(list)
    for event in events:
        if event["ph"] in ("s", "t", "f"):
            batches[event["id"]].append((event["ts"], event["ph"]))
    assert len(batches) == 4  # two chunks of two, and three more with the bad one: 2 + 2 + 2 + 1 images
    assert all([phase for _, phase in sorted(flow)] == ["s", "t", "f"] for flow in batches.values())
    sources = {event["args"]["source"] for event in events if event["name"] == "reader"}
    assert sources == {*(f"{index}.jpg" for index in range(7)), "bad.jpg"}


def test_a_run_is_not_traced_unless_it_is_asked_for(tmp_path: Path) -> None:
    job = JobFolder(tmp_path, networks.write_tiny(tmp_path / "network.onnx"))
    job.add("a.jpg")
    job.run().expect(ExitCode.DONE)
    assert not (job.last_run() / "trace.json").exists()
