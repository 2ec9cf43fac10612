"""`resnet-pipe tune`: touches nothing of the job, and proposes only what is faster."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from resnet_pipe.errors import ExitCode, MissingExtraError, StoppedError
from resnet_pipe.job.job import Job, load
from resnet_pipe.study import tuning
from resnet_pipe.study.trial import TrialError, Trials
from tests.run.commands import Result
from tests.run.faults import DECODER
from tests.run.jobs import JobFolder, numbered, wait_until
from tests.study.plain import plain_job

Cli = Callable[..., Result]
Speed = Callable[[Mapping[str, Any]], float]
"""Items a second, of what runs: batch_size, streams, threads, workers, engine, precision."""
CORES = 4


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    return plain_job(tmp_path)


@pytest.fixture
def cli(cli: Cli, job: JobFolder) -> Cli:
    """Tune the job, in this process."""
    return partial(cli, "tune", job.file)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Speed], list[Mapping[str, Any]]]:
    """A machine of four cores that is as fast as a function says; returns what it will have run."""

    def make(speed: Speed) -> list[Mapping[str, Any]]:
        ran: list[Mapping[str, Any]] = []

        def run(self: Trials, items: int, changes: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
            auto = {"batch_size": 8, "streams": 4, "threads": CORES, "workers": CORES, "precision": "fp32"}
            asked = {name.partition(".")[2]: value for name, value in changes.items()}
            what = {name: auto[name] if value == "auto" else value for name, value in asked.items()}
            ran.append(what)
            stage = {"busy_s": 0.0, "lanes": 1}
            engine = {name: what[name] for name in ("precision", "streams", "threads")}
            return {
                "items": items,
                "run_seconds": 1 + items / speed(what),
                "first_batch_s": 1,
                "stages": {"reader": stage, "preprocess": stage},
                "engine": {"name": what["engine"], **engine},
                "devices": [{"device": "cpu"}],
                "batch_size": what["batch_size"],
                "workers": what["workers"],
            }

        monkeypatch.setattr(Trials, "run", run)
        monkeypatch.setattr(tuning, "available_cores", lambda: CORES)
        return ran

    return make


def large_batches(what: Mapping[str, Any]) -> float:
    """Return a speed that is best with batches of 32 and two workers, and little else matters."""
    speed: float = 1000 + 100 * min(what["batch_size"], 32) / 32 - 50 * abs(what["workers"] - 2)
    return speed


def different(ran: Sequence[Mapping[str, Any]]) -> int:
    return len({json.dumps(what, sort_keys=True) for what in ran})


def everything(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return inode, mtime and contents of all files below a folder."""
    return {
        str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
    }


def processes(folder: Path) -> list[str]:
    """Return the command lines of processes that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


Machine = Callable[[Speed], list[Mapping[str, Any]]]

NO_PING = """
import pathlib, urllib.request
def urlopen(*arguments, **options):
    (pathlib.Path(__file__).parent.parent / "pinged").touch()
    raise OSError
urllib.request.urlopen = urlopen
"""


def test_real_trials_touch_nothing_of_the_job_even_while_it_runs(job: JobFolder) -> None:
    job.add(*numbered(30), comment="0.1")  # seconds that the decoder takes
    metrics = job.folder / "metrics.prom"
    with job.file.open("a") as file:
        file.write(
            "run: {report: false, metrics: metrics.prom, ping_url: 'http://127.0.0.1:9', max_failures: 0,"
            " notify: [NOBODY], notify_on: [0, 1, 2, 3]}\n"
        )
    job.add_bad("zz.jpg")
    untold = ("--set", "run.ping_url=null", "--set", "run.notify=[]")
    job.run("--set", "run.max_failures=1", *untold).expect(3)
    assert metrics.exists()
    before = everything(job.folder)
    with (job.out / "_resnet_pipe" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with job.start("--seconds", "10000", command="tune", faults=DECODER + NO_PING) as run:
            assert run.process.stderr is not None
            assert re.fullmatch(r"default: \d+\.\d items/s\n", run.process.stderr.readline())
            run.signal_group(signal.SIGINT)
            result = run.end().expect(ExitCode.SIGINT)
    shutil.rmtree(job.folder / "faults")
    assert everything(job.folder) == before
    assert processes(job.folder) == []
    assert re.search(r"^sample: \d+ images per trial, from 31 sources$", result.stdout, re.MULTILINE)
    assert re.search(r"^default: engine opencv, precision fp32, batch_size 8, ", result.stdout, re.MULTILINE)
    assert re.search(r"^default +\d+\.\d +1\.00", result.stdout, re.MULTILINE)
    assert "stopped. default is kept: " in result.stdout


def test_a_signal_ends_it_at_once_and_leaves_nothing_behind(job: JobFolder) -> None:
    before = everything(job.folder)
    with job.start("--seconds", "1000", command="tune") as run:
        wait_until(lambda: list(job.folder.glob(".resnet-pipe-*/trial/out/*")), "the first trial writes")
        run.signal(signal.SIGTERM)
        assert "SIGTERM: stopped" in run.end().expect(ExitCode.SIGTERM).stderr
    assert everything(job.folder) == before
    assert processes(job.folder) == []


def test_the_trial_ends_with_a_tune_that_is_killed(job: JobFolder) -> None:
    with job.start("--seconds", "1000", command="tune") as run:
        wait_until(lambda: list(job.folder.glob(".resnet-pipe-*/trial/out/*")), "the first trial writes")
        run.signal(signal.SIGKILL)
        run.end().expect(-signal.SIGKILL)
    wait_until(lambda: not processes(job.folder), "its trial has ended")


def test_what_has_been_found_is_printed_when_a_signal_comes(cli: Cli, machine: Machine) -> None:
    def speed(what: Mapping[str, Any]) -> float:
        if what["workers"] != CORES:
            raise StoppedError("SIGINT: stopped", ExitCode.SIGINT)
        return large_batches(what)

    machine(speed)
    found = cli().expect(ExitCode.SIGINT).stdout
    assert re.search(r"^batch_size 32 +\d+\.\d +1\.08 ", found, re.MULTILINE)
    assert "stopped. default is kept: batch_size 32 looked 1.08 times as fast" in found


def test_a_faster_setting_is_proposed_as_sections_that_are_valid(
    job: JobFolder, cli: Cli, machine: Machine
) -> None:
    machine(large_batches)
    before = job.file.read_text()
    result = cli("--quiet").expect(0)
    chosen = r"^chosen: batch_size 32, workers 2: 1\.1\d times as fast as default \(median of 5"
    assert re.search(chosen, result.stdout, re.MULTILINE)
    assert job.file.read_text() == before
    proposal = result.stdout[result.stdout.index("\ninfer: ") :].strip() + "\n"
    lines = [line for line in before.splitlines(keepends=True) if not line.startswith("infer: ")]
    job.file.write_text("".join(lines) + proposal)
    pasted, _ = load(job.file)
    assert (pasted.infer.batch_size, pasted.run.workers) == (32, 2)
    assert pasted.infer.device == "cpu"


def test_write_changes_the_values_and_keeps_all_else(job: JobFolder, cli: Cli, machine: Machine) -> None:
    machine(large_batches)
    commented = "# nightly\n" + job.file.read_text().replace("device: cpu}", "device:   cpu }   # no GPU")
    job.file.write_text(commented)
    job.file.chmod(0o640)
    assert f"wrote this to {job.file}" in cli("--write").expect(0).stderr
    wanted = commented.replace("device:   cpu }", "device:   cpu, batch_size: 32 }") + "run: {workers: 2}\n"
    assert job.file.read_text() == wanted
    assert job.file.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in job.folder.iterdir()) == ["images", "job.yaml", "tiny.onnx"]
    tuned = cli("--write").expect(0)  # there is nothing better than what it has found
    assert "the job as it is is kept" in tuned.stdout
    assert job.file.read_text() == wanted


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    job: JobFolder, cli: Cli, machine: Machine
) -> None:
    ran = machine(large_batches)
    job.file.chmod(0o444)
    assert "job.yaml is read-only" in cli("--write").expect(ExitCode.USAGE).stderr
    assert ran == []
    cli().expect(0)


def test_the_default_is_kept_when_nothing_is_better(job: JobFolder, cli: Cli, machine: Machine) -> None:
    ran = machine(lambda what: 1000 - what["batch_size"] % 8 - 2 * abs(what["workers"] - CORES))
    before = job.file.read_text()
    result = cli("--write").expect(0)
    assert result.stdout.endswith("default is kept: nothing else is certain to be at least 3% faster\n")
    assert job.file.read_text() == before
    assert different(ran) > 5


def test_a_job_that_is_slower_than_the_default_is_brought_back_to_it(
    job: JobFolder, cli: Cli, machine: Machine
) -> None:
    machine(lambda what: 100.0 + (what["batch_size"] == 8) * (what["workers"] == CORES) * 100)
    job.file.write_text(job.file.read_text() + "run: {workers: 1}\n")
    result = cli("--write", "--set", "infer.batch_size=4").expect(0)
    assert "chosen: default: 2.00 times as fast as the job as it is" in result.stdout
    assert load(job.file)[0].run.workers == "auto"


def test_the_default_takes_part_in_the_final_however_it_looked(
    job: JobFolder, cli: Cli, machine: Machine
) -> None:
    rates = iter([50.0])

    def speed(what: Mapping[str, Any]) -> float:
        is_default = (what["batch_size"], what["workers"], what["threads"]) == (8, CORES, CORES)
        return next(rates, 200.0) if is_default else 100.0

    machine(speed)
    said = cli("--set", "infer.batch_size=4", "--set", "run.workers=1").expect(0).stdout
    assert "chosen: default: 2.00 times as fast as the job as it is" in said


def test_settings_that_fail_are_rows_with_their_reason(job: JobFolder, cli: Cli, machine: Machine) -> None:
    def speed(what: Mapping[str, Any]) -> float:
        if what["batch_size"] > 8:
            raise TrialError("out of \x1b[31mmemory")
        return 100.0

    machine(speed)
    assert re.search(
        r"^batch_size 16 +failed: out of \\x1b\[31mmemory$", cli().expect(0).stdout, re.MULTILINE
    )


def test_other_engines_and_precisions_are_tried_only_where_allowed(
    job: JobFolder, cli: Cli, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = machine(lambda what: 200.0 if what["precision"] == "bf16" else 100.0)
    has: dict[str, dict[str, tuple[str, ...]]] = {
        "opencv": {"cpu": ("fp32",)},
        "openvino": {"cpu": ("bf16", "fp32", "int8")},
        "torch": {"cuda": ("fp16",)},
    }

    def devices(name: str) -> dict[str, tuple[str, ...]]:
        if name == "mlx":
            raise MissingExtraError("mlx", "mlx", "engine mlx")
        return has[name]

    monkeypatch.setattr(tuning, "ENGINES", [*has, "mlx"])
    monkeypatch.setattr("resnet_pipe.infer.engine.devices", devices)
    cli().expect(0)
    assert {what["engine"] for what in ran} == {"opencv"}
    ran.clear()
    rows = cli("--allow", "engine").expect(0).stdout
    assert {(what["engine"], what["precision"]) for what in ran} == {("opencv", "fp32"), ("openvino", "fp32")}
    assert re.search(
        r"^engine torch, precision fp32 +failed: it does not support fp32 on device cpu", rows, re.MULTILINE
    )
    missing = r"^engine mlx, precision fp32 +failed: engine mlx needs mlx, .*'resnet-pipe\[mlx\]'$"
    assert re.search(missing, rows, re.MULTILINE)
    ran.clear()
    result = cli("--allow", "engine", "--allow", "precision", "--write").expect(0)
    assert len(re.findall(r" \d+\.\d\d .*\d$", result.stdout, re.MULTILINE)) == different(ran)
    assert "chosen: engine openvino, precision bf16" in result.stdout
    assert job.file.read_text().count("engine: openvino, precision: bf16") == 1


def test_an_engine_that_was_chosen_by_auto_is_named_with_what_makes_it_faster(
    job: JobFolder, cli: Cli, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(asked: Job, *_: object) -> tuple[Job, None]:
        infer = asked.infer.model_copy(update={"engine": "opencv", "precision": "fp32"})
        return asked.model_copy(update={"infer": infer}), None

    monkeypatch.setattr("resnet_pipe.study.choice.choose", choose)
    job.file.write_text(job.file.read_text().replace("device: cpu}", "device: cpu, engine: auto}"))
    ran = machine(large_batches)
    cli("--write").expect(0)
    assert {what["engine"] for what in ran} == {"opencv"}
    wanted = "infer: {model: tiny.onnx, device: cpu, engine: opencv, precision: fp32, batch_size: 32}\n"
    assert wanted in job.file.read_text()
    before = job.file.read_text().replace("opencv", "auto").replace(", precision: fp32", "")
    job.file.write_text(before)
    assert "the job as it is is kept" in cli("--write").expect(0).stdout
    assert job.file.read_text() == before


def test_a_trial_fills_every_stream_of_every_device(
    cli: Cli, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(large_batches)
    run = Trials.run
    trials: list[tuple[int, int, int]] = []

    def on_three_devices(self: Trials, items: int, changes: Mapping[str, Any], limit_s: float) -> Any:  # noqa: ANN401
        result = run(self, items, changes, limit_s)
        trials.append((items, result["batch_size"], result["engine"]["streams"]))
        return {**result, "devices": [{"device": "cpu"}] * 3}

    monkeypatch.setattr(Trials, "run", on_three_devices)
    cli().expect(0)
    others = [(items, size, streams) for items, size, streams in trials if size != 8]  # those of the default
    assert others
    assert all(items % (size * streams * 3) == 0 for items, size, streams in others)


def test_json_has_every_measurement(job: JobFolder, cli: Cli, machine: Machine) -> None:
    ran = machine(large_batches)
    found = json.loads(cli("--json", "--quiet").expect(0).stdout)
    assert len(found["settings"]) == different(ran)
    assert found["changes"] == {"infer.batch_size": 32, "run.workers": 2}
    assert found["ratio"] == pytest.approx(large_batches({"batch_size": 32, "workers": 2}) / 925)
    assert found["baseline"]["ran"]["batch_size"] == 8
    row = next(row for row in found["settings"] if row["setting"] == found["chosen"])
    assert len(row["rates"]) >= found["rounds"] == 5
    assert found["sample"]["sources"] == 30


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "no images found in"),
        (["a.jpg", "b.jpg"], "every source of the sample failed; the first one: "),
    ],
)
def test_input_that_cannot_be_measured_is_an_error(job: JobFolder, names: list[str], said: str) -> None:
    for path in job.images.iterdir():
        path.unlink()
    job.add_bad(*names)
    result = job.start(command="tune").end().expect(ExitCode.FAILED)
    assert said in result.stderr
    assert not list(job.folder.glob(".*"))


def test_too_little_time_is_said(job: JobFolder) -> None:
    result = job.start("--seconds", "1", command="tune", faults="import time; time.sleep(0.6)").end()
    assert "1 s is too short for a trial of 32 items" in result.expect(ExitCode.USAGE).stderr
