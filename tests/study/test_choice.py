"""`infer.engine: auto`: the fastest engine that gives what it should, chosen once."""

from __future__ import annotations

import json
import pwd
from pathlib import Path

import pytest

from resnet_pipe.errors import ExitCode
from resnet_pipe.study import verifier
from tests.run.commands import Result
from tests.run.jobs import HOME, Cli, JobFolder
from tests.study.engines import Install

AUTO = ("--set", "infer.engine=auto")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which choices are remembered, in a directory of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "resnet-pipe" / "engines.json"


def run(cli: Cli, job: JobFolder, *arguments: str) -> Result:
    return cli("run", job.file, *AUTO, *arguments)


def tried(result: Result) -> bool:
    return "comparing the engines" in result.stderr


def test_the_fastest_engine_that_passes_is_taken_said_recorded_and_remembered(
    cli: Cli, job: JobFolder, install: Install, cache: Path
) -> None:
    install(opencv="slow", openvino="wrong", onnxruntime="crashing", torch="honest", mlx="missing")
    first = run(cli, job).expect(0)
    assert "engine auto: openvino fp32: fail, cosine " in first.stderr
    assert "engine auto: onnxruntime fp32: crashed: its process was killed by SIGSEGV" in first.stderr
    assert "engine auto: mlx: not installed" in first.stderr
    assert "engine auto chose torch fp32: " in first.stderr
    summary = job.summary()
    choice = summary["choice"]
    assert (choice["engine"], choice["precision"], choice["items"]) == ("torch", "fp32", 5)
    assert choice["ratio"] > 1
    assert (
        f"engine auto chose torch fp32: {choice['ratio']:.1f} times as fast as opencv; saved for later runs"
        in summary["engine"]["note"]
    )
    assert [row["status"] for row in choice["engines"]] == [
        "pass",
        "fail",
        "crashed",
        "pass",
        "not installed",
    ]
    assert [event["engines"] for event in job.events("engine_chosen")] == [choice["engines"]]
    assert "engine: torch" in (job.last_run() / "job.yaml").read_text()
    assert len(job.rows()) == 5
    assert [path.name for path in cache.parent.iterdir()] == ["engines.json"]

    install(opencv="slow", openvino="wrong", onnxruntime="crashing", torch="slow", mlx="missing")
    again = run(cli, job).expect(0)
    assert not tried(again)
    assert (
        f"engine auto chose torch fp32: {choice['ratio']:.1f} times as fast as opencv; saved on"
        in again.stderr
    )
    assert job.summary()["choice"] == choice


def test_other_circumstances_need_another_choice_and_both_are_remembered(
    cli: Cli, job: JobFolder, install: Install, cache: Path
) -> None:
    install(torch="honest")
    assert tried(run(cli, job, "--dry-run").expect(0))
    other = ("--dry-run", "--set", "infer.batch_size=3")
    assert tried(run(cli, job, *other).expect(0))
    assert not tried(run(cli, job, *other).expect(0))
    assert not tried(run(cli, job, "--dry-run").expect(0))
    assert len(json.loads(cache.read_text())["choices"]) == 2


def test_for_several_devices_the_engines_are_tried_on_one_of_them(
    cli: Cli, job: JobFolder, install: Install, cache: Path
) -> None:
    install(opencv="slow", torch="honest")
    several = ("--set", "infer.device=[cpu, cpu]")
    assert tried(run(cli, job, *several).expect(0))
    summary = job.summary()
    assert summary["choice"]["engine"] == "torch"
    assert [device["device"] for device in summary["devices"]] == ["cpu", "cpu"]
    assert not tried(run(cli, job, *several, "--dry-run").expect(0))
    assert not tried(run(cli, job, "--dry-run").expect(0)), "it is the same choice"


@pytest.mark.parametrize(
    "damage",
    [
        "",
        '{"schema_version": 2, "choices": []}',
        '{"choices": [{"engine": "rm -rf", "precision": 1}]}',
    ],
)
def test_a_file_that_cannot_be_understood_is_replaced(
    cli: Cli, job: JobFolder, install: Install, cache: Path, damage: str
) -> None:
    install(torch="honest")
    cache.parent.mkdir(parents=True)
    cache.write_text(damage)
    plan = run(cli, job, "--dry-run").expect(0)
    assert tried(plan)
    assert "engine   torch, device cpu, fp32" in plan.stdout
    assert not job.out.exists()
    assert len(json.loads(cache.read_text())["choices"]) == 1


def test_a_cache_that_cannot_be_written_is_said_and_stops_nothing(
    cli: Cli, job: JobFolder, install: Install, cache: Path
) -> None:
    install(torch="honest")
    cache.parent.parent.write_text("a file where a directory should be")
    said = run(cli, job, "--dry-run").expect(0).stderr
    assert "engine auto: the choice cannot be saved: " in said
    assert said.endswith("engine auto chose torch fp32: opencv cannot be compared\n")


def test_without_a_home_the_place_of_the_cache_is_asked_for_in_one_line(
    cli: Cli, job: JobFolder, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(user: int) -> pwd.struct_passwd:
        raise KeyError(user)

    install(torch="honest")
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    *_, said, _ = run(cli, job, "--dry-run").expect(0).stderr.splitlines()
    assert said.startswith("engine auto: the choice cannot be saved: user ")
    assert said.endswith("; set XDG_CACHE_HOME to a directory that this user can write to")


def test_results_keep_their_precision_until_they_are_dropped(
    cli: Cli, job: JobFolder, install: Install, cache: Path
) -> None:
    install(torch="slow")
    run(cli, job).expect(0)
    cache.unlink()
    job.add("new.jpg")
    install(torch="slow", mlx="coarse")  # whose own choice is bf16, and whose fp32 is wrong
    kept = run(cli, job).expect(0)
    assert "engine auto chose torch fp32" in kept.stderr
    assert len(job.rows()) == 6
    assert not tried(run(cli, job).expect(0))
    assert "mlx, device cpu, bf16" in run(cli, job, "--fresh", "--dry-run").expect(0).stdout


def test_where_nothing_can_be_read_the_first_engine_is_taken_and_not_remembered(
    cli: Cli, job: JobFolder, install: Install, cache: Path
) -> None:
    install(opencv="honest", torch="honest")
    for path in job.images.iterdir():
        path.write_bytes(b"this is not an image")
    result = run(cli, job).expect(ExitCode.SOME_FAILED)
    assert (
        "engine auto chose opencv fp32: no source could be read, so the engines could not be compared"
        in result.stderr
    )
    assert not cache.exists()
    assert job.summary()["choice"]["reason"]
    for path in job.images.iterdir():
        path.unlink()
    run(cli, job, "--set", "reader.allow_empty=true", "--quiet").expect(0)
    assert json.loads((job.out / HOME / "fingerprint.json").read_text())["parts"]["infer.precision"] == "fp32"
    job.images.rmdir()
    assert "reader.path" in run(cli, job).expect(ExitCode.USAGE).stderr


def test_if_no_engine_passes_there_is_an_error_with_what_came_of_each(
    cli: Cli, job: JobFolder, install: Install
) -> None:
    install(opencv="wrong", torch="honest", mlx="missing")
    result = run(cli, job, "--set", "infer.precision=bf16").expect(ExitCode.USAGE)
    assert "error: engine auto: no engine passes the check" in result.stderr
    assert "torch bf16: cannot run: bf16 is not supported here; supported: fp32" in result.stderr
    assert not job.out.exists()


def test_an_engine_that_takes_far_longer_than_another_is_given_up(
    cli: Cli, job: JobFolder, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier, "PATIENCE_S", 0.1)
    install(torch="honest", mlx="hanging")
    result = run(cli, job, "--dry-run").expect(0)
    assert "engine auto: mlx fp32: given up: not ready within " in result.stderr
    assert "engine auto chose torch fp32" in result.stderr


def test_a_model_that_the_engine_cannot_run_names_the_engines_that_can(
    cli: Cli, job: JobFolder, install: Install
) -> None:
    install(opencv="unable", openvino="honest", onnxruntime="crashing", torch="honest", mlx="missing")
    said = cli("run", job.file).expect(ExitCode.USAGE).stderr
    assert "no operator Frobnicate" in said
    assert "what to do: openvino and torch can run it: infer.engine: openvino; or use another network" in said
    install(opencv="unable", torch="missing")
    said = cli("run", job.file).expect(ExitCode.USAGE).stderr
    assert "what to do: use another network" in said
