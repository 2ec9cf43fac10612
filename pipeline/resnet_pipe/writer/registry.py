"""The writers there are. Another one is a line here, and a section that describes it."""

from __future__ import annotations

from typing import get_args

from resnet_pipe.writer.annotated.annotated import AnnotatedImagesSection, AnnotatedVideoSection
from resnet_pipe.writer.detections.coco import CocoSection
from resnet_pipe.writer.detections.megadetector import MegadetectorSection
from resnet_pipe.writer.tables.csv import CsvSection
from resnet_pipe.writer.tables.jsonl import JsonlSection
from resnet_pipe.writer.tables.npy import NpySection
from resnet_pipe.writer.tables.parquet import ParquetSection
from resnet_pipe.writer.writer import WriterSection

Section = (
    ParquetSection
    | NpySection
    | CsvSection
    | JsonlSection
    | CocoSection
    | MegadetectorSection
    | AnnotatedVideoSection
    | AnnotatedImagesSection
)
"""A `writer` of a job; its `kind` tells which."""

SECTIONS: dict[str, type[WriterSection]] = {
    get_args(section.model_fields["kind"].annotation)[0]: section for section in get_args(Section)
}
