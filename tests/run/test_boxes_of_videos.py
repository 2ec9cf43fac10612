"""Boxes on frames of videos: a long one that is read in spans has the frames of one pass in every format."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import resnet_pipe
from tests.run.commands import command
from tests.run.faults import shorten_spans
from tests.run.jobs import JobFolder, assert_clean, read_lines
from tests.sidecars import make_finder
from tests.videos import Recipe, cut_off, make, x264

FRAMES = 60
KINDS = ("jsonl", "csv", "coco", "megadetector")
WRITERS = ", ".join(f"{{kind: {kind}}}" for kind in KINDS)
JOB = f"""name: found
reader: {{kind: video, path: videos, every: 2}}
infer: {{model: tiny.onnx, device: cpu, batch_size: 4}}
writer: [{{kind: parquet, path: out}}, {WRITERS}]
run: {{workers: 2, chunk_items: 1000, report: false, canary: 2}}
"""
Boxes = dict[tuple[str, int], list[tuple[int, float]]]
"""Source and frame -> label, and score rounded, of each box."""


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    """A job over a long video, a short one, one that is cut off, and one that is none."""
    folder = tmp_path / "found"
    made = make_finder(folder)
    made.file.write_text(JOB)
    videos = folder / "videos"
    videos.mkdir()
    recipe = Recipe("long.mkv", "libx264", x264(), size=(160, 120), frames=FRAMES, first=100)
    cut_off(make(videos, recipe), videos / "cut.mkv", 0.6)
    make(videos, Recipe("short.mkv", "libx264", x264(), size=(160, 120), frames=5))
    (videos / "bad.mp4").write_bytes(b"no video")
    return made


def lines(path: Path) -> Boxes:
    """Return the boxes of a shard in CSV."""
    found: Boxes = {}
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            boxes = found.setdefault((line["path"], int(line["frame_index"])), [])
            if line["score"]:
                boxes.append((int(line["label"]), round(float(line["score"]), 3)))
    return found


def of_rows(rows: list[dict[str, Any]]) -> Boxes:
    """Return the boxes of rows as they are stored."""
    return {
        (row["path"], row["frame_index"]): [
            (box["label"], round(box["score"], 3)) for box in row["detections"]
        ]
        for row in rows
    }


def of_coco(out: Path) -> Boxes:
    """Return the boxes of COCO's files."""
    images, results = (
        json.loads((out / "coco" / name).read_text()) for name in ("images.json", "detections.json")
    )
    keys = {image["id"]: (image["file_name"], image["frame_index"]) for image in images["images"]}
    found: Boxes = {key: [] for key in keys.values()}
    for each in results:
        found[keys[each["image_id"]]].append((each["category_id"] - 1, round(each["score"], 3)))
    return found


def of_megadetector(out: Path) -> Boxes:
    """Return the boxes of MegaDetector's file."""
    found: Boxes = {}
    for video in json.loads((out / "megadetector" / "detections.json").read_text())["images"]:
        found |= {(video["file"], frame): [] for frame in video["frames_processed"]}
        for each in video["detections"] or ():
            box = int(each["category"]) - 1, each["conf"]
            found[video["file"], each["frame_number"]].append(box)
    return found


def test_every_format_has_the_frames_of_one_pass(job: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    job.run().expect(3)
    whole = job.rows()
    assert [row["frame_index"] for row in whole if row["path"] == "long.mkv"] == list(range(0, FRAMES, 2))
    assert {row["path"] for row in whole} == {"long.mkv", "short.mkv", "cut.mkv"}
    shorten_spans(monkeypatch)
    job.run("--fresh").expect(3)
    assert job.rows() == whole
    assert job.summary()["canary"]["matched"] == 1
    (shard,) = job.out.glob("part-*.jsonl")
    found = of_rows(whole)
    assert sum(map(len, found.values())) > len(found)
    assert of_rows(read_lines(shard)) == lines(shard.with_suffix(".csv")) == found
    assert of_coco(job.out) == of_megadetector(job.out) == found
    assert of_rows(resnet_pipe.read(job.out).to_table().to_pylist()) == found
    assert job.failures().keys() == {"bad.mp4", "cut.mkv"}
    command("check", str(job.out)).expect(0)
    assert_clean(job.out)
