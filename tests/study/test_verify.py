"""`resnet-pipe verify`: every engine is compared with float32, and what goes wrong with one stays its own."""

from __future__ import annotations

import hashlib
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from resnet_pipe.errors import ExitCode
from resnet_pipe.infer import probe
from resnet_pipe.infer.engine import ENGINES
from resnet_pipe.study import verifier
from tests.networks import write_int8, write_residual, write_tiny
from tests.run.commands import Result
from tests.run.faults import DECODER
from tests.run.jobs import Cli, JobFolder, numbered
from tests.study.engines import Install


def verify(cli: Cli, job: JobFolder, *arguments: object) -> Result:
    return cli("verify", job.folder / "tiny.onnx", "--images", job.images, *arguments)


def by_engine(result: Result) -> dict[str, dict[str, Any]]:
    """Return what --json printed about each engine."""
    return {row["engine"]: row for row in json.loads(result.stdout)["engines"]}


def statuses(result: Result) -> list[tuple[str, str, str]]:
    printed = json.loads(result.stdout)["engines"]
    return [(row["engine"], row["precision"], row["status"]) for row in printed]


def test_each_engine_passes_fails_or_crashes_on_its_own(cli: Cli, job: JobFolder, install: Install) -> None:
    install(opencv="slow", openvino="wrong", onnxruntime="crashing", torch="honest", mlx="missing")
    result = verify(cli, job, "--json").expect(ExitCode.FAILED)
    assert statuses(result) == [
        ("opencv", "fp32", "pass"),
        ("openvino", "fp32", "fail"),
        ("onnxruntime", "fp32", "crashed"),
        ("torch", "fp32", "pass"),
        ("mlx", None, "not installed"),
    ]
    printed, rows = json.loads(result.stdout), by_engine(result)
    assert printed["exit_code"] == ExitCode.FAILED
    assert printed["images"] == {"used": 5, "found": 5, "failures": []}
    assert (printed["reference"]["precision"], printed["compared"]) == ("fp32", "features")
    for row in (rows["opencv"], rows["torch"]):
        assert row["cosine_min"] > 1 - 1e-9
        assert row["max_relative_error"] < 1e-6
        assert (row["top1"], row["top5"]) == (1.0, 1.0)
        assert row["version"][0].isdecimal()
    assert rows["torch"]["items_per_second"] > rows["opencv"]["items_per_second"] > 0
    assert rows["openvino"]["cosine_min"] < rows["openvino"]["cosine_mean"] < 0.99999
    assert rows["onnxruntime"]["reason"] == "its process was killed by SIGSEGV"
    assert rows["mlx"]["remedy"] == "pip install 'resnet-pipe[frobnicate]'"


def test_the_table_says_the_same_and_what_decides(cli: Cli, job: JobFolder, install: Install) -> None:
    install(openvino="wrong", torch="honest", mlx="missing")
    result = verify(cli, job).expect(ExitCode.FAILED)
    lines = result.stdout.splitlines()
    assert lines[0].startswith("tiny, 5 images, compared with opencv ")  # in the place of torch
    rows = {line.split()[0]: line for line in lines[2:] if line}
    assert rows["engine"].split()[:3] == ["engine", "precision", "device"]
    assert rows["torch"].split()[1:4] == ["fp32", "cpu", "1.0000000"]
    assert rows["torch"].endswith("  pass")
    assert rows["openvino"].endswith("  FAIL")
    assert rows["mlx"].endswith("not installed: engine frobnicate needs frobnicate, which is not installed.")
    assert (
        "smallest of all images must reach fp32 0.99999, fp16 0.999, bf16 0.999, int8 0.99" in result.stdout
    )


def test_the_table_names_the_output_and_the_figure_that_is_wrong(
    cli: Cli, job: JobFolder, install: Install
) -> None:
    install(torch="honest", openvino="reversing")
    result = verify(cli, job).expect(ExitCode.FAILED)
    assert (
        "FAIL openvino fp32: the largest difference of the output `logits` from the reference is"
        in result.stdout
    )
    row = by_engine(verify(cli, job, "--json").expect(ExitCode.FAILED))["openvino"]
    assert (row["status"], "output `logits`" in row["reason"]) == ("fail", True)
    assert row["cosine_min"] > 0.99999


def test_each_precision_has_its_own_threshold(cli: Cli, job: JobFolder, install: Install) -> None:
    install(torch="honest", openvino="coarse")
    result = verify(cli, job, "--json", "--engine", "openvino").expect(ExitCode.FAILED)
    assert statuses(result) == [("openvino", "bf16", "pass"), ("openvino", "fp32", "fail")]


def test_an_engine_that_hangs_is_ended(
    install: Install, job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resnet_pipe.study.subject import of_model

    install(mlx="hanging")
    with probe.Probe(ENGINES["mlx"]) as hanging:
        request = of_model(job.folder / "tiny.onnx").request(hanging.abilities("cpu"), "cpu", "fp32")
        monkeypatch.setattr(probe, "LIMIT_S", 0.1)
        with pytest.raises(probe.RefusedError) as caught:
            hanging.result(probe.Work(request))
    assert caught.value.refusal.status == "crashed"
    assert "no response for 0.1 s" in caught.value.refusal.reason


def test_an_engine_that_is_missing_or_unable_is_an_error_only_if_asked_for(
    cli: Cli, job: JobFolder, install: Install
) -> None:
    install(torch="honest", openvino="unable", mlx="missing")
    result = verify(cli, job, "--json").expect(0)
    assert [status for _, _, status in statuses(result)] == ["cannot run", "pass", "not installed"]
    asked = verify(cli, job, "--engine", "openvino", "--engine", "mlx").expect(ExitCode.USAGE)
    assert "openvino fp32 cannot run" in asked.stderr
    assert "no operator Frobnicate\n  what to do: use another network" in asked.stderr
    assert "mlx not installed" in asked.stderr
    assert "pip install 'resnet-pipe[frobnicate]'" in asked.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--precision", "int8"], "torch int8 cannot run: int8 is not supported here; supported: fp32"),
        (
            ["--engine", "torch", "--precision", "bf16", "--precision", "fp32"],
            "torch bf16 cannot run: bf16 is not supported here",
        ),
        (["--device", "cuda:1"], "torch cannot run: it does not support device cuda:1"),
        (["--device", "cuda:all"], "engines are compared on one device, such as cuda:0"),
        (["--engine", "cv2"], "unknown engine 'cv2'; available: torch"),
        (["--count", "0"], "--count"),
    ],
)
def test_what_nobody_has_ends_with_code_2_and_a_reason(
    cli: Cli, job: JobFolder, install: Install, arguments: list[str], said: str
) -> None:
    install(torch="honest")
    assert said in verify(cli, job, *arguments).expect(ExitCode.USAGE).stderr


def test_without_torch_onnx_runtime_gives_the_reference(cli: Cli, job: JobFolder, install: Install) -> None:
    install(openvino="wrong", torch="missing", onnxruntime="honest")
    result = verify(cli, job, "--json", "--engine", "openvino").expect(ExitCode.FAILED)
    assert statuses(result) == [("openvino", "fp32", "fail")]


@pytest.mark.parametrize(
    ("engines", "said"),
    [
        (
            {"torch": "missing", "onnxruntime": "missing"},
            "pip install 'resnet-pipe[torch]' or pip install 'resnet-pipe[onnxruntime]'",
        ),
        ({"torch": "unable", "onnxruntime": "crashing"}, "onnxruntime: its process was killed by SIGSEGV"),
    ],
)
def test_without_a_reference_nothing_is_compared(
    cli: Cli, job: JobFolder, install: Install, engines: dict[str, str], said: str
) -> None:
    install(opencv="honest", **engines)
    assert said in verify(cli, job).expect(ExitCode.USAGE).stderr


def test_a_job_in_place_of_a_model_gives_its_preprocessing_and_its_images(
    cli: Cli, job: JobFolder, install: Install
) -> None:
    install(torch="honest")
    (job.folder / "tiny.json").unlink()
    assert "has no sidecar" in verify(cli, job).expect(ExitCode.USAGE).stderr
    fewer = json.loads(cli("verify", job.file, "--json", "--count", "2").expect(0).stdout)
    assert fewer["images"] == {"used": 2, "found": 5, "failures": []}


def test_a_network_without_features_is_compared_by_its_logits(
    cli: Cli, tmp_path: Path, job: JobFolder, install: Install
) -> None:
    install(torch="honest")
    (job.folder / "tiny.json").unlink()
    (job.folder / "tiny.onnx").unlink()
    write_tiny(job.folder / "tiny.onnx", features=False)
    assert json.loads(cli("verify", job.file, "--json").expect(0).stdout)["compared"] == "logits"


def test_a_directory_of_hostile_files_costs_these_files(
    cli: Cli, job: JobFolder, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(torch="honest")
    faults = job.folder / "faults"
    faults.mkdir()
    (faults / "sitecustomize.py").write_text(DECODER)
    monkeypatch.setenv("PYTHONPATH", f"{faults}{os.pathsep}{os.environ['PYTHONPATH']}")
    job.add("evil\x1b[2J.jpg", "more/[x]*.jpg", os.fsdecode(b"latin-\xe9.jpg"))
    job.add("0000-crash.jpg", comment="segfault")
    job.add_bad("0001-bad\x1b[2J.jpg")
    (job.images / "0002-loop.jpg").symlink_to("0002-loop.jpg")
    result = cli("verify", job.folder / "tiny.onnx", "--images", job.images, "--json").expect(0)
    images = json.loads(result.stdout)["images"]
    assert (images["used"], images["found"]) == (8, 11)
    assert {failure["key"]: failure["error"] for failure in images["failures"]} == {
        "0000-crash.jpg": "worker_died",
        "0001-bad\x1b[2J.jpg": "unknown_format",
        "0002-loop.jpg": "not_a_file",
    }
    for path in job.images.glob("*.jpg"):
        if "bad" not in path.name:
            path.unlink()
    (job.images / "more" / "[x]*.jpg").unlink()
    result = verify(cli, job).expect(ExitCode.USAGE)
    assert "none of the 1 files tried" in result.stderr
    assert "0001-bad\\x1b[2J.jpg: " in result.stderr
    assert "\x1b" not in result.stderr


def test_a_directory_whose_name_is_a_pattern_is_that_directory(
    cli: Cli, job: JobFolder, install: Install
) -> None:
    install(torch="honest")
    job.images.rename(job.folder / "[ab]*")
    result = cli("verify", job.folder / "tiny.onnx", "--images", job.folder / "[ab]*", "--json")
    assert json.loads(result.expect(0).stdout)["images"]["used"] == 5


def test_a_network_with_a_fixed_batch_size_is_compared_with_its_own_reference(
    cli: Cli, job: JobFolder, install: Install
) -> None:
    install(torch="honest")
    network = write_tiny(job.folder / "tiny.onnx", batch=2)
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    sidecar = json.loads((job.folder / "tiny.json").read_text())
    (job.folder / "tiny.json").write_text(json.dumps({**sidecar, "onnx_sha256": digest}))
    assert statuses(verify(cli, job, "--json").expect(0)) == [("torch", "fp32", "pass")]


def test_the_images_are_spread_among_all_and_those_after_a_bad_one_as_well(
    cli: Cli, job: JobFolder, install: Install
) -> None:
    install(torch="honest")
    for path in job.images.iterdir():
        path.unlink()
    names = numbered(64)
    job.add_bad(*names[:32])
    job.add(*names[32:])
    images = json.loads(verify(cli, job, "--count", "2", "--json").expect(0).stdout)["images"]
    assert (images["used"], images["found"]) == (2, 64)
    assert [failure["key"] for failure in images["failures"]] == [names[0], names[8]]


def test_without_images_there_is_an_error_that_says_so(cli: Cli, job: JobFolder, install: Install) -> None:
    install(torch="honest")
    (job.folder / "empty").mkdir()
    model = job.folder / "tiny.onnx"
    for arguments, said in {
        (): "give --images DIR",
        ("--images", job.folder / "empty"): "no images found in",
        ("--images", job.folder / "nowhere"): "does not exist",
        ("--images", model): "is a file",
    }.items():
        assert said in cli("verify", model, *arguments).expect(ExitCode.USAGE).stderr


def test_an_int8_model_is_compared_with_the_model_it_was_made_from_or_else_with_itself(
    cli: Cli, job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(verifier, "SECONDS", 0.1)
    (job.folder / "tiny.onnx").unlink()
    source = write_residual(job.folder / "tiny.onnx")
    model = write_int8(source, job.folder / "tiny-int8.onnx")
    sidecar = json.loads((job.folder / "tiny.json").read_text())
    figures = {"cosine_min": 1, "cosine_mean": 1, "max_relative_error": 0, "top1": 1, "top5": 1}
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    sidecar["quantization"] = {
        "source_sha256": digest,
        "method": "x",
        "calibrated": 4,
        "held_out": 0,
        "skipped": 0,
        **figures,
    }
    (job.folder / "tiny.json").write_text(
        json.dumps({**sidecar, "onnx_sha256": digest, "quantization": None})
    )
    sidecar["onnx_sha256"] = hashlib.sha256(model.read_bytes()).hexdigest()
    model.with_suffix(".json").write_text(json.dumps(sidecar))

    def reference_and_cosine() -> tuple[str, float]:
        result = cli("verify", model, "--images", job.images, "--engine", "onnxruntime", "--json").expect(0)
        assert statuses(result) == [("onnxruntime", "int8", "pass")]
        return json.loads(result.stdout)["reference"]["what"], by_engine(result)["onnxruntime"]["cosine_min"]

    what, with_source = reference_and_cosine()
    assert what == "tiny, which it was made from"
    source.unlink()
    what, with_itself = reference_and_cosine()
    assert what == "the int8 model itself, computed without int8"
    assert with_source < with_itself <= 1


def test_every_engine_that_is_installed_agrees_with_float32(
    cli: Cli, job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    references = ("torch", "onnxruntime")
    if not all(map(find_spec, (*references, *map(ENGINES.__getitem__, references)))):
        pytest.skip("needs torch and ONNX Runtime")
    monkeypatch.setattr(verifier, "SECONDS", 0.1)
    (job.folder / "tiny.json").unlink()
    (job.folder / "tiny.onnx").unlink()
    write_residual(job.folder / "tiny.onnx")
    printed = json.loads(cli("verify", job.file, "--device", "cpu", "--json").expect(0).stdout)
    assert {row["status"] for row in printed["engines"]} <= {"pass", "not installed"}
    assert {row["engine"] for row in printed["engines"]} == set(ENGINES)
