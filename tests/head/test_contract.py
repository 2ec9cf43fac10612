"""What every head promises, asked of every head in the registry."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from resnet_pipe.head.classify import Classify
from resnet_pipe.head.detect import DETECTIONS, Detect
from resnet_pipe.head.detectors.settings import DetectorSettings
from resnet_pipe.head.head import Head
from resnet_pipe.head.registry import HEADS, FieldName
from resnet_pipe.head.rows import BOXES, ENTRIES, LABELS, ONE, PLACE, Place, by_source, view
from resnet_pipe.model.output import Output
from resnet_pipe.preprocess.network_input import Placement

PLACES: list[Place] = [
    ("a.jpg", None, None),
    ("raw\\xff.jpg", None, None),
    ("v.mp4", 3, 0.1),
    ("v.mp4", 9, 0.3),
]


PLACED: list[Place] = [
    (*place, Placement(width, 40, left, 2, 20, 10))
    for place, width, left in zip(PLACES, (80, 60, 4, 8), (0, 3, 0, 0), strict=True)
]
"""The same items, with where their images lie in the network's input."""


class Example(NamedTuple):
    """A head, what it can make, outputs for `PLACES`, and the columns of each field."""

    head: Head
    fields: tuple[FieldName, ...]
    outputs: dict[str, NDArray[np.float32]]
    columns: dict[FieldName, tuple[str, ...]]


def values(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def classify() -> Example:
    head = Classify(
        Output("classes", "float32", (None, 7)),
        Output("pooled", "float32", (None, 5)),
        ("plain", "", "☃", "half \ud800", *"efg"),
        "softmax",
    )
    outputs = {"classes": values(len(PLACES), 7), "pooled": values(len(PLACES), 5)}
    fields: tuple[FieldName, ...] = ("features", "logits", "top_k")
    return Example(head, fields, outputs, {field: (field,) for field in fields})


def detect() -> Example:
    """Return a head for boxes: three of the first item, none of the second, one and two of the others."""
    settings = DetectorSettings("yolo", classes=3, score=0.2, nms=0.5, max_detections=3)
    pooled = Output("pooled", "float32", (None, 5))
    head = Detect(settings, ("output0",), ("plain", "half \ud800", "☃"), pooled)
    found = np.zeros((len(PLACES), 3, 6), np.float32)
    for item, count in enumerate((3, 0, 1, 2)):
        found[item, :count, :4] = [2, 4, 12, 8]
        found[item, :count, 4] = [0.9, 0.5, 0.3][:count]
        found[item, :count, 5] = range(count)
    outputs = {DETECTIONS: found.reshape(len(PLACES), -1), "pooled": values(len(PLACES), 5)}
    columns: dict[FieldName, tuple[str, ...]] = {"boxes": BOXES, "features": ("features",)}
    return Example(head, ("boxes", "features"), outputs, columns)


EXAMPLES = {"classify": classify, "detect": detect}
"""A new head adds its line."""


@pytest.fixture(params=HEADS)
def example(request: pytest.FixtureRequest) -> Example:
    """A head with something to do."""
    return EXAMPLES[request.param]()


def test_it_names_its_outputs_and_how_wide_they_are_or_has_a_detector_read_them(example: Example) -> None:
    assert example.head.names
    if example.head.detector is None:
        widths = dict(zip(example.head.names, example.head.widths, strict=True))
        assert widths == {name: array.shape[1] for name, array in example.outputs.items()}
    else:
        widths = dict(zip(example.head.names, example.head.widths, strict=True))
        rows = {name: width for name, width in widths.items() if width is not None}
        assert rows == {name: example.outputs[name].shape[1] for name in example.head.as_they_come}


def test_a_schema_has_the_place_of_a_row_and_then_the_fields_in_their_order(example: Example) -> None:
    for fields in (example.fields, example.fields[::-1], *((field,) for field in example.fields)):
        schema = example.head.schema(fields, 2)
        assert schema.names == [*PLACE, *(name for field in fields for name in example.columns[field])]
        assert schema.types[:3] == [pa.string(), pa.int64(), pa.float64()]
        for field in list(schema)[3:]:  # what a writer cannot see from its type
            said = field.metadata or {}
            assert (ENTRIES in said or LABELS in said) is pa.types.is_list(field.type), field


def test_rows_are_those_of_the_items_and_have_the_schema_with_all_its_metadata(example: Example) -> None:
    schema = example.head.schema(example.fields, 2).with_metadata({"made": "by a test"})
    batch = example.head.rows(example.outputs, PLACED, schema)
    assert batch.schema.equals(schema, check_metadata=True)
    batch.validate(full=True)
    assert list(zip(*(batch.column(name).to_pylist() for name in PLACE), strict=True)) == PLACES


def test_a_row_does_not_depend_on_its_neighbours(example: Example) -> None:
    schema = example.head.schema(example.fields, 3)
    whole = example.head.rows(example.outputs, PLACED, schema)
    for at in range(len(PLACES)):
        alone = {name: array[at : at + 1] for name, array in example.outputs.items()}
        assert example.head.rows(alone, PLACED[at : at + 1], schema).equals(whole.slice(at, 1))


def test_a_row_has_no_more_numbers_than_the_head_says(example: Example) -> None:
    for fields in (example.fields, example.fields[:1], example.fields[1:]):
        batch = example.head.rows(example.outputs, PLACED, example.head.schema(fields, 3))
        for row in batch.drop_columns(list(PLACE)).to_pylist():
            assert count(row) <= example.head.numbers(fields, 3)
            if example.head.detector is None:
                assert count(row) == example.head.numbers(fields, 3)


def count(value: object) -> int:
    if isinstance(value, dict):
        return sum(map(count, value.values()))
    return sum(map(count, value)) if isinstance(value, list) else isinstance(value, int | float)


def test_a_view_has_the_fields_and_the_entries_that_a_writer_wants(example: Example) -> None:
    head, outputs = example.head, example.outputs
    whole = head.rows(outputs, PLACED, head.schema(example.fields, 5))
    for fields in (example.fields, example.fields[::-1], example.fields[:1]):
        for k in (1, 3, 5):
            schema = head.schema(fields, k).with_metadata({"of": "the writer"})
            for part in (whole, whole.slice(1, 2)):
                seen = view(part, schema)
                assert seen.schema.equals(schema, check_metadata=True)
                seen.validate(full=True)
            assert view(whole, schema).equals(head.rows(outputs, PLACED, schema))
            assert view(whole.slice(1, 2), schema).equals(head.rows(outputs, PLACED, schema).slice(1, 2))


def test_rows_of_a_source_are_found_together(example: Example) -> None:
    batch = example.head.rows(example.outputs, PLACED, example.head.schema(example.fields, 2))
    found = [(key, rows.num_rows, rows.column("frame_index").to_pylist()) for key, rows in by_source(batch)]
    assert found == [("a.jpg", 1, [None]), ("raw\\xff.jpg", 1, [None]), ("v.mp4", 2, [3, 9])]


def test_a_column_of_single_values_says_what_one_is_called_for_files_without_lists() -> None:
    schema = classify().head.schema(["logits"], 1)
    assert schema.field("logits").metadata[ONE] == b"logit"
