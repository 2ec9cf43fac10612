"""COCO: results that `COCO.loadRes` of pycocotools reads, and the images that they are of.

The numbers of images are consecutive: in the order of the chunks, and in a chunk by path and frame. So they
are unique, and new sources, whose chunks come last, leave them as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from resnet_pipe.writer.detections.boxes import BoxesSection, Categories, ListFile, Row, compact
from resnet_pipe.writer.tables.jsonl import rows_in
from resnet_pipe.writer.writer import Committed, Target

IMAGES, DETECTIONS = "coco/images.json", "coco/detections.json"
_DIGITS = 4
"""Of a width or a height in pixels, after the point: the difference of two float32 has no more to say."""


class CocoSection(BoxesSection):
    """COCO's JSON: boxes in coco/detections.json, images (or frames) and classes in coco/images.json."""

    shard_suffix: ClassVar = ".coco"
    merged: ClassVar = (IMAGES, DETECTIONS)

    kind: Literal["coco"]

    def finish(self, target: Target, chunks: Iterable[Committed]) -> None:
        """Make both files of the shards of all chunks."""
        categories = Categories.of(target.schema)
        listed = [{"id": number, "name": name} for number, name in categories.listed().items()]
        info = compact({"description": "made by resnet-pipe"})
        start = f'{{"info":{info},\n"categories":{compact(listed)},\n"images":['
        with (
            (target.directory / IMAGES).open("w", encoding="utf-8") as images_file,
            (target.directory / DETECTIONS).open("w", encoding="utf-8") as detections_file,
        ):
            images, detections = ListFile(images_file, start, "]}"), ListFile(detections_file)
            number = 0
            for chunk in chunks:
                for row in rows_in(chunk.shard):
                    number += 1
                    images.add(_image(row, number))
                    for box in row["detections"]:
                        detections.add(_result(box, number, categories))
            images.close()
            detections.close()


def _image(row: Row, number: int) -> Row:
    image = {"id": number, "file_name": row["path"], "width": row["width"], "height": row["height"]}
    if row["frame_index"] is not None:
        image |= {"frame_index": row["frame_index"], "pts_s": row["pts_s"]}
    return image


def _result(box: Row, image: int, categories: Categories) -> Row:
    width, height = (round(box[f"{axis}2"] - box[f"{axis}1"], _DIGITS) for axis in "xy")
    return {
        "image_id": image,
        "category_id": categories.number(box["label"]),
        "bbox": [box["x1"], box["y1"], width, height],
        "score": box["score"],
    }
