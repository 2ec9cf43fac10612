"""The output format of MegaDetector, version 1.6, which Timelapse and other tools for camera traps read.

https://lila.science/megadetector-output-format describes it. Boxes are relative to the picture, rounded as
MegaDetector rounds them. A source without rows is there, too, with its failure.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, ClassVar, Literal

from resnet_pipe.writer.detections.boxes import BoxesSection, Categories, ListFile, Row, compact
from resnet_pipe.writer.tables.jsonl import rows_in
from resnet_pipe.writer.writer import Committed, Target

DETECTIONS = "megadetector/detections.json"
FORMAT_VERSION = "1.6"
_BOX_DIGITS = 4
_SCORE_DIGITS = 3
_RATE_DIGITS = 3
_SOME_RATE = 1.0
"""Frames per second where nothing tells: of a video that gave its first frame alone. It must be positive."""
_OF_FAILED_VIDEOS = {"frame_rate": -1.0, "frames_processed": []}
"""As MegaDetector itself writes them; its validator wants both, and a rate below 0 beside a failure only."""


class MegadetectorSection(BoxesSection):
    """MegaDetector's JSON: boxes and failures of all sources in megadetector/detections.json."""

    shard_suffix: ClassVar = ".megadetector"
    merged: ClassVar = (DETECTIONS,)

    kind: Literal["megadetector"]

    def finish(self, target: Target, chunks: Iterable[Committed]) -> None:
        """Make the file of the shards of all chunks."""
        categories = Categories.of(target.schema)
        # No name may be blank.
        listed = {
            str(number): name if name.strip() else f"class {number - categories.first}"
            for number, name in categories.listed().items()
        }
        info = {"format_version": FORMAT_VERSION}
        if model := (target.schema.metadata or {}).get(b"resnet_pipe.model"):
            info["detector"] = model.decode()
        start = f'{{"info":{compact(info)},\n"detection_categories":{compact(listed)},\n"images":['
        with (target.directory / DETECTIONS).open("w", encoding="utf-8") as file:
            images = ListFile(file, start, "]}")
            for chunk in chunks:
                for key, rows in _sources(chunk):
                    if isinstance(rows, str):
                        unknown = _OF_FAILED_VIDEOS if target.has_frames else {}
                        images.add({"file": key, **unknown, "failure": rows, "detections": None})
                    else:
                        images.add_text(_texts(key, rows, categories))
            images.close()


def _sources(chunk: Committed) -> Iterator[tuple[str, Iterator[Row] | str]]:
    """Yield the sources of a chunk by key: the rows of each, or why it has none."""
    done = groupby(rows_in(chunk.shard), key=itemgetter("path"))
    failed: Any = sorted(chunk.failures.items())
    return heapq.merge(done, failed, key=itemgetter(0))


def _texts(key: str, rows: Iterator[Row], categories: Categories) -> Iterator[str]:
    """Yield the entry of a source in parts; of a video, its frames' numbers alone are kept in memory."""
    first = next(rows)
    if first["frame_index"] is None:
        found = [_detection(first, box, categories) for box in first["detections"]]
        yield compact({"file": key, "detections": found})
        return
    yield f'{{"file":{compact(key)},"detections":['
    frames, separator, last = array("q"), "", first
    for row in chain([first], rows):
        frames.append(row["frame_index"])
        for box in row["detections"]:
            one = _detection(row, box, categories) | {"frame_number": row["frame_index"]}
            yield separator + compact(one)
            separator = ","
        last = row
    yield f'],"frames_processed":{compact(frames.tolist())},"frame_rate":{_rate(first, last)}}}'


def _detection(row: Row, box: Row, categories: Categories) -> Row:
    width, height = row["width"], row["height"]
    left, top = box["x1"] / width, box["y1"] / height
    corner_and_size = left, top, box["x2"] / width - left, box["y2"] / height - top
    return {
        "category": str(categories.number(box["label"])),
        "conf": round(box["score"], _SCORE_DIGITS),
        "bbox": [round(value, _BOX_DIGITS) for value in corner_and_size],
    }


def _rate(first: Row, last: Row) -> float:
    """Return the frames per second of a video, on average, by two of its frames."""
    frames, seconds = last["frame_index"], last["pts_s"]
    if first is not last:
        frames, seconds = frames - first["frame_index"], seconds - first["pts_s"]
    rate = round(frames / seconds, _RATE_DIGITS) if seconds and seconds > 0 else 0.0
    return rate or _SOME_RATE
