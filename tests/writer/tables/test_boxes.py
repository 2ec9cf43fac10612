"""Boxes in tables: every box of every item, and the items without any."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from resnet_pipe.head.rows import view
from resnet_pipe.writer.registry import SECTIONS
from tests.writer.boxes import MEMBERS, NAMES, Found, Row, batch, columns, some
from tests.writer.shards import section, target

ITEMS = [
    some("=a.jpg", 3),
    Found("b/none.jpg"),
    *(some("c.mp4", count, frame) for frame, count in enumerate((2, 0, 5, 1))),
    some("ä.jpg", 60),
]


def of_parquet(path: Path) -> Iterator[Row]:
    yield from pq.read_table(path, partitioning=None).to_pylist()


def of_jsonl(path: Path) -> Iterator[Row]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    yield from pa.RecordBatch.from_pylist(rows, schema=columns()).to_pylist()  # numbers as float32


def of_csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        found: dict[tuple[str, str], Row] = {}
        for line in csv.DictReader(file, strict=True):
            row = found.setdefault(
                (line["path"], line["frame_index"]),
                {
                    "path": line["path"].removeprefix("'"),
                    "frame_index": int(line["frame_index"]) if line["frame_index"] else None,
                    "pts_s": float(line["pts_s"]) if line["pts_s"] else None,
                    "detections": [],
                    "width": int(line["width"]),
                    "height": int(line["height"]),
                },
            )
            if line["x1"]:
                numbers = {name: float(line[name]) for name in MEMBERS[:5]}
                more: Row = {"label": int(line["label"]), "name": line["name"].removeprefix("'")}
                row["detections"].append(numbers | more)
            else:
                assert [line[name] for name in MEMBERS] == [""] * len(MEMBERS)
    yield from pa.RecordBatch.from_pylist(list(found.values()), schema=columns()).to_pylist()


READ: dict[str, Callable[[Path], Iterator[Row]]] = {"parquet": of_parquet, "jsonl": of_jsonl, "csv": of_csv}


@pytest.fixture(params=READ)
def kind(request: pytest.FixtureRequest) -> str:
    """A kind of table that holds boxes."""
    name: str = request.param
    return name


def write(folder: Path, kind: str, *parts: list[Found]) -> Path:
    opened = section(kind, fields=["boxes"]).open(target(folder, columns()))
    for part in parts:
        opened.append(view(batch(part), columns()))
    opened.close()
    return folder / f"part-000000.{kind}"


def test_every_box_is_read_back_with_the_bits_it_had(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "out", kind, ITEMS[:2], ITEMS[2:])
    assert list(READ[kind](path)) == [item.row() for item in ITEMS]


def test_an_item_is_one_row_however_many_boxes_it_has(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "out", kind, ITEMS)
    assert list(SECTIONS[kind].row_keys(path)) == [(item.path, item.frame) for item in ITEMS]


def test_a_batch_may_be_a_part_of_a_larger_one(tmp_path: Path, kind: str) -> None:
    opened = section(kind, fields=["boxes"]).open(target(tmp_path / "out", columns()))
    whole = batch(ITEMS)
    for start in range(len(ITEMS)):
        opened.append(whole.slice(start, 1))
    opened.close()
    found = list(READ[kind](tmp_path / "out" / f"part-000000.{kind}"))
    assert found == [item.row() for item in ITEMS]


def test_a_merge_keeps_the_boxes_of_the_sources_that_stay(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "old", kind, ITEMS)
    new = [some("b/none.jpg", 1, seed=1), Found("d.jpg"), some("z.jpg", 2, seed=1)]
    write(tmp_path / "new", kind, new)
    portions = [(tmp_path / "old", {"b/none.jpg", "=a.jpg"}), (tmp_path / "new", {"z.jpg"})]
    section(kind, fields=["boxes"]).merge(target(tmp_path / "out", columns()), portions)
    kept = [item for item in ITEMS if item.path in ("c.mp4", "ä.jpg")]
    wanted = sorted([*kept, *new[:2]], key=lambda item: (item.path, item.frame or 0))
    out = tmp_path / "out" / f"part-000000.{kind}"
    assert list(READ[kind](out)) == [item.row() for item in wanted]
    assert list(SECTIONS[kind].row_keys(out)) == [(item.path, item.frame) for item in wanted]


def test_no_name_of_a_class_is_a_formula(tmp_path: Path) -> None:
    path = write(tmp_path / "out", "csv", [Found("a.jpg", [(0, 1, 2, 3, 0.5, NAMES.index("=vehicle"))])])
    assert path.read_bytes() == (
        b"path,frame_index,pts_s,width,height,x1,y1,x2,y2,score,label,name\r\n"
        b"a.jpg,,,640,480,0.0,1.0,2.0,3.0,0.5,2,'=vehicle\r\n"
    )


@pytest.mark.parametrize("items", [[], [Found("a.jpg"), Found("b.jpg")]])
def test_a_shard_may_have_no_boxes(tmp_path: Path, kind: str, items: list[Found]) -> None:
    path = write(tmp_path / "out", kind, items)
    assert list(READ[kind](path)) == [item.row() for item in items]


def test_shards_of_parquet_and_json_lines_are_read_by_pyarrow_and_pandas(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    parquet, lines = (write(tmp_path / kind, kind, ITEMS) for kind in ("parquet", "jsonl"))
    wanted = [len(item.boxes) for item in ITEMS]
    table = ds.dataset(str(parquet)).to_table()
    assert [len(boxes) for boxes in table["detections"].to_pylist()] == wanted
    assert [len(boxes) for boxes in pandas.read_parquet(parquet)["detections"]] == wanted
    rows = pandas.read_json(lines, lines=True)
    assert [len(boxes) for boxes in rows["detections"]] == wanted
    assert rows["detections"][0][0]["name"] == ITEMS[0].row()["detections"][0]["name"]


def test_boxes_are_no_array() -> None:
    with pytest.raises(ValidationError, match="write boxes with a writer of kind parquet, jsonl, csv, coco"):
        section("npy", field="boxes")
