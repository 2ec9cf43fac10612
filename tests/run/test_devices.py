"""Several devices: an engine process for each, fed by the same workers, with the rows of one device."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from resnet_pipe.job.job import load
from resnet_pipe.machine.nvidia import visible_gpus
from resnet_pipe.run.engines.device import devices_of
from tests.photographs import encode
from tests.report.browser import Outline
from tests.run.commands import Result
from tests.run.faults import ENGINE, GATE
from tests.run.jobs import (
    Cli,
    JobFolder,
    Running,
    assert_clean,
    assert_same_rows,
    group,
    numbered,
    records,
    wait_until,
)

TWO = ("--set", "infer.device=[cpu, cpu]")

BOTH_TAKE_ONE = f"""
{ENGINE}
import os

def both_take_one():
    (FOLDER / f"{{os.getpid()}}.engine").touch()
    while len(list(FOLDER.glob("*.engine"))) < 2:
        time.sleep(0.01)

def before_forward(blob):
    both_take_one()
"""
"""No engine process goes on with its first batch before the other one has taken one as well."""

WHITE = f"""
{ENGINE}
import os

def before_forward(blob):
    if blob.min(axis=(1, 2, 3)).max() > 2:  # an image of which every pixel is white
        on_white()

def on_white():
    wait_at(f"engine{{os.getpid()}}")
"""
"""An engine process that gets a white image waits at a gate of its own."""

ENGINE_PROCESS = f"""
{GATE}
if "resnet_pipe.run.engines.engine_process" in sys.orig_argv:
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, network: Path) -> tuple[JobFolder, Result]:
    """A job on two devices that has run, and what it said. Do not change it."""
    job = JobFolder(tmp_path_factory.mktemp("two"), network)
    job.write(chunk_items=8, workers=2)
    job.add(*numbered(19))
    wanted = (*TWO, "--set", "run.trace=true", "--set", "run.report=true")
    return job, job.run(*wanted, children=BOTH_TAKE_ONE).expect(0)


def test_two_engine_processes_share_the_batches_and_give_the_rows_of_one_device(
    finished: tuple[JobFolder, Result],
) -> None:
    job, _ = finished
    assert_same_rows(job.out, job.undisturbed())
    assert_clean(job.out)
    devices = job.summary()["devices"]
    assert [device["device"] for device in devices] == ["cpu", "cpu"]
    assert all(device["batches"] > 0 for device in devices)
    assert sum(device["batches"] for device in devices) == 4 + 4 + 2
    assert sum(device["items"] for device in devices) == 19


def test_the_figures_of_the_devices_add_up_to_those_of_the_run(finished: tuple[JobFolder, Result]) -> None:
    summary = finished[0].summary()
    devices, infer, engine = summary["devices"], summary["stages"]["infer"], summary["engine"]
    assert (engine["device"], engine["precision"]) == ("2 devices: cpu, cpu", "fp32")
    assert {device["streams"] for device in devices} == {engine["streams"]}
    assert infer["lanes"] == 2 * engine["streams"]
    for name in ("busy_s", "wait_in_s", "wait_out_s", "items"):
        assert sum(device[name] for device in devices) == pytest.approx(infer[name], abs=0.001), name
    rates = sum(device["items_per_second"] for device in devices)
    assert rates == pytest.approx(summary["items_per_second"], abs=0.02)
    assert 0 < sum(device["peak_rss_mb"] for device in devices) < summary["peak_rss_mb"]
    assert 0.0 < infer["busy_s"] <= infer["lanes"] * summary["run_seconds"]


def test_terminal_report_and_trace_name_each_device(finished: tuple[JobFolder, Result]) -> None:
    job, result = finished
    assert ", 2 devices: cpu, cpu, fp32 (after the first forward pass: " in result.stdout
    devices = job.summary()["devices"]
    for index, device in enumerate(devices):
        line = f"device {index} (cpu): {device['items']} images in {device['batches']} batches, "
        assert result.stdout.count(line) == 1
    text = Outline((job.last_run() / "report.html").read_text()).text
    assert "0 (cpu)" in text
    assert "1 (cpu)" in text
    events = json.loads((job.last_run() / "trace.json").read_text())["traceEvents"]
    tracks = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    used = {tracks[event["tid"]].partition(" stream ")[0] for event in events if event["name"] == "infer"}
    assert used == {"device 0 (cpu)", "device 1 (cpu)"}


def test_another_engine_gives_the_rows_of_one_device_too(job: JobFolder) -> None:
    pytest.importorskip("onnxruntime")
    job.write(infer="engine: onnxruntime")
    job.add(*numbered(5))
    job.run(*TWO).expect(0)
    assert_same_rows(job.out, job.undisturbed())


@contextmanager
def both_engines_waiting(job: JobFolder) -> Iterator[tuple[Running, list[int]]]:
    """Start a run of four chunks whose engine processes wait, each with a batch of chunk 2 or 3.

    Yields the run and the ids of these processes, once the first two chunks are committed.
    """
    job.add(*numbered(8))
    white = encode(Image.new("RGB", (64, 48), "white"), "JPEG")
    for name in numbered(4, start=4):
        (job.images / name).write_bytes(white)
    with job.start(*TWO, "--set", "infer.streams=1", faults=WHITE) as run:
        wait_until(lambda: len(list(job.folder.glob("engine*.reached"))) == 2, "both wait")
        wait_until(lambda: len(records(job.out)) == 2, "two chunks are committed")
        yield run, [int(path.stem[6:]) for path in job.folder.glob("engine*.reached")]


def let_go(job: JobFolder, *pids: int) -> None:
    for pid in pids:
        (job.folder / f"engine{pid}.open").touch()


def test_an_engine_process_that_dies_ends_the_run_and_what_is_committed_stays(job: JobFolder) -> None:
    with both_engines_waiting(job) as (run, (one, other)):
        os.kill(one, signal.SIGSEGV)
        let_go(job, other)
        said = run.end().expect(1).stderr
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: the engine process of device ")
    assert " (cpu) was killed by SIGSEGV" in error
    assert "run the same command again" in said
    assert job.paths()[:4] == numbered(4)
    assert job.summary()["exit_code"] == 1
    assert_clean(job.out)
    job.run(*TWO).expect(0)
    assert_same_rows(job.out, job.undisturbed())


def test_a_run_that_is_killed_takes_its_engine_processes_with_it(job: JobFolder) -> None:
    with both_engines_waiting(job) as (run, engines):
        assert set(engines) < set(group(run.pid))
        run.signal(signal.SIGKILL)
        run.end().expect(-9)
    assert job.paths() == numbered(4)


def test_a_signal_to_all_processes_finishes_the_chunk_in_flight(job: JobFolder) -> None:
    with both_engines_waiting(job) as (run, engines):
        run.signal_group(signal.SIGINT)
        wait_until(lambda: job.events("note"), "the run has seen the signal")
        let_go(job, *engines)
        run.end().expect(130)
    assert job.paths()[:6] == numbered(6)
    assert_clean(job.out)


def test_a_second_signal_ends_the_run_although_the_engines_hang(job: JobFolder) -> None:
    with both_engines_waiting(job) as (run, _):
        run.signal(signal.SIGTERM)
        wait_until(lambda: job.events("note"), "the run has seen the first signal")
        run.signal(signal.SIGTERM)
        run.end().expect(143)
    assert job.paths() == numbered(4)
    assert_clean(job.out)


def test_each_device_halves_its_batches_until_they_fit_into_its_memory(job: JobFolder) -> None:
    no_more_than_two = f"""
{BOTH_TAKE_ONE}
def before_forward(blob):
    both_take_one()
    if len(blob) > 2:
        raise cv2.error("(-4:Insufficient memory) Failed to allocate 7 bytes")
"""
    job.write(batch_size=8, chunk_items=8)
    job.add(*numbered(32))
    said = job.run(*TWO, children=no_more_than_two).expect(0).stderr
    for device in ("device 0 (cpu)", "device 1 (cpu)"):
        failed = f"{device}: cv2.dnn failed on a batch of "
        lines = [line for line in said.splitlines() if line.startswith(failed)]
        assert [line.rpartition("; ")[2] for line in lines] == [
            "continuing with batches of 4",
            "continuing with batches of 2",
        ]
    assert_same_rows(job.out, job.undisturbed())


SURPRISES = {
    'raise cv2.error("Failed to allocate 7 bytes")': r"device \d \(cpu\): cv2.dnn failed on a batch of 1: ",
    'raise KeyError("nobody foresaw this")': r"the engine failed: KeyError: 'nobody foresaw this'",
}


@pytest.mark.parametrize("code", SURPRISES)
def test_an_engine_process_that_fails_on_an_item_ends_the_run_with_the_reason(
    job: JobFolder, code: str
) -> None:
    job.add("0000.jpg")
    (job.images / "0001.jpg").write_bytes(encode(Image.new("RGB", (64, 48), "white"), "JPEG"))
    fault = WHITE.replace('wait_at(f"engine{os.getpid()}")', code)
    job.write(batch_size=1, chunk_items=1)
    said = job.run(*TWO, children=fault).expect(1).stderr
    assert re.search(f"^error: {SURPRISES[code]}", said, re.MULTILINE), said
    assert job.paths() in ([], ["0000.jpg"])
    assert_clean(job.out)


def test_an_engine_process_that_dies_while_it_loads_is_an_error(job: JobFolder) -> None:
    job.add(*numbered(2))
    said = job.run(*TWO, children=f"{ENGINE_PROCESS}    import os; os._exit(7)").expect(1).stderr
    assert "error: the engine process of device 0 (cpu) exited with status 7\n  what to do: " in said


def test_a_library_that_is_missing_in_an_engine_process_names_its_extra(job: JobFolder) -> None:
    pytest.importorskip("onnxruntime")
    job.add(*numbered(2))
    job.write(infer="engine: onnxruntime")
    said = job.run(*TWO, children=f"{ENGINE_PROCESS}    sys.modules['onnxruntime'] = None").expect(2).stderr
    assert "pip install 'resnet-pipe[onnxruntime]'" in said


def test_kinds_that_the_engine_lacks_are_refused_with_those_that_it_has(job: JobFolder, cli: Cli) -> None:
    said = cli("run", job.file, "--set", "infer.device=[mps, mps]").expect(2).stderr
    assert (
        "--set infer.device: infer.device: engine opencv does not support device mps; it supports: cpu, cuda"
        in said
    )


def test_a_dry_run_names_the_devices(job: JobFolder, cli: Cli) -> None:
    job.add(*numbered(2))
    plan = cli("run", job.file, *TWO, "--dry-run").expect(0).stdout
    assert "engine   opencv, device cpu, cpu, fp32" in plan


@pytest.mark.skipif(visible_gpus() > 0, reason="needs a machine without an NVIDIA GPU")
def test_all_gpus_of_a_machine_without_any_is_an_error(job: JobFolder) -> None:
    job.add(*numbered(2))
    said = job.run("--set", "infer.device=cuda:all").expect(2).stderr
    assert "CUDA" in said
    assert "what to do: " in said


@pytest.mark.parametrize(
    ("count", "found"), [(2, ("cuda:0", "cuda:1")), (1, ("cuda:0",)), (0, ("cuda:0",)), (None, ("cuda:0",))]
)
def test_all_gpus_are_those_that_the_driver_shows(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch, count: int | None, found: tuple[str, ...]
) -> None:
    def driver(name: str) -> SimpleNamespace:
        assert name == "libcuda.so.1"
        if count is None:
            raise OSError("no such file")

        def write(pointer: Any) -> int:  # noqa: ANN401 - what ctypes.byref gives
            pointer._obj.value = count
            return 0 if count else 100  # CUDA_ERROR_NO_DEVICE

        return SimpleNamespace(cuInit=lambda flags: 0, cuDeviceGetCount=write)

    monkeypatch.setattr(ctypes, "CDLL", driver)
    section = load(job.file, ["infer.device=cuda:all"])[0].infer
    assert devices_of(section) == found
