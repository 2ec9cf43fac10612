"""The MegaDetector format, held against what its description asks of each member."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnet_pipe.writer.writer import Committed
from tests.writer.boxes import NAMES, Found, batch, columns, some
from tests.writer.shards import section, target

Data = dict[str, Any]


def finish(
    folder: Path,
    *chunks: Sequence[Found],
    failures: Mapping[str, str] | None = None,
    has_frames: bool = False,
    metadata: dict[str, str] | None = None,
    names: Sequence[str] = NAMES,
) -> Data:
    """Return the merged file of some chunks; the failures are in the first one."""
    made = section("megadetector")
    committed = []
    for number, items in enumerate(chunks):
        shard = target(folder / f"chunk-{number}", columns(names))
        opened = made.open(shard)
        opened.append(batch(items, names))
        opened.close()
        known = failures or {}
        committed.append(Committed(shard.shard(str(made.shard_suffix)), known if number == 0 else {}))
    (folder / "megadetector").mkdir()
    made.finish(replace(target(folder, columns(names, metadata)), has_frames=has_frames), committed)
    text = (folder / "megadetector/detections.json").read_text(encoding="utf-8")
    data: Data = json.loads(text)
    validate(data, has_frames)
    return data


def validate(data: Data, has_frames: bool) -> None:
    """Check what the description of the format, version 1.6, says of each member."""
    assert set(data) == {"info", "detection_categories", "images"}
    assert float(data["info"]["format_version"]) == 1.6
    assert isinstance(data["info"]["format_version"], str)
    assert all(int(number) > 0 for number in data["detection_categories"])
    assert all(name.strip() for name in data["detection_categories"].values())
    assert len({image["file"] for image in data["images"]}) == len(data["images"])
    for image in data["images"]:
        assert ("frame_rate" in image) == ("frames_processed" in image) == has_frames
        if image.get("failure") is not None:
            assert isinstance(image["failure"], str)
            assert image["detections"] is None
            assert not has_frames or (image["frame_rate"], image["frames_processed"]) == (-1, [])
            continue
        for each in image["detections"]:
            assert each["category"] in data["detection_categories"]
            assert isinstance(each["conf"], float)
            assert 0 <= each["conf"] <= 1
            assert len(each["bbox"]) == 4
            assert all(isinstance(value, float) and 0 <= value <= 1 for value in each["bbox"])
            assert all(value == round(value, 4) for value in each["bbox"])
            assert ("frame_number" in each) == has_frames
        if has_frames:
            assert image["frame_rate"] > 0
            frames = image["frames_processed"]
            assert all(isinstance(frame, int) and frame >= 0 for frame in frames)
            assert frames == sorted(set(frames))
            assert {each["frame_number"] for each in image["detections"]} <= set(frames)


def test_each_image_has_its_boxes_relative_to_it(tmp_path: Path) -> None:
    box = (64.0, 120.0, 320.0, 480.0, 0.92649, 0)
    data = finish(tmp_path, [Found("a.jpg", [box]), Found("b.jpg")], [some("c/ä.jpg", 60)])
    assert data["images"][0] == {
        "file": "a.jpg",
        "detections": [{"category": "1", "conf": 0.926, "bbox": [0.1, 0.25, 0.4, 0.75]}],
    }
    assert data["images"][1] == {"file": "b.jpg", "detections": []}
    assert len(data["images"][2]["detections"]) == 60


def test_categories_begin_with_1_and_none_is_blank(tmp_path: Path) -> None:
    data = finish(tmp_path)
    names = list(NAMES)
    names[names.index("")] = "class 3"
    assert data["detection_categories"] == {str(number): name for number, name in enumerate(names, 1)}
    assert data["images"] == []


def test_category_1_is_the_first_class_after_the_background(tmp_path: Path) -> None:
    names = ["__background__", "person", ""]
    box = (64.0, 120.0, 320.0, 480.0, 0.5, 1)
    data = finish(tmp_path, [Found("a.jpg", [box])], names=names)
    assert data["detection_categories"] == {"1": "person", "2": "class 2"}
    assert [each["category"] for each in data["images"][0]["detections"]] == ["1"]


def test_a_source_without_rows_is_there_with_its_failure(tmp_path: Path) -> None:
    data = finish(
        tmp_path,
        [Found("b.jpg"), Found("d.jpg")],
        failures={"e.jpg": "empty: no bytes", "a.jpg": "truncated: it ends", "c.jpg": "timeout: 60 s"},
    )
    assert [image["file"] for image in data["images"]] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    assert data["images"][0] == {"file": "a.jpg", "failure": "truncated: it ends", "detections": None}


def test_a_video_is_one_entry_with_the_frames_of_all_boxes(tmp_path: Path) -> None:
    frames = [some("a.mp4", count, frame) for frame, count in {0: 2, 10: 0, 25: 3}.items()]
    data = finish(
        tmp_path,
        [*frames, some("b.mp4", 1, 50), Found("c.mp4", frame=0)],
        failures={"aa.mp4": "truncated: it ends"},
        has_frames=True,
    )
    first, failed, single, still = data["images"]
    assert (first["file"], first["frame_rate"], first["frames_processed"]) == ("a.mp4", 25, [0, 10, 25])
    assert [each["frame_number"] for each in first["detections"]] == [0, 0, 25, 25, 25]
    assert failed["failure"] == "truncated: it ends"
    assert (single["frame_rate"], single["frames_processed"]) == (25, [50])
    assert still["detections"] == []


def test_the_detector_is_named_where_the_rows_name_it(tmp_path: Path) -> None:
    data = finish(tmp_path, metadata={"resnet_pipe.model": "md_v5a"})
    assert data["info"] == {"format_version": "1.6", "detector": "md_v5a"}


def test_a_picture_of_one_pixel_has_relative_boxes(tmp_path: Path) -> None:
    data = finish(tmp_path, [Found("a.png", [(0, 0, 1, 1, 1.0, 1)], size=(1, 1))])
    assert data["images"][0]["detections"] == [{"category": "2", "conf": 1.0, "bbox": [0.0, 0.0, 1.0, 1.0]}]
