"""The command line: what it prints, what it exits with, and what it does not load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from resnet_pipe.cli.main import commands
from resnet_pipe.errors import ExitCode
from resnet_pipe.job.job import json_schema
from tests.run.jobs import Cli, JobFolder

HEAVY = {"torch", "torchvision", "cv2", "onnx", "pyarrow"}


@pytest.mark.parametrize("command", [[], *([name] for name in sorted(commands.commands))], ids=" ".join)
def test_every_command_explains_itself_and_loads_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys, atexit, resnet_pipe; "
        f"atexit.register(lambda: print('loaded:', *sys.modules.keys() & {HEAVY}, file=sys.stderr)); "
        "from resnet_pipe.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert done.stderr == "loaded:\n"
    assert done.stdout.startswith("Usage: ")
    assert "--help" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "..." not in done.stdout.partition("Commands:")[2]  # where click cuts off
    for parameter in commands.commands[command[0]].params if command else []:
        assert parameter.opts[0] in done.stdout or parameter.human_readable_name in done.stdout


def test_each_kind_of_network_has_a_line_of_its_own_in_the_help_of_convert(cli: Cli) -> None:
    lines = [line.split() for line in cli("convert", "--help").expect(0).stdout.splitlines()]
    first = [words[0] for words in lines if words]
    assert {"resnet50", "recipe.yaml", "hf:OWNER/NAME[@REVISION]", "DIRECTORY", "FILE.onnx"} <= set(first)


def test_the_console_script_and_the_module_are_the_same_program() -> None:
    script = Path(sys.executable).parent / "resnet-pipe"
    for command in ([script], [sys.executable, "-m", "resnet_pipe"]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == f"resnet-pipe, version {version('resnet-pipe')}\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("", "Usage: "),
        ("frobnicate", "No such command 'frobnicate'"),
        ("run", "Missing argument 'JOB'"),
        ("run job.yaml --frobnicate", "No such option '--frobnicate'"),
        ("run job.yaml --divide 0/3", "expected I/N with I from 1 to N"),
        ("run job.yaml --divide 4/3", "expected I/N with I from 1 to N"),
        ("run job.yaml --divide one", "expected I/N with I from 1 to N"),
        ("run job.yaml --set batch_size", "--set batch_size: expected key.key=value"),
        (
            "run job.yaml --set infer.batchsize=3",
            "--set infer.batchsize: unknown key 'infer.batchsize'; did you",
        ),
        (
            "run job.yaml --set writer.k=11",
            "--set writer.k: writer.k: the network has only 10 classes; write k: 10",
        ),
        (
            "run job.yaml --set preprocess.crop=64",
            "--set preprocess.crop: preprocess.crop: 64 is larger than",
        ),
        ("run job.yaml --fresh --divide 1/2", "--fresh needs exclusive use of the output directory"),
        ("run nowhere.yaml", "nowhere.yaml: no such file"),
        ("run images", "images: cannot be read: Is a directory"),
        ("tune", "Missing argument 'JOB'"),
        ("tune job.yaml --seconds 0", "0.0 is not in the range x>=1"),
        ("tune job.yaml --allow speed", "'speed' is not one of 'engine', 'precision'"),
        ("tune nowhere.yaml", "nowhere.yaml: no such file"),
        ("diff out", "Missing argument 'OUT_B'"),
        ("convert resnet19", "give one of resnet18, resnet34, resnet50, resnet101, resnet152"),
        ("convert nowhere.yaml", "nowhere.yaml: no such file"),
        ("convert resnet18 --out job.yaml", "Directory 'job.yaml' is a file"),
        ("models resnet18", "No such command 'resnet18'"),
        ("models show", "Missing argument 'NAME'"),
        ("models show resnet18 resnet34", "unexpected extra argument"),
    ],
)
def test_a_wrong_command_ends_with_code_2_and_a_message(
    cli: Cli, job: JobFolder, monkeypatch: pytest.MonkeyPatch, command: str, said: str
) -> None:
    monkeypatch.chdir(job.folder)
    job.write(fields="[top_k]")
    result = cli(*command.split()).expect(ExitCode.USAGE)
    assert said in result.stderr
    assert result.stdout == ""
    assert not list(job.out.glob("part-*"))


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("resnet34", "; make it with: resnet-pipe convert resnet34"),
        ("resnet34-int8", "; make it with: resnet-pipe convert resnet34 --quantize --calibration IMAGES"),
        ("resnet35-int8", "; `resnet-pipe models` lists those that are there"),
        ("microsoft--resnet-50", "; `resnet-pipe models` lists those that are there"),
    ],
)
def test_a_model_that_is_not_converted_yet_is_an_error_with_the_command_that_converts_it(
    cli: Cli, job: JobFolder, models: Path, name: str, command: str
) -> None:
    said = cli("run", job.file, "--set", f"infer.model={name}").expect(ExitCode.USAGE).stderr
    assert said == f"error: --set infer.model: infer.model: no such model: {models}/{name}.onnx{command}\n"


@pytest.mark.parametrize("name", ["hf:microsoft/resnet-50", "timm:resnet50.a1_in1k"])
def test_a_network_of_a_hub_that_is_not_converted_yet_is_such_an_error_too(
    cli: Cli, job: JobFolder, models: Path, name: str
) -> None:
    said = cli("run", job.file, "--set", f"infer.model={name}").expect(ExitCode.USAGE).stderr
    assert f"infer.model: no such model: {models}/" in said
    assert said.endswith(f".onnx; make it with: resnet-pipe convert {name}\n")


@pytest.mark.parametrize("name", ["images", "./images", "images/"])
def test_a_directory_is_no_model_and_the_error_says_how_to_make_one_of_it(
    cli: Cli, job: JobFolder, models: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(job.folder)
    said = cli("run", job.file, "--set", f"infer.model={name}").expect(ExitCode.USAGE).stderr
    assert f"{job.images} is a directory, not an .onnx file; convert it first" in said
    assert said.endswith(f"resnet-pipe convert {job.images}\n")


def test_schema_prints_the_schema_of_jobs(cli: Cli) -> None:
    assert json.loads(cli("schema").expect(0).stdout) == json_schema()


@pytest.mark.parametrize(("bad", "code"), [([], ExitCode.DONE), (["0009.jpg"], ExitCode.SOME_FAILED)])
def test_json_prints_run_json_and_nothing_else(job: JobFolder, bad: list[str], code: ExitCode) -> None:
    job.add_bad(*bad)
    printed = json.loads(job.run("--json").expect(code).stdout)
    assert printed == job.summary()
    assert printed["exit_code"] == code


def test_quiet_prints_nothing_when_all_is_well(job: JobFolder) -> None:
    result = job.run("--quiet").expect(0)
    assert (result.stdout, result.stderr) == ("", "")
    assert len(job.rows()) == 5
    assert job.run("--quiet").expect(0).stdout == ""


def test_a_dry_run_prints_what_a_run_would_do_and_changes_nothing(cli: Cli, job: JobFolder) -> None:
    plan = cli("run", job.file, "--dry-run").expect(0).stdout.splitlines()
    assert [line.split(maxsplit=1)[0] for line in plan] == [
        *("sources", "chunks", "model", "outputs", "engine", "output")
    ]
    assert plan[0].endswith("5 to process, 0 already done, 0 disappeared")
    assert plan[1].endswith(" 3")
    assert f"{job.folder}/tiny.onnx; weights unknown: the model has no sidecar" in plan[2]
    assert plan[3] == "outputs  logits (N, 10): logits; features (N, 3): features"
    assert "opencv, device cpu, fp32" in plan[4]
    assert plan[5].endswith(str(job.out))
    assert not job.out.exists()


def test_a_dry_run_counts_what_is_done_changed_gone_and_lost(cli: Cli, job: JobFolder) -> None:
    job.run().expect(0)
    before = sorted(job.out.rglob("*"))
    job.change("0001.jpg")
    (job.images / "0002.jpg").unlink()
    job.add("new.jpg")

    def sources(*arguments: str) -> str:
        line: str = cli("run", job.file, "--dry-run", *arguments).expect(0).stdout.splitlines()[0]
        return line.removeprefix("sources  ")

    assert sources() == "2 to process, 3 already done, 1 disappeared"
    assert sources("--fresh", "--set", "writer.fields=[logits]") == (
        "5 to process, 0 already done, 1 disappeared"
    )
    assert sorted(job.out.rglob("*")) == before
    (job.out / "part-000002.parquet").unlink()
    assert sources() == "3 to process, 2 already done, 1 disappeared"
