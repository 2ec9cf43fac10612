"""The command `models`: the table of all of them, and one in full."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from onnx import helper

from resnet_pipe.errors import ExitCode
from resnet_pipe.job.syntax import parse
from resnet_pipe.model.model import read_sidecar
from resnet_pipe.preprocess.preprocessing import Preprocessing
from resnet_pipe.store.digest import file_sha256
from tests.networks import write, write_tiny, write_yolo
from tests.odd_networks import write_with_others
from tests.run.jobs import SIDECAR, Cli, JobFolder
from tests.sidecars import write_yolo_sidecar

LONG = "vit-or-resnet-with-a-name-that-somebody-made-longer-than-any-terminal.a1_in1k"
IMAGENET = {"kind": "imagenet", "name": "IMAGENET1K_V2", "requested": "imagenet"}
RESNET50 = {
    "source": "torchvision",
    "architecture": "resnet50",
    "depth": 50,
    "weights": IMAGENET,
    "params": 25_557_032,
    "macs": 4_089_184_256,
}
OF_A_HUB = {
    **RESNET50,
    "source": "transformers",
    "weights": {"kind": "checkpoint", "name": "model.safetensors", "sha256": "a" * 64, "requested": "hf:x"},
    "revision": "34c2154c194f829b11125337b98c8f5f9965ff19",
    "licence": "apache-2.0",
    "files": {"config.json": "b" * 64},
    "assumed": ["that classes have no names"],
    "compared_with": "torch 2.9.0",
    "max_relative_difference": 2.5e-6,
    "proved": {"opencv": 1.5e-6, "openvino": 2.5e-6},
    "versions": {"torch": "2.9.0", "onnx": "1.19.1"},
}
INT8 = {
    "source_sha256": "c" * 64,
    "method": "static",
    "calibrated": 200,
    "held_out": 50,
    "skipped": 1,
    "weight_bits": 7,
    "cosine_min": 0.99412,
    "cosine_mean": 0.998,
    "max_relative_error": 0.05,
    "top1": 0.98,
    "top5": 0.97,
}
DETECTION = {"kind": "yolo", "score": 0.25, "nms": 0.7, "max_detections": 300}
HUB = "microsoft--resnet-50"


def add(models: Path, name: str, **about: Any) -> Path:  # noqa: ANN401 - keys of a sidecar
    """Add a small network with a sidecar, which holds what those of earlier versions did unless told."""
    path = write_tiny(models / "new.onnx").rename(models / f"{name}.onnx")
    sidecar = {**SIDECAR, "onnx_sha256": file_sha256(path), **about}
    path.with_suffix(".json").write_text(json.dumps(sidecar))
    return path


@pytest.fixture
def several(models: Path) -> Path:
    """A directory with models of all kinds."""
    add(models, "resnet50", **RESNET50)
    os.truncate(models / "resnet50.onnx", 102_140_000)
    add(models, "resnet50-int8", **RESNET50, quantization=INT8)
    add(models, HUB, **OF_A_HUB)
    add(models, LONG, source="timm")
    add(models, "old")
    write_tiny(models / "people.onnx")
    write_tiny(models / "resnet34.onnx")
    (models / "resnet34.json").write_text("{}")
    return models


FINDERS = [
    "to find objects, resnet-pipe convert one of these:",
    "    fasterrcnn_resnet18_fpn, fasterrcnn_resnet34_fpn, fasterrcnn_resnet50_fpn,",
    "    fasterrcnn_resnet101_fpn, fasterrcnn_resnet152_fpn,",
    "    fasterrcnn_resnet50_fpn_v2, retinanet_resnet50_fpn,",
    "    retinanet_resnet50_fpn_v2, fcos_resnet50_fpn",
]
"""What is said below the table, as long as none of these is converted."""


def lines(cli: Cli) -> list[str]:
    """Return the table."""
    said = cli("models").expect(0).stdout.splitlines()
    return said[: said.index(FINDERS[0])]


def test_models_lists_below_the_table_what_finds_objects_and_is_not_converted(cli: Cli, models: Path) -> None:
    assert cli("models").expect(0).stdout.splitlines()[-len(FINDERS) :] == FINDERS
    add(models, "fasterrcnn_resnet18_fpn")
    said = cli("models").expect(0).stdout.splitlines()
    assert "fasterrcnn_resnet18_fpn" not in " ".join(said[said.index(FINDERS[0]) :])


def test_models_lists_five_depths_with_their_costs_and_how_to_convert_them(cli: Cli, models: Path) -> None:
    assert lines(cli) == [
        "model      source params GMACs  MB  logits features  weights",
        "resnet18   -       11.7M  1.81  47  resnet-pipe convert resnet18",
        "resnet34   -       21.8M  3.66  87  resnet-pipe convert resnet34",
        "resnet50   -       25.6M  4.09 102  resnet-pipe convert resnet50",
        "resnet101  -       44.5M  7.80 178  resnet-pipe convert resnet101",
        "resnet152  -       60.2M 11.51 241  resnet-pipe convert resnet152",
    ]


def test_models_lists_all_models_in_80_columns(cli: Cli, several: Path) -> None:
    listed = lines(cli)
    assert [line for line in listed if not line.startswith("    ")] == [
        "model               source       params GMACs  MB  logits features  weights",
        "resnet18            -             11.7M  1.81  47  resnet-pipe convert resnet18",
        "resnet34            -                 -     - 0.0  without a usable sidecar",
        "resnet50            torchvision   25.6M  4.09 102      10        3  imagenet",
        "resnet50-int8       torchvision   25.6M  4.09 0.0      10        3  int8 0.9941",
        "resnet101           -             44.5M  7.80 178  resnet-pipe convert resnet101",
        "resnet152           -             60.2M 11.51 241  resnet-pipe convert resnet152",
        "microsof...snet-50  transformers  25.6M  4.09 0.0      10        3  checkpoint",
        "old                 someone else   0.0M  0.00 0.0      10        3  checkpoint",
        "people              -                 -     - 0.0  without a sidecar",
        "vit-or-r...a1_in1k  timm           0.0M  0.00 0.0      10        3  checkpoint",
    ]
    assert max(map(len, listed)) == 80


def test_models_says_what_is_wrong_with_a_model_below_its_row(cli: Cli, models: Path) -> None:
    write_tiny(models / "people.onnx")
    (models / "torn.onnx").write_bytes(b"")
    (models / "torn.json").symlink_to("nowhere")
    (models / "empty.onnx").write_bytes(b"")
    (models / "resnet34.onnx").touch()
    (models / "resnet34.json").write_text("{}")
    said = " ".join(" ".join(lines(cli)).split())
    assert "people - - - 0.0 without a sidecar logits (N, 10): logits; features (N, 3): features" in said
    said = said.replace(" ", "")  # a long path is cut anywhere
    assert f"withoutausablesidecar{models}/torn.json:cannotberead:Nosuchfileordirectory" in said
    assert f"withoutausablesidecar{models}/empty.onnxisempty" in said
    assert f"{models}/resnet34.json:notavalidsidecar:name:Fieldrequired" in said


@pytest.mark.parametrize(
    "command", [("models",), ("models", "show", "torn"), ("models", "show", "torn", "--json")]
)
def test_a_sidecar_that_is_a_link_to_nowhere_is_not_no_sidecar(
    cli: Cli, models: Path, command: tuple[str, ...]
) -> None:
    write_tiny(models / "torn.onnx")
    (models / "torn.json").symlink_to("nowhere")
    result = cli(*command)
    said = "".join((result.stdout + result.stderr).split())
    assert f"{models}/torn.json:cannotberead:Nosuchfileordirectory" in said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("params", -1),
        ("macs", -5),
        ("file_bytes", -1),
        ("features", -3),
        ("max_relative_difference", float("nan")),
        ("max_relative_difference", float("inf")),
        ("proved", {"opencv": float("nan")}),
        ("quantization", {**INT8, "cosine_min": float("nan")}),
        ("quantization", {**INT8, "calibrated": -1}),
        ("params", "25557032"),
        ("proved", {"opencv": "0.5"}),
        ("quantization", {**INT8, "cosine_min": "0.99"}),
        ("preprocessing", {**SIDECAR["preprocessing"], "mean": ["0.5", 0.5, 0.5]}),
        ("preprocessing", {**SIDECAR["preprocessing"], "rescale": True}),
        ("detection", {**DETECTION, "nms": "0.5"}),
        ("detection", {**DETECTION, "max_detections": "100"}),
    ],
)
def test_numbers_that_no_conversion_writes_are_refused_by_name(
    cli: Cli, models: Path, key: str, value: object
) -> None:
    add(models, "odd", **{key: value})
    result = cli("models", "show", "odd", "--json").expect(ExitCode.USAGE)
    assert f"odd.json: not a valid sidecar: {key}" in result.stderr
    assert "NaN" not in cli("models", "--json").expect(0).stdout


@pytest.mark.parametrize("command", [("models",), ("models", "show", "piped")])
def test_nobody_waits_for_a_pipe_in_the_place_of_a_sidecar(
    cli: Cli, models: Path, command: tuple[str, ...]
) -> None:
    write_tiny(models / "piped.onnx")
    os.mkfifo(models / "piped.json")
    result = cli(*command)
    said = "".join((result.stdout + result.stderr).split())
    assert f"{models}/piped.jsonisnotafile" in said


def test_what_is_wrong_with_a_whole_sidecar_has_no_place(cli: Cli, models: Path) -> None:
    write_tiny(models / "torn.onnx")
    (models / "torn.json").write_text('{"name": ')
    said = cli("models", "show", "torn").expect(ExitCode.USAGE).stderr
    assert "torn.json: not a valid sidecar: Invalid JSON: " in said


def test_on_a_wide_terminal_names_are_in_full_and_a_pipe_has_80_columns_anyway(
    cli: Cli, several: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    piped = lines(cli)
    monkeypatch.setenv("COLUMNS", "200")
    assert lines(cli) == piped
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    wide = lines(cli)
    assert any(line.startswith(f"{LONG}  timm ") for line in wide)
    assert len({line.index("timm") for line in wide if "timm" in line} | {wide[0].index("source")}) == 1
    monkeypatch.setenv("COLUMNS", "40")
    assert lines(cli) == piped


@pytest.mark.parametrize(
    "name",
    [
        "\x1b[2J\nname\tof\u202emodel",
        "\udcff" * 30,
        "\u6a21\u578b" * 30,
        "e\u0301" * 50,
        "\\" * 40,
        "a b" * 20,
    ],
    ids=ascii,
)
def test_whatever_a_model_is_called_it_has_one_row_of_80_columns(cli: Cli, models: Path, name: str) -> None:
    whole = 10**400
    path = add(models, name, source="some\none\x1b[2J", params=whole, macs=whole, features=whole)
    listed = lines(cli)
    assert len(listed) == 7
    header, row = listed[0], listed[-1]
    wide = sum(unicodedata.east_asian_width(character) == "W" for character in row)
    narrow = sum(unicodedata.combining(character) > 0 for character in row)
    assert len(row) + wide - narrow <= 80
    assert len(row[: row.index("some")]) + wide - narrow == header.index("source")
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in row)
    described = json.loads(cli("models", "show", path, "--json").expect(0).stdout)
    assert described["sidecar"]["params"] == whole
    assert len(cli("models", "show", path).expect(0).stdout.splitlines()) > 10


def test_models_prints_all_of_it_as_json(cli: Cli, several: Path) -> None:
    listed = {entry["name"]: entry for entry in json.loads(cli("models", "--json").expect(0).stdout)}
    assert list(listed) == [
        *("resnet18", "resnet34", "resnet50", "resnet50-int8", "resnet101", "resnet152"),
        *(HUB, "old", "people", LONG),
        *("".join(FINDERS[1:]).replace(",", "").split()),
    ]
    keys = {tuple(entry) for entry in listed.values()}
    assert len(keys) == 1
    assert listed["resnet18"] == {
        "name": "resnet18",
        "path": None,
        "source": None,
        "architecture": None,
        "params": 11_689_512,
        "macs": 1_814_073_344,
        "file_bytes": 46_758_048,
        "outputs": {},
        "held": None,
        "detection": None,
        "weights": None,
        "weights_name": None,
        "int8_cosine_min": None,
        "converted": False,
        "command": "resnet-pipe convert resnet18",
        "problem": None,
    }
    assert (
        listed["resnet34"]["problem"] == f"{several}/resnet34.json: not a valid sidecar: name: Field required"
    )
    int8 = listed["resnet50-int8"]
    assert (int8["source"], int8["weights"], int8["int8_cosine_min"]) == ("torchvision", "imagenet", 0.99412)
    assert (int8["outputs"], int8["converted"]) == ({"logits": 10, "features": 3}, True)
    assert listed["people"]["outputs"] == {"logits": 10, "features": 3}
    assert listed["people"]["path"] == f"{several}/people.onnx"


def shown(cli: Cli, name: object) -> dict[str, list[str]]:
    """Return what is said about a model, by what it is about."""
    said: dict[str, list[str]] = {}
    for line in cli("models", "show", name).expect(0).stdout.splitlines():
        label, _, text = line.partition(":")
        said.setdefault(label, []).append(text.strip())
    return said


def test_a_model_in_full(cli: Cli, models: Path) -> None:
    path = add(models, HUB, **OF_A_HUB)
    assert shown(cli, "hf:microsoft/resnet-50") == {
        "model": [HUB],
        "file": [str(path)],
        "SHA-256": [file_sha256(path)],
        "costs": ["25.6 M parameters, 4.09 GMACs an image, 0.0 MB"],
        "input": ["input float32 (N, 3, 32, 32)"],
        "output": ["logits (N, 10): logits", "features (N, 3): features"],
        "preprocess": [
            "{resize: 36, crop: 32, interpolation: bilinear, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5],"
            " color: rgb}"
        ],
        "classes": ["10: label 0, label 1, label 2, label 3, label 4 ... label 9"],
        "source": ["transformers, architecture resnet50, revision 34c2154c194f829b11125337b98c8f5f9965ff19"],
        "licence": ["apache-2.0"],
        "weights": ["checkpoint weights (model.safetensors)"],
        "of SHA-256": ["a" * 64],
        "read": [f"config.json, SHA-256 {'b' * 64}"],
        "assumed": ["that classes have no names"],
        "compared": ["with torch 2.9.0: largest relative difference 2.5e-06"],
        "proved": ["opencv 1.5e-06, openvino 2.5e-06"],
        "made with": ["torch 2.9.0, onnx 1.19.1"],
    }


def test_an_int8_model_says_how_close_it_is_to_float32(cli: Cli, models: Path) -> None:
    add(models, "resnet50-int8", **RESNET50, quantization=INT8)
    said = shown(cli, "resnet50-int8")
    assert said["int8"] == ["7-bit weights; static; calibrated with 200 images"]
    assert said["agreement"] == [
        "with float32, on 50 other images (1 could not be read): cosine similarity 0.99412 or better,"
        " 0.99800 on average; largest relative error 0.050; top-1 98.0%, top-5 97.0%"
    ]
    assert said["made from"] == [f"the float32 model of SHA-256 {'c' * 64}"]
    assert said["compared"] == ["with torch, of the float32 model: largest relative difference 0.0e+00"]


def test_a_sidecar_of_an_earlier_version_is_shown_without_what_it_does_not_say(
    cli: Cli, models: Path
) -> None:
    added = {"compared_with", "proved", "licence", "revision", "files", "assumed", "quantization"}
    assert not added & SIDECAR.keys()
    add(models, "old")
    assert lines(cli)[-1].split() == [
        "old",
        "someone",
        "else",
        "0.0M",
        "0.00",
        "0.0",
        "10",
        "3",
        "checkpoint",
    ]
    said = shown(cli, "old")
    assert said["licence"] == ["not said"]
    assert said["source"] == ["someone else, architecture tiny"]
    assert not {"proved", "read", "assumed", "int8", "made with"} & said.keys()


@pytest.mark.parametrize("arguments", ["show old --json", "--json show old"])
def test_as_json_there_is_the_sidecar_and_what_the_file_says(cli: Cli, models: Path, arguments: str) -> None:
    path = add(models, "old")
    assert json.loads(cli("models", *arguments.split()).expect(0).stdout) == {
        "name": "old",
        "path": str(path),
        "sha256": file_sha256(path),
        "file_bytes": path.stat().st_size,
        "data": [],
        "input": {"name": "input", "type": "float32", "shape": [None, 3, 32, 32]},
        "outputs": [
            {"name": "logits", "type": "float32", "shape": [None, 10], "held": "logits"},
            {"name": "features", "type": "float32", "shape": [None, 3], "held": "features"},
        ],
        "int8": False,
        "sidecar": read_sidecar(models / "old.json").model_dump(mode="json"),
    }


def test_the_preprocessing_can_be_pasted_into_a_job(cli: Cli, models: Path, job: JobFolder) -> None:
    wanted = {**SIDECAR["preprocessing"], "rescale": 1e-5, "rounding": "down", "color": "bgr"}
    add(models, "odd", preprocessing=wanted)
    printed = cli("models", "show", "odd").expect(0).stdout.splitlines()
    (line,) = (line for line in printed if line.startswith("preprocess:"))
    assert Preprocessing(**parse(line)["preprocess"]) == Preprocessing(**wanted)
    job.file.write_text(
        "\n".join([line, *(own for own in job.file.read_text().splitlines() if "resize" not in own)])
    )
    cli("run", job.file, "--dry-run").expect(0)


def test_without_a_sidecar_the_file_speaks_for_itself_and_a_command_adopts_it(
    cli: Cli, models: Path, tmp_path: Path
) -> None:
    path = write_tiny(tmp_path / "my people.onnx", crop=(128, 64), batch=1)
    said = shown(cli, path)
    assert said["input"] == ["input float32 (1, 3, 128, 64)"]
    assert said["output"] == ["logits (N, 10): logits", "features (N, 3): features"]
    assert "a job must set it" in said["preprocess"][0]
    values = "'{resize: ..., crop: [128, 64], mean: [...], std: [...]}'"
    assert said["adopt it"] == [f"resnet-pipe convert '{path}' --preprocess {values}"]
    write_tiny(models / "people.onnx")  # which is where the other one would go
    assert shown(cli, "people")["adopt it"][0].endswith("crop: 32, mean: [...], std: [...]}' --name NAME")


def test_outputs_that_no_job_uses_are_shown_too(cli: Cli, models: Path) -> None:
    write_with_others(models / "others.onnx")
    said = shown(cli, "others")["output"]
    assert "logits (N, 10): logits" in said
    assert any(text.endswith(": not used, unless a job names it") for text in said)


def test_if_it_is_not_clear_which_output_is_used_that_is_said(cli: Cli, models: Path) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["one"], axis=1),
        helper.make_node("Relu", ["one"], ["two"]),
    ]
    write(models / "unclear.onnx", nodes, {"one": 3, "two": 3}, {})
    said = shown(cli, "unclear")
    assert len(said["output"]) == 2
    (unclear,) = said["outputs"]
    assert "several outputs could hold values for classes: one (N, 3), two (N, 3); name the right" in unclear
    assert "several outputs could hold" in " ".join(lines(cli))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("resnet34", "resnet-pipe convert resnet34"),
        ("resnet34-int8", "resnet-pipe convert resnet34 --quantize --calibration IMAGES"),
        ("hf:microsoft/resnet-50", "resnet-pipe convert hf:microsoft/resnet-50"),
        ("hf:microsoft/resnet-50@main", "resnet-pipe convert hf:microsoft/resnet-50@main"),
        ("timm:resnet50.a1_in1k", "resnet-pipe convert timm:resnet50.a1_in1k"),
        ("nobody", "`resnet-pipe models` lists those that are there; or give the path of an .onnx file"),
        ("images", "convert it first, then give the model's name: resnet-pipe convert images"),
        ("./images", "convert it first, then give the model's name: resnet-pipe convert images"),
    ],
)
@pytest.mark.parametrize("command", [("models", "show"), ("verify",)], ids=" ".join)
def test_a_model_that_is_not_there_is_an_error_with_what_makes_it(
    cli: Cli,
    job: JobFolder,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    name: str,
    remedy: str,
) -> None:
    monkeypatch.chdir(job.folder)
    result = cli(*command, name, *(("--images", "images") if command == ("verify",) else ()))
    assert f"  what to do: {remedy}\n" in result.expect(ExitCode.USAGE).stderr


def test_a_sidecar_of_another_file_is_an_error(cli: Cli, models: Path) -> None:
    add(models, "old", onnx_sha256="0" * 64)
    assert "does not belong to" in cli("models", "show", "old").expect(ExitCode.USAGE).stderr


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("hf:microsoft/resnet-50", HUB),
        ("hf:microsoft/resnet-50@refs/pr/1", "microsoft--resnet-50@refs--pr--1"),
        ("timm:resnet50.a1_in1k", "timm--resnet50.a1_in1k"),
        (HUB, HUB),
    ],
)
def test_a_job_takes_the_name_of_what_was_converted_from_a_hub(
    cli: Cli, job: JobFolder, models: Path, name: str, stem: str
) -> None:
    path = add(models, stem)
    job.file.write_text(job.file.read_text().replace("model: tiny.onnx", f"model: {name}"))
    assert str(path) in cli("run", job.file, "--dry-run").expect(0).stdout


@pytest.fixture
def finder(models: Path) -> Path:
    """The file of a network that finds objects, with a sidecar that says so."""
    network = write_yolo(models / "finder.onnx")
    write_yolo_sidecar(network, max_detections=300)
    return network


KEPT = "yolo; score above 0.25, overlap (IoU) up to 0.7, at most 300 an item"


def test_models_says_of_a_network_that_finds_objects_what_it_finds(cli: Cli, finder: Path) -> None:
    listed = lines(cli)
    (at,) = (number for number, line in enumerate(listed) if line.startswith("finder"))
    assert listed[at].split()[1:] == ["someone", "else", "0.0M", "0.00", "0.0", "-", "-", "checkpoint"]
    below = " ".join(" ".join(listed[at + 1 :]).split())
    assert below == f"boxes of 5 classes: {KEPT}"
    entries = json.loads(cli("models", "--json").expect(0).stdout)
    (entry,) = [entry for entry in entries if entry["name"] == "finder"]
    assert (entry["outputs"], entry["held"]) == ({}, f"boxes of 5 classes: {KEPT}")
    assert entry["detection"] == {"kind": "yolo", "score": 0.25, "nms": 0.7, "max_detections": 300}


def test_show_says_how_boxes_are_made_and_of_which_classes(cli: Cli, finder: Path) -> None:
    said = cli("models", "show", "finder").expect(0).stdout
    told = dict(line.split(":", 1) for line in said.splitlines())
    assert told["output"].strip() == "output0 (N, 9, 84): boxes (yolo)"
    assert told["boxes"].strip() == KEPT
    assert told["classes"].strip() == "5: thing 0, thing 1, thing 2, thing 3, thing 4"
    assert "outputs" not in told
    shown = json.loads(cli("models", "show", "finder", "--json").expect(0).stdout)
    assert [output["held"] for output in shown["outputs"]] == ["boxes (yolo)"]
    assert shown["sidecar"]["detection"]["kind"] == "yolo"


def test_a_file_that_may_find_objects_is_said_to_and_how_to_tell(cli: Cli, finder: Path) -> None:
    finder.with_suffix(".json").unlink()
    said = cli("models", "show", finder).expect(0).stdout
    assert "perhaps boxes, as a YOLO gives them; converting it tells" in said
    assert f"resnet-pipe convert {finder} --name NAME" in said.replace("\n", "")
    assert "--preprocess" not in said
    listed = " ".join(" ".join(lines(cli)).split())
    assert "finder - - - 0.0 without a sidecar perhaps boxes, as a YOLO gives them" in listed
