"""`import resnet_pipe`: what the commands do, from Python."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

import resnet_pipe
from resnet_pipe.convert.conversion import Conversion
from resnet_pipe.errors import DocumentError, LockedError, RunError, UsageError
from tests.networks import write_tiny
from tests.run.faults import DECODER, GATE, Gate
from tests.run.found import use_boxes
from tests.run.jobs import JobFolder, assert_clean, assert_same_rows, group, numbered, wait_until

Event = tuple[str, dict[str, object]]
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "python.md"


@pytest.fixture
def five(job: JobFolder) -> JobFolder:
    """A job of five images that has not run."""
    job.add(*numbered(5))
    return job


def test_importing_it_takes_no_library_along() -> None:
    heavy = {"numpy", "cv2", "pyarrow", "pydantic", "click", "onnx", "torch", "av"}
    program = f"import sys, resnet_pipe; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_job_is_planned_run_and_read(five: JobFolder, capfd: pytest.CaptureFixture[str]) -> None:
    five.add_bad("bad.jpg")
    job = resnet_pipe.load_job(five.file)
    assert resnet_pipe.plan(job).planned == 6
    assert not five.out.exists(), "planning changes nothing"
    outcome = resnet_pipe.run(job)
    assert outcome.exit_code == 3
    assert (outcome.counts.done, outcome.counts.failed, outcome.effort.items) == (5, 1, 5)
    assert outcome.to_json() == five.summary()
    assert resnet_pipe.plan(job).planned == 0
    assert resnet_pipe.plan(job, retry_failed=True).planned == 1
    rows = resnet_pipe.read(five.out).to_table(filter=pc.field("path") > "0001.jpg")
    assert rows["path"].to_pylist() == numbered(5)[2:]
    assert capfd.readouterr() == ("", ""), "nothing is printed"


def test_it_runs_twice_in_a_process_and_in_a_thread(five: JobFolder) -> None:
    job = resnet_pipe.load_job(five.file)
    assert resnet_pipe.run(job).counts.done == 5
    five.add("0005.jpg")
    found: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=lambda: found.append(resnet_pipe.run(job).counts.done))
    thread.start()
    thread.join()
    assert found == [1]
    assert resnet_pipe.run(job, fresh=True).counts.done == 6
    assert signal.getsignal(signal.SIGINT) is before
    assert_same_rows(five.out, five.undisturbed())


def test_a_job_may_be_a_mapping_with_overrides(
    five: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(five.folder)
    job = {
        "name": "mapping",
        "reader": {"kind": "images", "path": five.images},
        "infer": {"model": five.folder / "tiny.onnx"},
        "preprocess": {"resize": 36, "crop": 32, "mean": [0.5] * 3, "std": [0.5] * 3},
        "writer": {"kind": "jsonl", "path": "elsewhere", "fields": ["features"]},
    }
    loaded = resnet_pipe.load_job(job, {"infer.batch_size": 2, "writer.path": tmp_path / "here"})
    assert resnet_pipe.run(loaded).effort.batch_size == 2
    features = resnet_pipe.read(tmp_path / "here").to_table()["features"].to_pylist()
    assert np.isfinite(features).all()
    with pytest.raises(DocumentError, match=r"^job: unknown key 'infer.modle'; did you mean 'model'\?$"):
        resnet_pipe.load_job({**job, "infer": {"modle": "x", "model": five.folder / "tiny.onnx"}})
    with pytest.raises(DocumentError, match=r"^job: (expected str, bytes|.*not JSON serializable)"):
        resnet_pipe.load_job({**job, "name": object()})


def test_a_wrong_override_is_named_by_its_key_and_not_as_on_the_command_line(five: JobFolder) -> None:
    for overrides, expected in (
        ({"infer.batch_size": 0}, "overrides: infer.batch_size: input should be "),
        ({"infer.modle": "x"}, "overrides: unknown key 'infer.modle'; did you mean 'model'?"),
        ({"name.first": "x"}, "overrides: name.first: name is not a section"),
    ):
        with pytest.raises(DocumentError) as caught:
            resnet_pipe.load_job(five.file, overrides)
        (problem,) = caught.value.problems
        assert problem.startswith(expected)


def test_events_are_those_of_the_log_and_the_progress(five: JobFolder) -> None:
    five.add_bad("bad.jpg")
    told: list[Event] = []
    resnet_pipe.run(resnet_pipe.load_job(five.file), lambda event: told.append(event))
    names = [name for name, _ in told if name != "progress"]
    logged = [event["event"] for event in five.events()]
    assert sorted(names) == sorted(logged)
    assert names[0] == "run_started"
    assert names[-1] == "run_ended"
    last = [fields for name, fields in told if name == "progress"][-1]
    assert last == {"sources": 6, "items": 5, "failures": 1}


def test_a_listener_that_fails_does_not_change_the_run(five: JobFolder) -> None:
    told: list[str] = []

    def fail(event: Event) -> None:
        told.append(event[0])
        raise ZeroDivisionError("a mistake")

    assert resnet_pipe.run(resnet_pipe.load_job(five.file), fail).exit_code == 0
    assert told == ["run_started"], "and it is not told again"
    (warning,) = five.events("warning")
    assert warning["text"] == "events are told no more: ZeroDivisionError: a mistake"


INTERRUPTED = """
import signal
import sys
import resnet_pipe

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
job = resnet_pipe.load_job(sys.argv[1])
try:
    resnet_pipe.run(job)
except KeyboardInterrupt:
    print("interrupted")
    sys.stdout.flush()
sys.stdin.readline()
outcome = resnet_pipe.run(job)
print(outcome.counts.done, int(outcome.exit_code))
"""


def test_ctrl_c_is_a_keyboard_interrupt_and_the_same_call_goes_on(job: JobFolder) -> None:
    job.add(*numbered(4))
    job.add("0004.jpg", comment="gate")
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(job.file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=job.environment(DECODER),
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        Gate(job).wait()
        wait_until(lambda: job.paths() == numbered(4), "what comes before it is committed")
        os.kill(process.pid, signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert group(process.pid) == [process.pid], "no child is left"
        Gate(job).open()
        out, _ = process.communicate("\n", timeout=60)
    assert out == "1 0\n"
    assert_clean(job.out)


def test_a_directory_that_another_run_holds_is_an_error(five: JobFolder) -> None:
    five.add("gate.jpg", comment="gate")
    with five.start(faults=DECODER) as running:
        Gate(five).wait()
        with pytest.raises(LockedError, match=str(running.pid)):
            resnet_pipe.run(resnet_pipe.load_job(five.file))


def test_only_committed_shards_are_read(done: JobFolder) -> None:
    (done.out / "part-000009.parquet").write_bytes(b"of somebody else")
    assert resnet_pipe.read(done.out).count_rows() == 5
    with pytest.raises(UsageError, match="no committed shards") as caught:
        resnet_pipe.read(done.folder)
    assert "writer.path" in str(caught.value)


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_rows_are_read_where_the_first_shard_has_none(job: JobFolder, kind: str) -> None:
    job.add_bad("0000.jpg")
    job.add(*numbered(3)[1:])
    job.write(writer=f"{{kind: {kind}, path: out, fields: [logits]}}", chunk_items=1)
    assert resnet_pipe.run(resnet_pipe.load_job(job.file)).exit_code == 3
    assert resnet_pipe.read(job.out).to_table()["path"].to_pylist() == numbered(3)[1:]
    for path in numbered(3)[1:]:
        (job.images / path).unlink()
    resnet_pipe.run(resnet_pipe.load_job(job.file, {"run.max_disappeared": 9}), prune=True)
    if kind == "parquet":
        assert resnet_pipe.read(job.out).count_rows() == 0
    else:  # what is in a text without rows, nobody can tell
        with pytest.raises(UsageError, match="no committed shards"):
            resnet_pipe.read(job.out)


def test_of_several_writers_one_is_read_and_no_index_is_taken_for_rows(five: JobFolder) -> None:
    matrix = "{kind: npy, path: out, field: logits, layout: matrix}"
    five.write(writer=f"[{matrix}, {{kind: csv, fields: [logits]}}]")
    resnet_pipe.run(resnet_pipe.load_job(five.file))
    rows = resnet_pipe.read(five.out).to_table()
    assert rows["path"].to_pylist() == numbered(5)
    assert rows.num_columns > 4
    five.write(writer=matrix)
    resnet_pipe.run(resnet_pipe.load_job(five.file), fresh=True)
    with pytest.raises(UsageError, match="no committed shards"):
        resnet_pipe.read(five.out)


def test_rows_that_are_missing_are_an_error_that_names_what_tells_which(done: JobFolder) -> None:
    next(done.out.glob("part-*")).unlink()
    with pytest.raises(RunError, match="lacks files of its ledger") as caught:
        resnet_pipe.read(done.out)
    assert f"resnet-pipe check {done.out}" in str(caught.value)


CLOSED = """
import os, sys
for number in range(3):
    os.close(number)
import resnet_pipe
resnet_pipe.run(resnet_pipe.load_job(sys.argv[1]))
"""
NOISE = """
import os
import time
from threading import Thread

def speak():
    while True:
        try:
            os.write(2, b"a message of a library\\n")
        except OSError:
            pass
        time.sleep(0.001)

Thread(target=speak, daemon=True).start()
"""


def test_without_standard_streams_no_message_gets_into_rows_or_files(five: JobFolder) -> None:
    environment = five.environment(f"{GATE}\nif IN_WORKER:\n    exec({NOISE!r})")
    subprocess.run([sys.executable, "-c", CLOSED, str(five.file)], env=environment, check=True)
    assert_same_rows(five.out, five.undisturbed())
    assert_clean(five.out)


def test_a_process_that_was_forked_during_a_run_does_not_hold_its_lock(five: JobFolder) -> None:
    children: list[int] = []

    def fork(event: Event) -> None:
        if event[0] == "engine_ready":
            children.append(os.fork())
            if not children[-1]:
                signal.pause()

    job = resnet_pipe.load_job(five.file)
    try:
        resnet_pipe.run(job, fork)
        assert len(children) == 1
        assert resnet_pipe.run(job).exit_code == 0
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def test_overrides_may_be_whatever_a_program_has(five: JobFolder) -> None:
    strange = five.folder / "ü 😀"
    five.images.rename(strange)
    overrides = {
        "reader.path": strange,
        "infer.batch_size": np.int64(2),
        "run": MappingProxyType({"workers": 1}),
    }
    job = resnet_pipe.load_job(five.file, overrides).job
    assert job.reader.path == [strange]
    assert (job.infer.batch_size, job.run.workers) == (2, 1)
    with pytest.raises(DocumentError, match="surrogates not allowed"):
        resnet_pipe.load_job(five.file, {"reader.path": "\udcff"})


def test_children_run_the_package_that_their_parent_runs(five: JobFolder) -> None:
    package = Path(resnet_pipe.__file__).parent
    shutil.copytree(
        package, five.folder / "copy" / "resnet_pipe", ignore=shutil.ignore_patterns("__pycache__")
    )
    worker = five.folder / "copy" / "resnet_pipe" / "run" / "workers" / "worker_process.py"
    worker.write_text(
        worker.read_text() + "\nfrom pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n"
    )
    program = "import sys; sys.path.insert(0, sys.argv[2])\nimport resnet_pipe\n"
    program += "resnet_pipe.run(resnet_pipe.load_job(sys.argv[1]))"
    command = [sys.executable, "-c", program, str(five.file), str(five.folder / "copy")]
    subprocess.run(command, check=True)
    assert worker.with_suffix(".ran").exists()


def test_engines_are_verified(five: JobFolder) -> None:
    pytest.importorskip("onnxruntime")
    found = resnet_pipe.verify(str(five.file), engines=("opencv",), count=4)
    assert [verdict.status for verdict in found.verdicts] == ["pass"]


def test_a_network_is_converted(tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason="needs the extra `convert`")
    said: list[str] = []
    converted = resnet_pipe.convert("resnet18", weights="random", out=tmp_path, say=said.append)
    assert converted.path == tmp_path / "resnet18.onnx"
    assert converted.changed
    assert said


def test_labels_are_given_for_a_detector_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="and not for resnet18"):
        resnet_pipe.convert("resnet18", weights="random", labels=["cat", "dog"], out=tmp_path)


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_boxes_are_read_where_the_first_million_bytes_have_none(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_boxes(monkeypatch)
    job = JobFolder(tmp_path, write_tiny(tmp_path / "network.onnx"))
    deep = "/".join(["none", *(14 * ["d" * 240])])
    job.add(*(f"{deep}/{name}" for name in numbered(320)), *numbered(3, 9000))
    for name in numbered(3, 9000):
        (job.images / name).rename(job.images / f"z{name}")
    job.write(kind=kind, fields="[boxes]", chunk_items=999, batch_size=32)
    assert resnet_pipe.run(resnet_pipe.load_job(job.file)).exit_code == 0
    assert max(shard.stat().st_size for shard in job.out.glob("part-*")) > 1 << 20
    rows = resnet_pipe.read(job.out).to_table()
    assert {path for path in rows["path"].to_pylist() if path[0] == "z"} == {
        f"z{name}" for name in numbered(3, 9000)
    }
    if kind == "jsonl":
        assert len(rows) == 323
        rows = rows.slice(322)
    scores = rows["detections"].to_pylist()[0] if kind == "jsonl" else rows["score"].to_pylist()[320:]
    assert len(scores) > 1


def test_the_examples_of_the_page_do_what_it_says(
    tmp_path: Path,
    photo_folder: Path,
    resnet18: Conversion,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("data", "models", "jobs"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "images").symlink_to(photo_folder)
    for suffix in (".onnx", ".json"):
        (tmp_path / "models" / f"resnet18{suffix}").symlink_to(resnet18.path.with_suffix(suffix))
    text = (ROOT / "jobs" / "folder.yaml").read_text()
    (tmp_path / "jobs" / "folder.yaml").write_text(
        text.replace("model: resnet18", "model: ../models/resnet18.onnx")
    )
    variables: dict[str, Any] = {}
    for code in re.findall("^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(code, PAGE.name, "exec"), variables)  # noqa: S102 - the page is ours
    photographs = len(list(photo_folder.rglob("*.jpg")))
    assert len(variables["table"]) == len(variables["features"]) == photographs
    assert variables["failed"] == []
    said = capsys.readouterr().out
    rows = f"{photographs} rows of path, frame_index, pts_s, features, top_k\n"
    assert said.startswith(f"{rows}0 sources are new or have changed since\n0 {photographs} 0\n")
    assert f"{photographs} sources, {photographs} items" in said
    assert "overrides: reader.path: no such file" in said
