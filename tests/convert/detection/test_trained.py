"""A detector that was trained finds, as converted and run by jobs, what is on pictures it has not seen."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.convert.detection.calibrated import tensor
from tests.convert.detection.drawn import LONG, SHAPES, SIDE, Drawn, held_out
from tests.convert.detection.trained import trained
from tests.run.jobs import JobFolder

PICTURES = 40
PREPROCESS = (
    f"{{fit: shortest, resize: {SIDE}, longest: {LONG}, multiple: 32, interpolation: linear,"
    " mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}"
)
JOB = """\
name: shapes
reader: {kind: images, path: images}
infer: {model: tuned.onnx, device: cpu}
writer:
  - {kind: parquet, path: out, fields: [boxes]}
  - {kind: coco}
run: {report: false, canary: 0}
"""


@pytest.mark.slow
def test_a_trained_detector_finds_as_much_in_a_job_as_in_torchvision(tmp_path: Path, network: Path) -> None:
    pytest.importorskip("pycocotools")
    pictures = held_out(PICTURES)
    job = JobFolder(tmp_path, network)
    job.file.write_text(JOB)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture.image).save(job.images / f"{number:02d}.jpg", quality=95)
    model = trained()
    convert(model, tmp_path)

    precision = {"torchvision": average_precision(of_torchvision(model, job.images), pictures)}
    for mode in ("exact", "fast"):
        job.run("--fresh", "--set", f"preprocess.mode={mode}").expect(0)
        precision[mode] = average_precision(of_job(job.out), pictures)
    assert min(precision.values()) > 0.8
    assert max(precision.values()) - min(precision.values()) < 0.01


def convert(model: nn.Module, folder: Path) -> None:
    """Make `tuned.onnx` of a detector's weights, as a user does."""
    torch.save(model.state_dict(), folder / "tuned.pt")
    (folder / "names.txt").write_text("\n".join(SHAPES))
    paths = (str(folder / name) for name in ("tuned.pt", "names.txt"))
    words = (word for pair in zip(("--weights", "--labels"), paths, strict=True) for word in pair)
    given = ("--preprocess", PREPROCESS, "--name", "tuned", "--out", str(folder))
    execute("convert", "retinanet_resnet50_fpn", *words, *given)


def execute(*arguments: str) -> None:
    """Run `resnet-pipe` as a process of its own, however long it takes."""
    done = subprocess.run([sys.executable, "-m", "resnet_pipe", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def of_torchvision(model: nn.Module, images: Path) -> list[dict[str, Any]]:
    """Return what torchvision finds in files, as COCO has it; images are numbered by name, from 1 on."""
    results = []
    for number, path in enumerate(sorted(images.iterdir()), 1):
        with Image.open(path) as image, torch.inference_mode():
            (found,) = model([tensor(np.asarray(image))])
        columns = (found[name].tolist() for name in ("boxes", "scores", "labels"))
        results += [
            {"image_id": number, "category_id": label, "bbox": measured(*box), "score": score}
            for box, score, label in zip(*columns, strict=True)
        ]
    return results


def of_job(out: Path) -> list[dict[str, Any]]:
    """Return what a job has found, with the numbers of images by name, from 1 on."""
    images = json.loads((out / "coco" / "images.json").read_text(encoding="utf-8"))
    assert [each["name"] for each in images["categories"]] == list(SHAPES)
    names = sorted(each["file_name"] for each in images["images"])
    assert len(names) == PICTURES
    number = {each["id"]: 1 + names.index(each["file_name"]) for each in images["images"]}
    results = json.loads((out / "coco" / "detections.json").read_text(encoding="utf-8"))
    return [{**each, "image_id": number[each["image_id"]]} for each in results]


def average_precision(results: list[dict[str, Any]], pictures: Sequence[Drawn]) -> float:
    """Return the mean average precision where boxes that overlap by half count as found."""
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    marked = [
        (number, measured(*box), label)
        for number, picture in enumerate(pictures, 1)
        for box, label in zip(picture.boxes.tolist(), picture.labels.tolist(), strict=True)
    ]
    truth = coco.COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": number} for number in range(1, len(pictures) + 1)],
        "categories": [{"id": label, "name": name} for label, name in enumerate(SHAPES, 1)],
        "annotations": [
            {
                "id": key,
                "image_id": image,
                "category_id": label,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for key, (image, box, label) in enumerate(marked, 1)
        ],
    }
    truth.createIndex()
    judged = evaluation.COCOeval(truth, truth.loadRes(results), "bbox")
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    return float(judged.stats[1])


def measured(left: float, top: float, right: float, bottom: float) -> list[float]:
    """Return corners as COCO has them: left, top, width and height."""
    return [left, top, right - left, bottom - top]
