"""A folder of photographs of every format becomes the rows that torch and torchvision give."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from onnx import helper
from PIL import Image, ImageOps

from resnet_pipe.cli import display
from resnet_pipe.convert.conversion import Conversion
from tests import networks
from tests.photographs import NAMES, encode, photograph
from tests.run.commands import Result
from tests.run.jobs import JobFolder, jpeg, numbered, records

DOCS = Path(__file__).parents[2] / "docs"


SIDEWAYS = Image.Exif()
SIDEWAYS[0x0112] = 6

FILES: dict[str, Callable[[Image.Image], bytes]] = {
    "cmyk.jpg": lambda image: encode(image.convert("CMYK"), "JPEG"),
    "grey.jpg": lambda image: encode(image.convert("L"), "JPEG"),
    "lossless.png": lambda image: encode(image, "PNG", compress_level=1),
    "more/baseline.JPEG": lambda image: encode(image, "JPEG", quality=80),
    "more/sideways.jpg": lambda image: encode(image, "JPEG", exif=SIDEWAYS),
    "more/ü ☃.webp": lambda image: encode(image, "WEBP", quality=90),
    "moving.gif": lambda image: encode(image, "GIF", save_all=True, append_images=[photograph()]),
    "new.avif": lambda image: encode(image, "AVIF", quality=90, speed=10),
    "palette.png": lambda image: encode(image.quantize(256), "PNG"),
    "progressive.jpg": lambda image: encode(image, "JPEG", quality=92, progressive=True),
    "scan.tiff": lambda image: encode(image, "TIFF", compression="tiff_lzw"),
    "tiny.png": lambda image: encode(image.resize((40, 57)), "PNG"),
    "transparent.png": lambda image: encode(see_through(image), "PNG", compress_level=1),
    "windows.bmp": lambda image: encode(image, "BMP"),
}
"""How a photograph is written under each name; sorted."""


def see_through(image: Image.Image) -> Image.Image:
    copy = image.copy()
    copy.putalpha(image.convert("L"))
    return copy


def part(number: int) -> Image.Image:
    """Return a part of a photograph; every number gives another one, of another size."""
    image = photograph(NAMES[number % len(NAMES)])
    return image.crop((9 * number, 5 * number, image.width - 13 * (number % 5), image.height - 4 * number))


@dataclass(frozen=True)
class RealRun:
    """A run of ResNet-18 over real files, one of which is broken."""

    job: JobFolder
    result: Result
    rows: dict[str, dict[str, Any]]
    summary: dict[str, Any]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, resnet18: Conversion, network: Path) -> RealRun:
    """ResNet-18 over files of every format, two workers, several chunks. Do not change it."""
    job = JobFolder(tmp_path_factory.mktemp("real"), network)
    for number, (name, write) in enumerate(FILES.items()):
        (job.images / name).parent.mkdir(exist_ok=True)
        (job.images / name).write_bytes(write(part(number)))
    (job.images / "broken.jpg").write_bytes(jpeg(1)[:-100])
    (job.images / ".hidden.jpg").write_bytes(jpeg(2))
    (job.images / "notes.txt").write_text("not an image, and not named like one")
    job.file.write_text(
        "name: real\n"
        "reader: {kind: images, path: images}\n"
        f"infer: {{model: {resnet18.path}, device: cpu, batch_size: 4}}\n"
        "writer: {kind: parquet, path: out, fields: [features, logits, top_k]}\n"
        "run: {workers: 2, chunk_items: 6}\n"
    )
    result = job.run().expect(3)
    return RealRun(job, result, {row["path"]: row for row in job.rows()}, job.summary())


@pytest.fixture(scope="module")
def reference(real: RealRun, resnet18: Conversion) -> dict[str, dict[str, NDArray[np.float32]]]:
    """What torch and torchvision give for the same files."""
    from torchvision import transforms

    from resnet_pipe.convert import recipe
    from resnet_pipe.convert.sources import torchvision

    original = torchvision.original(recipe.load(recipe.find("resnet18")), "random", print)
    pipeline = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    found = {}
    for name in FILES:
        with Image.open(real.job.images / name) as image:
            pixels = ImageOps.exif_transpose(image).convert("RGB")
        outputs = original.run(np.asarray(pipeline(pixels))[None])
        found[name] = {output: values[0] for output, values in outputs.items()}
    return found


def cosine(one: Any, other: Any) -> float:  # noqa: ANN401 - whatever holds numbers
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("name", FILES)
def test_a_row_is_what_torch_and_torchvision_give_for_the_file(
    real: RealRun, reference: dict[str, dict[str, NDArray[np.float32]]], name: str
) -> None:
    row, expected = real.rows[name], reference[name]
    assert cosine(row["features"], expected["features"]) >= 0.9999
    assert cosine(row["logits"], expected["logits"]) >= 0.9999
    assert np.argmax(row["logits"]) == np.argmax(expected["logits"]) == row["top_k"][0]["index"]
    others = [cosine(row["features"], other["features"]) for key, other in reference.items() if key != name]
    assert max(others) < 0.999, "another photograph would pass for this one"


def test_labels_and_scores_are_those_of_the_logits(real: RealRun, resnet18: Conversion) -> None:
    for row in real.rows.values():
        logits = np.array(row["logits"])
        assert [entry["index"] for entry in row["top_k"]] == np.argsort(-logits, kind="stable")[:5].tolist()
        for entry in row["top_k"]:
            assert entry["label"] == resnet18.sidecar.classes[entry["index"]]
            share = np.exp(logits[entry["index"]] - logits.max()) / np.exp(logits - logits.max()).sum()
            assert entry["score"] == pytest.approx(share, rel=1e-4)


def test_every_image_gives_one_row_in_order_and_the_broken_one_a_failure(real: RealRun) -> None:
    assert [row["path"] for row in real.job.rows()] == sorted(FILES)
    assert all(row["frame_index"] is None and row["pts_s"] is None for row in real.rows.values())
    assert list(real.job.failures()) == ["broken.jpg"]
    assert [len(record["sources"]) for record in records(real.job.out)] == [6, 6, 3]


OUTPUTS = {
    "logits": {"output": "logits", "width": 1000, "holds": "logits"},
    "features": {"output": "features", "width": 512},
    "activation": "softmax",
}


def test_every_shard_says_what_made_it_and_that_the_weights_are_random(
    real: RealRun, resnet18: Conversion
) -> None:
    for path in real.job.out.glob("part-*.parquet"):
        schema = pq.read_schema(path)
        ours = {
            key: text.decode() for key, text in schema.metadata.items() if key.startswith(b"resnet_pipe.")
        }
        preprocessing = json.loads(ours.pop(b"resnet_pipe.preprocessing"))
        assert preprocessing == {**resnet18.sidecar.preprocessing.told(), "mode": "exact"}
        assert ours.pop(b"resnet_pipe.weights").startswith("random weights (seed 0)")
        assert json.loads(ours.pop(b"resnet_pipe.outputs")) == OUTPUTS
        assert ours == {
            b"resnet_pipe.model": "resnet18",
            b"resnet_pipe.model_sha256": resnet18.sidecar.onnx_sha256,
            b"resnet_pipe.engine": "opencv",
            b"resnet_pipe.precision": "fp32",
        }
        assert schema.field("features").type.list_size == 512


def documented() -> dict[str, set[str]]:
    """Return the fields that docs/run-json.md names: the outermost under "", the others under theirs."""
    text = (DOCS / "run-json.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (`.*`) \| (.*) \|$", text, re.MULTILINE)

    def names(part: str) -> set[str]:
        return set(re.findall(r"`(\w+)`", part))

    fields = {"": {name for left, _ in lines for name in names(left)}}
    fields |= {"stage": names(text[text.index("Each stage has") :].partition("\n\n")[0])}
    for left, right in lines:
        if left in ("`sources`", "`video`", "`stages`", "`engine`", "`devices`", "`model`"):
            fields[left.strip("`")] = names(right)
    return fields


def assert_documented(summary: dict[str, Any]) -> None:
    fields = documented()
    assert summary.keys() == fields[""]
    for part in ("sources", "video", "stages", "engine", "model"):
        assert summary[part] is None or summary[part].keys() == fields[part]
    for stage in summary["stages"].values():
        assert stage.keys() == fields["stage"]
    assert bool(summary["devices"]) == bool(summary["items"])
    for device in summary["devices"]:
        assert device.keys() == fields["devices"]


def test_run_json_has_exactly_the_documented_fields(real: RealRun) -> None:
    assert_documented(real.summary)


def test_run_json_has_the_same_fields_when_there_was_nothing_to_do(job: JobFolder) -> None:
    job.add(*numbered(1))
    job.run().expect(0)
    job.run().expect(0)
    summary = job.summary()
    assert_documented(summary)
    assert (summary["engine"], summary["bottleneck"], summary["items"]) == (None, None, 0)
    assert summary["sources"] == {"planned": 0, "skipped": 1, "done": 0, "partial": 0, "failed": 0}


def test_the_figures_of_run_json_agree_with_each_other_and_with_the_results(
    real: RealRun, resnet18: Conversion
) -> None:
    summary, count = real.summary, len(FILES)
    assert summary["sources"] == {
        "planned": count + 1,
        "skipped": 0,
        "done": count,
        "partial": 0,
        "failed": 1,
    }
    assert summary["items"] == count == len(real.rows)
    assert summary["warmup_s"] + summary["run_seconds"] <= summary["seconds"] + 0.002
    assert summary["items_per_second"] == pytest.approx(count / summary["run_seconds"], rel=0.01)
    for stage in summary["stages"].values():
        assert stage["items"] == count
        assert 0 < stage["p50_ms"] <= stage["p95_ms"] <= 1000 * stage["busy_s"] + 1
        spent = stage["busy_s"] + stage["wait_in_s"] + stage["wait_out_s"]
        assert spent <= stage["lanes"] * summary["seconds"] + 0.1
    lanes = {name: stage["lanes"] for name, stage in summary["stages"].items()}
    streams = summary["engine"]["streams"]
    assert lanes == {"reader": 2, "preprocess": 2, "infer": streams, "writer": 1}
    assert (summary["workers"], summary["workers_replaced"], summary["batch_size"]) == (2, 0, 4)
    assert summary["exit_code"] == real.result.code == 3
    (device,) = summary["devices"]
    infer = summary["stages"]["infer"]
    assert (device["device"], device["streams"], device["items"]) == ("cpu", streams, count)
    assert all(device[name] == infer[name] for name in ("busy_s", "wait_in_s", "wait_out_s"))
    assert device["items_per_second"] == summary["items_per_second"]
    assert device["peak_rss_mb"] <= summary["peak_rss_mb"]


def test_run_json_says_what_ran(real: RealRun, resnet18: Conversion) -> None:
    summary, sidecar = real.summary, resnet18.sidecar
    engine = summary["engine"]
    assert (engine["name"], engine["version"], engine["device"]) == ("opencv", cv2.__version__, "cpu")
    assert summary["model"] == {
        "name": "resnet18",
        "sha256": sidecar.onnx_sha256,
        "depth": 18,
        "params": sidecar.params,
        "flops": 2 * sidecar.macs,
        "weights": sidecar.weights.describe(),
        "outputs": OUTPUTS,
    }
    assert 1 <= summary["canary"]["items"] <= 4  # of a batch that is cut at the end of its chunk
    assert summary["canary"]["cosine_min"] > 0.99999
    assert summary["job"] == "real"
    assert {record["fingerprint"] for record in records(real.job.out)} == {summary["fingerprint"]}
    assert datetime.fromisoformat(summary["started_at"]).utcoffset() == timedelta(0)


def test_the_terminal_shows_each_stage_and_names_the_bottleneck(real: RealRun) -> None:
    said, summary = real.result.stdout, real.summary
    assert said.startswith(f"{len(FILES)} sources done, 1 failed")
    for name, stage in summary["stages"].items():
        (line,) = re.findall(rf"^{name} .*$", said, re.MULTILINE)
        busy, share, per_image, waiting = re.findall(r"[\d.]+", line)
        assert float(busy) == pytest.approx(stage["busy_s"], abs=0.006)
        assert float(per_image) == pytest.approx(1000 * stage["busy_s"] / len(FILES), abs=0.02)
        assert float(waiting) == pytest.approx(stage["wait_in_s"] + stage["wait_out_s"], abs=0.006)
        total = sum(other["busy_s"] for other in summary["stages"].values())
        assert float(share) == pytest.approx(100 * stage["busy_s"] / total, abs=0.6)
    (sentence,) = re.findall(r"^bottleneck: .*$", said, re.MULTILINE)
    assert sentence.startswith(f"bottleneck: {summary['bottleneck']}, busy ")
    assert "; " in sentence, "what to change"
    assert f"results: {real.job.out}" in said
    assert f"failures: {real.job.out}/failures.jsonl" in said


def test_random_weights_are_said_loudly_on_the_terminal(real: RealRun) -> None:
    for said in (real.result.stdout, real.result.stderr):
        assert "random weights (seed 0): good for timing" in said


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.add(*numbered(5))
    job.add_bad("0002.jpg")
    monkeypatch.setattr(display, "LINE_EVERY_S", 0)
    said = job.run().expect(3).stderr
    assert re.fullmatch(
        r"5/5 sources, [\d.]+ items/s, 1 failed, about 0 s left", said.strip().splitlines()[-1]
    )
    assert "\r" not in said
    assert "\x1b" not in said


def test_progress_is_a_bar_on_a_terminal(job: JobFolder) -> None:
    job.add(*numbered(5))
    job.add_bad("0002.jpg")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "resnet_pipe", "run", job.file], stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 4096):
            said += part
    except OSError:  # how Linux says that the other end has closed
        pass
    finally:
        os.close(ours)
    assert process.wait() == 3
    last = said.decode().strip().split("\r")[-1]
    assert last.startswith("100%|")
    assert "5/5 [" in last
    assert re.search("image/s|s/image", last), "whichever is the larger number"
    assert "1 failed" in last


@pytest.fixture
def foreign(tmp_path: Path) -> JobFolder:
    """A job with a network that is not ours: other names, one batch size, no features, no sidecar."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["mean"], axis=1),
        helper.make_node("Gemm", ["mean", "weight", "bias"], ["scores"], transB=1),
    ]
    network = networks.write(
        tmp_path / "foreign.onnx",
        nodes,
        {"scores": networks.CLASSES},
        networks.classifier(3),
        input_name="data",
        batch=1,
    )
    return JobFolder(tmp_path, network)


def test_an_onnx_that_we_did_not_make_runs_with_the_preprocessing_of_the_job(foreign: JobFolder) -> None:
    foreign.write(
        kind="csv",
        fields="[logits, top_k]",
        preprocess="{resize: 36, crop: 32, mean: [0.1, 0.2, 0.3], std: [0.4, 0.5, 0.6], color: bgr}",
    )
    foreign.add(*numbered(3))
    foreign.run().expect(0)
    lines: list[dict[str, str]] = []
    for path in sorted(foreign.out.glob("part-*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            lines += csv.DictReader(file)
    assert [line["path"] for line in lines] == numbered(3)
    weights = networks.classifier(3)
    for number, line in enumerate(lines):
        with Image.open(foreign.images / f"{number:04d}.jpg") as image:
            pixels = np.asarray(image.resize((48, 36), Image.Resampling.BILINEAR))[2:34, 8:40] / 255
        normalised = (pixels.mean(axis=(0, 1))[::-1] - [0.1, 0.2, 0.3]) / [0.4, 0.5, 0.6]
        expected = weights["weight"] @ normalised + weights["bias"]
        logits = [float(line[f"logit_{index}"]) for index in range(networks.CLASSES)]
        np.testing.assert_allclose(logits, expected, atol=0.02)
        assert line["label_1"] == f"class {np.argmax(expected)}"


def test_an_onnx_without_a_sidecar_needs_preprocessing_and_has_what_it_has(foreign: JobFolder) -> None:
    foreign.add(*numbered(1))
    foreign.write(fields="[top_k]", preprocess="{crop: 32}")
    said = foreign.run().expect(2).stderr
    assert (
        "job.yaml:3:1: preprocess: tiny.onnx has no sidecar, so the job must set: resize, mean, std" in said
    )
    foreign.write(fields="[features, top_k]", preprocess=networks.preprocess_yaml(30))
    said = foreign.run("--set", "writer.k=11").expect(2).stderr
    assert "preprocess.crop: 30, but the network's input is 32 x 32" in said
    assert "writer.fields: " in said
    assert "no output with features" in said
    assert "--set writer.k: writer.k: the network has only 10 classes" in said
