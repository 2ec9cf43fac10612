"""`resnet-pipe plan`: touches nothing, and tells before a run what it will take."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from resnet_pipe.cli.planned_text import duration
from resnet_pipe.errors import ExitCode, StoppedError
from resnet_pipe.job.job import Job
from resnet_pipe.model import model
from resnet_pipe.study import trial
from resnet_pipe.study.trial import Trial, TrialError, Trials
from tests.archives import pack
from tests.buckets import content
from tests.networks import write_pixels, write_tiny
from tests.run.bucket_jobs import BucketJob
from tests.run.commands import Result
from tests.run.jobs import CROP, JobFolder, VideoFolder, numbered, wait_until
from tests.study.made_trials import made_trial
from tests.study.plain import plain_job

Cli = Callable[..., Result]
Speed = Callable[[Job], float]
"""Items a second, of a job."""
Machine = Callable[[Speed], list[tuple[str, str, int]]]


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    return plain_job(tmp_path)


@pytest.fixture
def cli(cli: Cli, job: JobFolder) -> Cli:
    """Plan the job, in this process."""
    return partial(cli, "plan", job.file)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine that is as fast as a function says; returns the model, engine and items of each trial."""

    def make(speed: Speed) -> list[tuple[str, str, int]]:
        ran: list[tuple[str, str, int]] = []

        def measure(self: Trials, items: int, changes: Mapping[str, Any], limit_s: float) -> Trial:
            name = Path(self.job.infer.model).stem
            ran.append((name, self.job.infer.engine, items))
            return made_trial(items, speed(self.job), engine=self.job.infer.engine, reading=0.0)

        monkeypatch.setattr(Trials, "measure", measure)
        return ran

    return make


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models in the user's directory: resnet18 and resnet50."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setattr(model, "models_dir", lambda: folder)
    for name in ("resnet18", "resnet50"):
        write_tiny(folder / f"{name}.onnx")
    return folder


def by_depth(job: Job) -> float:
    """Return a speed: of resnet18 ten items a second, and five times as slow for resnet50."""
    return 2.0 if Path(job.infer.model).stem == "resnet50" else 10.0


def everything(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return inode, mtime and contents of all files below a folder."""
    return {
        str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
    }


def in_s(seconds: float) -> str:
    """Return the moment after so many seconds."""
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()


def test_a_forecast_of_real_trials_touches_nothing(job: JobFolder, cli: Cli) -> None:
    job.run("--set", "run.report=false", "--set", "run.canary=0").expect(0)
    job.add(*numbered(20, start=100))
    job.add_bad("zz.jpg")
    (job.images / "notes.psd").touch()
    before = everything(job.folder)
    settings = ("--set", "run.report=false", "--set", f"run.until='{in_s(3600)}'")
    told = json.loads(
        cli("--json", "--quiet", "--price", "3600", "--seconds", "120", *settings).expect(0).stdout
    )
    assert everything(job.folder) == before
    assert told["to_do"]["sources"] == 21
    assert told["to_do"]["bytes"] == sum(
        path.stat().st_size for path in job.images.iterdir() if re.match(r"01|zz", path.name)
    )
    assert told["known"] == {"done": 30, "failed": 0, "disappeared": 0}
    assert told["passed_over"] == {".psd": 1}
    forecast = told["forecast"]
    assert 0 < forecast["seconds"]["low"] < forecast["seconds"]["expected"] < forecast["seconds"]["high"] < 60
    assert forecast["failed"]["expected"] == pytest.approx(1, abs=0.5)
    assert forecast["items"]["expected"] == pytest.approx(20, abs=0.5)
    assert forecast["cost"] == forecast["seconds"]
    assert forecast["memory_bytes"]["expected"] > 50 << 20
    assert sum(told["stages"]["shares"].values()) == pytest.approx(1, abs=1e-3)
    assert told["stages"]["limit"] in told["stages"]["shares"]
    assert told["disk"]["enough"] == "surely"
    assert told["finishes"] == "surely"
    job.run("--set", "run.report=false", "--set", "run.canary=0").expect(3)
    added = sum(path.stat().st_size for path in job.out.glob("part-000001*"))
    assert forecast["bytes"]["low"] < 3 * added
    assert forecast["bytes"]["high"] > added


def test_nothing_new_is_said_and_nothing_is_tried(job: JobFolder, cli: Cli, machine: Machine) -> None:
    ran = machine(by_depth)
    job.run("--set", "run.report=false", "--set", "run.canary=0").expect(0)
    said = cli().expect(0).stdout
    assert said == "to do     0 images\nknown     30 already done\nnothing new: a run would be done at once\n"
    told = json.loads(cli("--json").expect(0).stdout)
    assert told["to_do"] == {"sources": 0, "items": None, "bytes": None}
    assert told["forecast"] is None
    assert told["candidates"] == []
    assert ran == []


def test_only_what_is_new_is_tried_unless_all_is_processed_again(
    job: JobFolder, cli: Cli, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: set[str] = set()
    job.run("--set", "run.report=false", "--set", "run.canary=0").expect(0)
    job.add("new.jpg")
    job.change("0003.jpg")
    machine(by_depth)
    measure = Trials.measure

    def noting(self: Trials, items: int, changes: Mapping[str, Any], limit_s: float) -> Trial:
        drawn.update(path.name for path in self.sample.paths)
        return measure(self, items, changes, limit_s)

    monkeypatch.setattr(Trials, "measure", noting)
    assert "to do     2 images" in cli().expect(0).stdout
    assert drawn == {"0003.jpg", "new.jpg"}
    assert "to do     31 images" in cli("--fresh", "--set", "writer.fields=[logits]").expect(0).stdout
    assert len(drawn) == 31


def test_the_lines_say_how_long_how_much_and_where_the_time_goes(
    job: JobFolder, cli: Cli, machine: Machine
) -> None:
    machine(lambda _job: 0.01)
    said = cli("--price", "2.50", "--until", in_s(3 * 3600)).expect(0)
    lines = {line[:10].strip(): line[10:] for line in said.stdout.splitlines()}
    assert re.fullmatch(r"30 images, [\d.]+ KiB", lines["to do"])
    assert lines["time"] == "45 min to 56 min, expected 50 min"
    assert lines["work"] == "reader 0%, preprocess 0%, infer 100%, writer 0%; infer limits"
    assert re.fullmatch(r"2\.\d KiB; [\d.]+ [GT]iB free, run.min_free [\d.]+ GiB: enough", lines["output"])
    assert lines["cost"] == "1.87 to 2.32; of a million images 69,444.44"
    assert re.fullmatch(r"by .*\d\d:\d\d: surely", lines["finishes"])
    assert max(map(len, said.stdout.splitlines())) <= 80
    assert "tiny, opencv: 0.0100 items/s" in said.stderr
    assert cli("--quiet").expect(0).stderr == ""


@pytest.mark.parametrize(
    ("within_s", "finishes"), [(500, "surely"), (302, "perhaps: it may take longer"), (200, "no")]
)
def test_it_says_whether_the_run_finishes_in_time_and_if_that_is_certain(
    job: JobFolder, cli: Cli, machine: Machine, within_s: float, finishes: str
) -> None:
    machine(lambda _job: 0.1)
    job.file.write_text(f"{job.file.read_text()}run: {{until: '{in_s(within_s)}'}}\n")
    assert re.search(rf"^finishes  by .*: {finishes}$", cli().expect(0).stdout, re.MULTILINE)


def test_of_several_models_the_slowest_that_surely_finishes_is_the_best(
    job: JobFolder, cli: Cli, machine: Machine, models: Path
) -> None:
    ran = machine(lambda job: by_depth(job) / 10)
    names = ("--models", "resnet50,resnet18")
    said = cli(*names, "--until", in_s(3600), "--price", "2").expect(0).stdout
    assert re.search(r"^resnet50 +2m1\ds to 2m\d\ds +0\.20 +[\d.]+ MiB +0\.084 +surely$", said, re.MULTILINE)
    assert re.search(
        r"^best: resnet50, the slowest of these models that surely finishes by ", said, re.MULTILINE
    )
    assert max(map(len, said.splitlines())) <= 80
    assert [name for name, _, _ in ran][:6] == [
        "resnet50", "resnet18", "resnet50", "resnet18", "resnet18", "resnet50",
    ]  # fmt: skip
    told = json.loads(cli(*names, "--json", "--until", in_s(100)).expect(0).stdout)
    assert [row["finishes"] for row in told["candidates"]] == ["no", "surely"]
    assert told["best"] == {"model": "resnet18", "engine": "opencv", "precision": "fp32"}
    assert told["forecast"] is None, "the job's own model was not asked for"
    assert told["candidates"][0]["forecast"]["seconds"]["expected"] == pytest.approx(152, rel=0.02)
    assert cli(*names, "--until", in_s(10)).expect(0).stdout.count("none of these surely finishes") == 1
    assert "best" not in cli(*names).expect(0).stdout


def test_a_model_that_is_not_converted_is_refused_with_the_command_that_converts_it(
    job: JobFolder, cli: Cli, machine: Machine, models: Path
) -> None:
    ran = machine(by_depth)
    said = cli("--models", "resnet18,resnet34").expect(ExitCode.USAGE).stderr
    assert said.endswith("make it with: resnet-pipe convert resnet34\n")
    assert ran == []


def test_of_several_engines_the_fastest_is_the_best_and_one_that_cannot_has_its_reason(
    job: JobFolder, cli: Cli, machine: Machine
) -> None:
    def speed(job: Job) -> float:
        if job.infer.engine == "torch":
            raise TrialError("no operator Frobnicate")
        return 30.0 if job.infer.engine == "onnxruntime" else 10.0

    machine(speed)
    said = cli("--engines", "opencv,onnxruntime,torch").expect(0).stdout
    assert re.search(r"^opencv +.* 10\.0 ", said, re.MULTILINE)
    assert re.search(r"^torch +failed: no operator Frobnicate$", said, re.MULTILINE)
    assert re.search(r"^best: onnxruntime, the fastest$", said, re.MULTILINE)
    told = json.loads(cli("--engines", "opencv,onnxruntime,torch", "--json").expect(0).stdout)
    assert [row["failure"] for row in told["candidates"]] == [None, None, "no operator Frobnicate"]
    assert told["candidates"][2]["forecast"] is None
    assert told["forecast"] == told["candidates"][0]["forecast"], "that of the job as it is"


def test_an_engine_that_is_not_installed_is_a_line_if_it_was_named_and_none_of_all(
    job: JobFolder, cli: Cli, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resnet_pipe.errors import MissingExtraError
    from resnet_pipe.infer import engine

    has = engine.devices

    def devices(name: str) -> Mapping[str, tuple[str, ...]]:
        if name == "torch":
            raise MissingExtraError("torch", "torch", "engine torch")
        return {"cuda": ("fp16",)} if name == "openvino" else has(name)

    monkeypatch.setattr(engine, "devices", devices)
    machine(lambda _job: 10.0)
    said = cli("--engines", "opencv,torch").expect(0).stdout
    assert re.search(r"^torch +failed: engine torch needs torch, .*resnet-pipe\[torch\]", said, re.MULTILINE)
    said = cli("--engines", "all").expect(0).stdout
    assert "torch" not in said
    assert re.search(r"^openvino +failed: .*engine openvino does not support device cpu", said, re.MULTILINE)
    assert re.search(r"^onnxruntime +\d", said, re.MULTILINE)


def test_where_the_disk_has_no_room_that_is_said(job: JobFolder, cli: Cli, machine: Machine) -> None:
    machine(by_depth)
    said = cli("--set", "run.min_free=1000000GiB").expect(0).stdout
    assert re.search(r"^output .* free, run.min_free 976\.6 TiB: not enough$", said, re.MULTILINE)


def test_of_videos_it_says_how_many_frames_they_have(
    tmp_path: Path, cli: Cli, job: JobFolder, machine: Machine
) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    films = VideoFolder(folder, write_pixels(tmp_path / "pixels.onnx", CROP))
    films.add_video("a.mkv", 60)
    films.add_video("b.mkv", 24)
    job.file.write_text(
        films.file.read_text().replace("videos", str(films.videos)).replace("tiny", "../pixels")
    )
    machine(by_depth)
    said = cli("--set", "reader.every=2").expect(0).stdout
    assert said.startswith("to do     2 videos, ")
    assert "\nitems     42 frames\n" in said
    assert "at 10.0 frames/s" in said


def test_of_an_archive_it_says_that_reading_from_it_was_not_measured(
    job: JobFolder, cli: Cli, machine: Machine
) -> None:
    machine(by_depth)
    assert "note" not in cli().expect(0).stdout
    pack(job.images, job.folder / "all.tar")
    reader = ("--set", "reader={kind: archive, path: all.tar}")
    said = cli(*reader).expect(0).stdout
    assert said.startswith("to do     30 images, ")
    assert re.search(r"^note      the trials read copies: ", said, re.MULTILINE)


def test_a_job_in_a_bucket_is_forecast_and_nothing_is_put_there(
    tmp_path: Path, network: Path, endpoint: str, machine: Machine
) -> None:
    machine(by_depth)
    job = BucketJob(tmp_path, network, endpoint, "planned")
    job.describe()
    job.add(*numbered(5))
    told = json.loads(job.command("plan", str(job.file), "--json", "--quiet").expect(0).stdout)
    assert told["to_do"]["sources"] == 5
    assert told["disk"] is None
    assert told["forecast"]["bytes"]["expected"] > 0
    assert content(job.server) == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--engines", "tensorflow"), "unknown engine 'tensorflow'; available: "),
        (("--models", "resnet18,,resnet50"), "expected names with commas between them"),
        (("--until", "tomorrow"), "expected a local time such as 06:00"),
        (("--price", "-1"), "-1.0 is not in the range 0<=x<="),
        (("--seconds", "0"), "0.0 is not in the range x>=1"),
        (("--set", "run.executor=ray"), "a run on a cluster cannot be forecast"),
    ],
)
def test_what_cannot_be_forecast_is_refused(
    cli: Cli, machine: Machine, arguments: Sequence[str], said: str
) -> None:
    ran = machine(by_depth)
    assert said in cli(*arguments).expect(ExitCode.USAGE).stderr
    assert ran == []


def test_trials_of_a_fast_machine_have_as_many_items_as_it_takes_but_no_more_than_the_job(
    job: JobFolder, cli: Cli, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.add(*numbered(400, start=100))
    monkeypatch.setattr(trial, "ITEMS_PER_SOURCE", 64)
    ran = machine(lambda _job: 50.0)
    cli().expect(0)
    sizes = [items for _, _, items in ran]
    assert sizes[0] == 16
    assert all(size % 4 == 0 or size == 430 for size in sizes), "whole batches"
    assert 150 <= min(sizes[2:]) <= max(sizes) <= 432


def test_too_little_time_is_said(job: JobFolder, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(self: Trials, items: int, changes: Mapping[str, Any], limit_s: float) -> Trial:
        time.sleep(min(limit_s, 0.6))
        if limit_s < 0.6:
            raise TrialError("not finished")
        return made_trial(items, 1000)

    monkeypatch.setattr(Trials, "measure", measure)
    said = cli("--seconds", "1").expect(ExitCode.USAGE).stderr
    assert "1 s is too short for a forecast\n  what to do: use a larger --seconds" in said


def test_a_candidate_that_is_very_slow_fails_alone(
    job: JobFolder, cli: Cli, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(self: Trials, items: int, changes: Mapping[str, Any], limit_s: float) -> Trial:
        if Path(self.job.infer.model).stem == "resnet50":
            time.sleep(limit_s)
            raise TrialError(f"not finished after {limit_s:.0f} s")
        return made_trial(items, 1000, beside_s=0.1)

    monkeypatch.setattr(Trials, "measure", measure)
    said = cli("--models", "resnet50,resnet18", "--seconds", "4").expect(0).stdout
    assert re.search(r"^resnet50 +failed: not finished after [12] s$", said, re.MULTILINE)
    assert re.search(r"^resnet18 +[\d.]+s ", said, re.MULTILINE)


def test_a_candidate_that_is_slow_once_keeps_what_has_been_measured(
    job: JobFolder, cli: Cli, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = {"resnet18": 100, "resnet50": 3}

    def measure(self: Trials, items: int, changes: Mapping[str, Any], limit_s: float) -> Trial:
        name = Path(self.job.infer.model).stem
        left[name] -= 1
        if left[name] < 0:
            time.sleep(limit_s)
            raise TrialError("not finished")
        return made_trial(items, 1000, beside_s=0.1)

    monkeypatch.setattr(Trials, "measure", measure)
    said = cli("--models", "resnet50,resnet18", "--seconds", "4").expect(0).stdout
    assert re.search(r"^resnet50 +[\d.]+s ", said, re.MULTILINE)
    assert re.search(r"^resnet18 +[\d.]+s ", said, re.MULTILINE)


def test_what_has_been_measured_is_printed_when_a_signal_comes_if_that_is_enough(
    job: JobFolder, cli: Cli, machine: Machine, models: Path
) -> None:
    left = {"resnet18": 4, "resnet50": 2}

    def speed(job: Job) -> float:
        name = Path(job.infer.model).stem
        left[name] -= 1
        if left[name] < 0:
            raise StoppedError("SIGINT: stopped", ExitCode.SIGINT)
        return 10.0

    machine(speed)
    said = cli("--models", "resnet50,resnet18").expect(ExitCode.SIGINT).stdout
    assert re.search(r"^resnet18 +\d.*s ", said, re.MULTILINE)
    assert re.search(r"^resnet50 +failed: stopped before it was measured$", said, re.MULTILINE)
    assert said.endswith("stopped: this is what had been measured until then\n")
    left["resnet18"] = 2
    assert "SIGINT: stopped" in cli("--models", "resnet18").expect(ExitCode.SIGINT).stderr


def test_a_signal_ends_it_at_once_and_leaves_nothing_behind(job: JobFolder) -> None:
    before = everything(job.folder)
    with job.start("--seconds", "1000", command="plan") as run:
        wait_until(lambda: list(job.folder.glob(".resnet-pipe-*/trial/out/*")), "the first trial writes")
        run.signal(signal.SIGINT)
        assert "SIGINT: stopped" in run.end().expect(ExitCode.SIGINT).stderr
    assert everything(job.folder) == before


def test_a_sample_in_which_everything_fails_is_an_error(job: JobFolder, cli: Cli) -> None:
    for path in job.images.iterdir():
        path.unlink()
    job.add_bad("a.jpg", "b.jpg")
    said = cli("--set", "run.report=false").expect(ExitCode.FAILED).stderr
    assert "every source of the sample failed; the first one: " in said
    assert not list(job.folder.glob(".*"))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0.4 s"), (9.94, "9.9 s"), (45, "45 s"), (119, "119 s"), (150, "2 min 30 s"),
        (180, "3 min"), (3000, "50 min"), (4320, "72 min"), (7200, "2 h"), (8040, "2 h 14 min"),
        (86400, "24 h"), (180000, "2 d 2 h"),
    ],
)  # fmt: skip
def test_durations_are_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_another_model_is_not_forecast_where_a_run_would_be_refused(
    job: JobFolder, cli: Cli, machine: Machine, models: Path
) -> None:
    job.run("--set", "run.report=false", "--set", "run.canary=0").expect(0)
    job.add("new.jpg")
    write_pixels(models / "resnet18.onnx", 32)
    ran = machine(by_depth)
    said = cli("--models", "resnet18").expect(ExitCode.USAGE).stderr
    assert "was made with different settings" in said
    assert "--fresh" in said
    assert ran == []
    cli("--models", "resnet18", "--fresh").expect(0)


def test_a_time_that_passes_while_it_is_planned_is_not_tomorrow_s(
    job: JobFolder, cli: Cli, machine: Machine
) -> None:

    def slowly(_job: Job) -> float:
        time.sleep(0.8)
        return 10.0

    machine(slowly)
    until = f"{datetime.now() + timedelta(seconds=2):%H:%M:%S}"
    told = json.loads(cli("--json", "--until", until).expect(0).stdout)
    assert told["finishes"] == "no"


@pytest.mark.parametrize("option", ["--seconds", "--price"])
@pytest.mark.parametrize("value", ["nan", "inf", "1e400"])
def test_what_is_no_number_is_refused(job: JobFolder, cli: Cli, option: str, value: str) -> None:
    assert f"Invalid value for '{option}'" in cli(option, value).expect(ExitCode.USAGE).stderr


def test_a_disk_without_room_for_trials_is_an_error_that_says_where(
    job: JobFolder, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Trial:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Trials, "measure", full)
    said = cli().expect(ExitCode.FAILED).stderr
    assert f"trials are made in {job.out.parent}, and there: No space left on device" in said
