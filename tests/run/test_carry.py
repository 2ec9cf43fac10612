"""What comes with an image, such as a label, in the rows: from archives, manifests and tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import resnet_pipe
from resnet_pipe.reader.archives import decompress
from resnet_pipe.reader.archives.section import ArchiveSection
from tests.archives import Member, compressed, tar_of
from tests.run.faults import DECODER
from tests.run.found import use_boxes
from tests.run.jobs import (
    Cli,
    JobFolder,
    assert_clean,
    jpeg,
    numbered,
    read_lines,
    read_rows,
    records,
    states,
)

Told = list[tuple[Any, ...]]
LARGE = 1 << 20
"""Bytes of the longest text that is carried."""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def job(tmp_path: Path, network: Path) -> JobFolder:
    (tmp_path / "job").mkdir()
    return JobFolder(tmp_path / "job", network)


def read_from(job: JobFolder, reader: str) -> None:
    """Have the job read something else than `images/`."""
    old, _, rest = job.file.read_text().partition("reader: ")
    job.file.write_text(f"{old}reader: {{{reader}}}\n{rest.partition(chr(10))[2]}")


def told(job: JobFolder, *columns: str) -> Told:
    """Return the path, and some columns, of each row."""
    return [tuple(row[name] for name in ("path", *columns)) for row in job.rows()]


def lines_of(files: Iterable[Path]) -> list[dict[str, str]]:
    """Return the lines of CSV files, in order."""
    lines = []
    for path in sorted(files):
        with path.open(newline="") as file:
            lines += [*csv.DictReader(file)]
    return lines


def notes(out: Path) -> dict[str, list[str]]:
    """Return the notes of each source that has any."""
    sources = (source for record in records(out) for source in record["sources"])
    return {source["key"]: source["notes"] for source in sources if source.get("notes")}


def archive(job: JobFolder, name: str, members: Sequence[Member], carry: str = "[json, txt, cls]") -> None:
    """Have the job read an archive of these members."""
    (job.folder / name).write_bytes(compressed(tar_of(members), name))
    read_from(job, f"kind: archive, path: {name}, carry: {carry}")


def table(job: JobFolder, columns: Mapping[str, Any], carry: str, count: int) -> None:
    """Have the job read so many images in a table with some other columns."""
    images = {"image": [jpeg(index) for index in range(count)]}
    pq.write_table(pa.table({**columns, **images}), job.folder / "all.parquet", row_group_size=2)
    read_from(job, f"kind: table, path: all.parquet, carry: {carry}")


def manifest(job: JobFolder, lines: Sequence[Mapping[str, Any]], name: str = "list.csv") -> None:
    """Write a manifest with these rows."""
    path = job.folder / name
    if path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([dict(line) for line in lines]), path)
    else:
        with path.open("w", newline="") as file:
            out = csv.DictWriter(file, list(lines[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            out.writeheader()
            out.writerows(lines)


def labelled(job: JobFolder, count: int, name: str = "list.csv", carry: str = "[label, split]") -> None:
    """Have the job read a manifest of so many images, with a label and a split."""
    job.add(*numbered(count))
    rows = [{"split": "train", "path": image, "label": f"0{at}"} for at, image in enumerate(numbered(count))]
    manifest(job, rows, name)
    read_from(job, f"kind: manifest, root: images, path: {name}, carry: {carry}")


SAMPLES = [
    ("a/0000.cls", b"007"),
    ("a/0000.jpg", jpeg(0)),
    ("a/0000.json", b'{"caption": "\xc3\xa4"}\n'),
    ("a/0001.jpg", jpeg(1)),
    ("a/0001.txt", b"=1+1\n\"two\", lines\r\n"),
    ("a/0002.left.jpg", jpeg(2)),
    ("a/0002.right.jpg", jpeg(3)),
    ("a/0002.txt", b""),
    ("b.cls", b"1"),
    ("b/0000.jpg", jpeg(4)),
    ("b/0000.left.cls", b"not of this column"),
    ("b/0000.CLS", b"nor this"),
    ("c.jpg", jpeg(5)),
]  # fmt: skip
"""An archive as webdataset has them, sorted by name."""


EXPECTED: Told = [
    ("a/0000.jpg", '{"caption": "ä"}\n', None, "007"),
    ("a/0001.jpg", None, '=1+1\n"two", lines\r\n', None),
    ("a/0002.left.jpg", None, "", None),
    ("a/0002.right.jpg", None, "", None),
    ("b/0000.jpg", None, None, None),
    ("c.jpg", None, None, None),
]
"""The names of the images in it, and their columns json, txt and cls."""


@pytest.mark.parametrize("order", ["sorted", "texts last"])
def test_members_beside_an_image_become_columns(job: JobFolder, order: str) -> None:
    members = SAMPLES if order == "sorted" else sorted(SAMPLES, key=lambda member: member[0][-3:] != "jpg")
    names = ["all.tar", "all.tar.gz", "all.tar.zst"]
    (job.folder / "archives").mkdir()
    for name in names:
        (job.folder / "archives" / name).write_bytes(compressed(tar_of(members), name))
    read_from(job, "kind: archive, path: archives")
    plain = read_rows(job.undisturbed())
    read_from(job, "kind: archive, path: archives, carry: [json, txt, cls]")
    done = job.run("--set", "run.workers=2", "--set", "run.chunk_items=4").expect(0)
    expected = [(f"{name}/{path}", *values) for name in names for path, *values in EXPECTED]
    assert told(job, "json", "txt", "cls") == sorted(expected)
    assert list(job.rows()[0])[-3:] == ["json", "txt", "cls"]
    assert [{key: row[key] for key in plain[0]} for row in job.rows()] == plain
    assert notes(job.out) == {}
    assert "passed over 3 .left.cls and 3 .CLS" not in done.stdout
    assert_clean(job.out)
    before = states(job.out)
    assert "0 sources done" in job.run().expect(0).stdout
    assert states(job.out) == before


def test_members_that_are_no_texts_or_too_long_cost_a_note(job: JobFolder) -> None:
    members = [
        *((f"{name}.jpg", jpeg(index)) for index, name in enumerate(numbered(4))),
        ("0000.txt", b"\xff\xfe"),
        ("0001.txt", b"x" * LARGE),
        ("0002.txt", b"x" * (LARGE + 1)),
        ("0003.txt", "\0\u2028\N{SNOWMAN}".encode()),
    ]
    archive(job, "all.tar.gz", [(name.replace(".jpg.jpg", ".jpg"), data) for name, data in members], "[txt]")
    job.run().expect(0)
    assert [row["txt"] for row in job.rows()] == [None, "x" * LARGE, None, "\0\u2028\N{SNOWMAN}"]
    assert notes(job.out) == {
        "all.tar.gz/0000.jpg": ["txt is null: it is not UTF-8"],
        "all.tar.gz/0002.jpg": [f"txt is null: {LARGE + 1} bytes, more than {LARGE}"],
    }


def beginnings(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Return a list that grows each time that a file of Zstandard is decompressed from its beginning."""
    begun = list[None]()
    begin = decompress._zstd_stream

    def count(file: Any) -> object:  # noqa: ANN401 - what reads the file
        begun.append(None)
        return begin(file)

    monkeypatch.setattr(decompress, "_zstd_stream", count)
    return begun


@pytest.mark.parametrize("order", ["sorted", "texts first", "texts last"])
def test_a_stream_need_not_go_back_for_what_comes_with_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    """Of Zstandard, going back means to decompress all of it again."""
    images = [
        (f"{index:03d}.{side}.jpg", bytes(64 << 10)) for index in range(20) for side in ("left", "right")
    ]
    texts = [(f"{index:03d}.{name}", b"%d" % index) for index in range(20) for name in ("cls", "mid", "txt")]
    members = {"sorted": sorted(images + texts), "texts first": texts + images, "texts last": images + texts}
    (tmp_path / "all.tar.zst").write_bytes(compressed(tar_of(members[order]), "all.tar.zst"))
    begun = beginnings(monkeypatch)
    values = {"kind": "archive", "path": str(tmp_path), "carry": ["txt", "mid", "gone", "cls"]}
    files = ArchiveSection.model_validate(values).make_reader().files
    keys = [source.key for source in files.list_sources()]
    for key in keys:
        files.announce(key)
    for key in keys:
        number = str(int(key.partition("/")[2][:3]))
        assert files.read(key, lambda: None)
        assert files.carried(key, lambda: None).values == (number, number, None, number)
    assert len(begun) <= 3, "once for the list of what there is, and once or twice to read it"


def test_a_stream_keeps_nothing_for_images_that_cannot_be_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, bad = 100, 80
    members = [(f"{index:03d}.{end}", bytes(LARGE)) for index in range(count) for end in ("cls", "jpg")]
    (tmp_path / "all.tar.zst").write_bytes(compressed(tar_of(members), "all.tar.zst"))
    begun = beginnings(monkeypatch)
    values = {"kind": "archive", "path": str(tmp_path), "carry": ["cls"]}
    files = ArchiveSection.model_validate(values).make_reader().files
    for index, key in enumerate([source.key for source in files.list_sources()]):
        assert files.read(key, lambda: None)
        assert index < bad or files.carried(key, lambda: None).values == ("\0" * LARGE,)
    assert len(begun) == 2, "once for the list of what there is, and once to read it"


@pytest.mark.parametrize("name", ["list.csv", "list.tsv", "list.jsonl", "list.parquet"])
def test_columns_of_a_manifest_become_columns(job: JobFolder, name: str) -> None:
    labelled(job, 5, name)
    job.run("--set", "run.workers=2", "--set", "run.chunk_items=3").expect(0)
    assert told(job, "label", "split") == [(each, f"0{at}", "train") for at, each in enumerate(numbered(5))]
    assert list(job.rows()[0])[-2:] == ["label", "split"]
    assert_clean(job.out)


def test_a_changed_value_in_a_manifest_reprocesses_that_source_alone(job: JobFolder) -> None:
    labelled(job, 6)
    job.run().expect(0)
    assert "0 sources done, 0 failed, 6 already done" in job.run().expect(0).stdout
    rows = [{"label": f"0{at}", "path": image, "split": "train"} for at, image in enumerate(numbered(6))]
    rows[1]["label"] = "new"
    rows.insert(0, {"label": "another row, which does not count", "path": "./0002.jpg", "split": "test"})
    manifest(job, rows)
    assert "1 source done, 0 failed, 5 already done" in job.run().expect(0).stdout
    assert [label for _, label in told(job, "label")] == ["00", "new", "02", "03", "04", "05"]
    assert_clean(job.out)
    job.change("0004.jpg")
    assert "1 source done, 0 failed, 5 already done" in job.run().expect(0).stdout
    assert [label for _, label in told(job, "label")] == ["00", "new", "02", "03", "04", "05"]
    manifest(job, rows[1:-1], "list.csv")
    assert "6 already" not in job.run("--prune", "--set", "run.max_disappeared=1").expect(0).stdout
    assert len(job.rows()) == 5


def test_of_a_file_that_is_named_twice_the_last_row_counts(job: JobFolder) -> None:
    job.add("a.jpg")
    (job.folder / "lists").mkdir()
    for name, label in (("2.csv", "third"), ("1.csv", "first")):
        manifest(job, [{"path": "a.jpg", "label": "x"}, {"path": "a.jpg", "label": label}], f"lists/{name}")
    read_from(job, "kind: manifest, root: images, path: lists, carry: [label]")
    job.run().expect(0)
    assert told(job, "label") == [("a.jpg", "third")]


def test_values_of_a_manifest_are_texts_or_the_json_of_what_they_are(job: JobFolder) -> None:
    values: dict[Any, Any] = {
        "ä": "ä", "": "", "007": "007", 7: "7", 0.1: "0.1", True: "true", None: None,
        (1, "ä", None): '[1,"ä",null]',
    }  # fmt: skip
    rows = [{"path": name, "it": value} for name, value in zip(numbered(8), values, strict=True)]
    rows += [
        {"path": "0008.jpg"},
        {"path": "0009.jpg", "it": {"z": {"y": 1.5}, "a": [True]}},
        {"path": "0010.jpg", "it": "\ud800"},
        {"path": "0011.jpg", "it": {"half": "\udfff"}},
        {"path": "0012.jpg", "it": 10**400},
    ]
    job.add(*numbered(14))
    manifest(job, rows, "list.jsonl")
    with (job.folder / "list.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"path": "0013.jpg", "it": "%s"}\n' % ("ä" * (LARGE // 2 + 1)))
        file.write('["path"]\n')
    read_from(job, "kind: manifest, root: images, path: list.jsonl, carry: [it]")
    job.run().expect(3)
    assert [it for _, it in told(job, "it")] == [
        *values.values(), None, '{"z":{"y":1.5},"a":[true]}', None, None, f"1{'0' * 400}", None,
    ]  # fmt: skip
    assert notes(job.out) == {
        "0010.jpg": ["it is null: it is not UTF-8"],
        "0011.jpg": ["it is null: it is not UTF-8"],
        "0013.jpg": [f"it is null: {LARGE + 2} bytes, more than {LARGE}"],
    }
    assert list(job.failures()) == ["list.jsonl//15"]


TYPED: dict[str, tuple[pa.Array, list[str | None]]] = {
    "text": (pa.array(["ä", None]), ["ä", None]),
    "whole": (pa.array([7, -1], pa.int8()), ["7", "-1"]),
    "half": (pa.array([0.1, float("nan")], pa.float32()), ["0.1", "NaN"]),
    "double": (pa.array([0.1, 1e300]), ["0.1", "1e+300"]),
    "truth": (pa.array([True, False]), ["true", "false"]),
    "day": (pa.array([date(2026, 1, 2), None]), ["2026-01-02", None]),
    "time": (pa.array([datetime(2026, 1, 2, 3, 4), None]), ["2026-01-02T03:04:00", None]),
    "money": (pa.array([Decimal("1.20"), None]), ["1.20", None]),
    "class": (pa.array(["dog", "cat"]).dictionary_encode(), ["dog", "cat"]),
    "box": (pa.array([[0.1, 2], []], pa.list_(pa.float32())), ["[0.1,2.0]", "[]"]),
    "nested": (
        pa.array([{"z": [date(2026, 1, 2)], "a": {"b": "ä"}}, {"z": None, "a": None}]),
        ['{"z":["2026-01-02"],"a":{"b":"ä"}}', '{"z":null,"a":null}'],
    ),
    "a.dot": (pa.array(["x", "y"]), ["x", "y"]),
    "nothing": (pa.nulls(2), [None, None]),
}
"""Columns of Parquet, and what becomes of them."""


@pytest.mark.parametrize("kind", ["table", "manifest"])
def test_columns_of_parquet_are_texts_or_the_json_of_what_they_are(job: JobFolder, kind: str) -> None:
    columns, carry = {name: values for name, (values, _) in TYPED.items()}, json.dumps([*TYPED])
    if kind == "table":
        table(job, columns, carry, 2)
    else:
        job.add(*numbered(2))
        pq.write_table(pa.table({**columns, "path": numbered(2)}), job.folder / "list.parquet")
        read_from(job, f"kind: manifest, root: images, path: list.parquet, carry: {carry}")
    job.run().expect(0)
    assert {name: [row[name] for row in job.rows()] for name in TYPED} == {
        name: texts for name, (_, texts) in TYPED.items()
    }


def test_values_of_a_table_that_are_no_texts_or_too_long_cost_a_note(job: JobFolder) -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.array([0, 1, 2, 3], pa.int32()).buffers()[1], pa.py_buffer(b"a\xffb")]
    )
    years = pa.array([0, 0, 10**8], pa.int32()).cast(pa.date32())
    table(job, {"t": ["x" * LARGE, "x" * (LARGE + 1), ""], "b": broken, "day": years}, "[t, b, day]", 3)
    job.run().expect(0)
    assert [row["t"] for row in job.rows()] == ["x" * LARGE, None, ""]
    assert [row["b"] for row in job.rows()] == ["a", None, "b"]
    assert [row["day"] for row in job.rows()] == ["1970-01-01", "1970-01-01", None]
    found = notes(job.out)
    assert found["all.parquet/000000001"] == [
        f"t is null: {LARGE + 1} bytes, more than {LARGE}",
        "b is null: it is not UTF-8",
    ]
    assert [len(found[key]) for key in sorted(found)] == [2, 1]


def test_rows_of_a_table_in_any_order_and_with_several_workers_have_their_own_values(job: JobFolder) -> None:
    table(job, {"label": [f"label {index}" for index in range(9)]}, "[label]", 9)
    job.run("--set", "run.workers=2", "--set", "run.chunk_items=9").expect(0)
    assert told(job, "label") == [(f"all.parquet/{index:09d}", f"label {index}") for index in range(9)]


@pytest.mark.parametrize(
    ("columns", "carry", "said"),
    [
        ({"label": [1]}, "[split]", "'split' is not there what to do: reader.carry: some of label"),
        ({"label": [1]}, "[label, image]", "'image' is binary, which holds bytes and no text"),
        (
            {"deep": [[{"x": b"x"}]]},
            "[deep]",
            "'deep' is list<element: struct<x: binary>>, which holds bytes",
        ),
    ],
)
def test_columns_that_a_table_has_not_or_that_hold_bytes_are_refused(
    job: JobFolder, columns: dict[str, Any], carry: str, said: str
) -> None:
    table(job, columns, carry, 1)
    failed = " ".join(job.run().expect(2).stderr.split())
    assert said in failed.replace("item:", "element:")
    assert not list(job.out.glob("part-*"))


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl", "list.parquet"])
def test_columns_that_a_manifest_has_not_are_refused(job: JobFolder, name: str) -> None:
    labelled(job, 2, name, carry="[label, gone]")
    failed = " ".join(job.run().expect(2).stderr.split())
    assert "'gone'" in failed
    assert "reader.carry: some of " in failed
    assert "split" in failed.partition("some of")[2]
    job.file.write_text(job.file.read_text().replace("[label, gone]", "[label]"))
    job.run().expect(0)


def test_bytes_in_a_manifest_are_refused(job: JobFolder) -> None:
    job.add("a.jpg")
    pq.write_table(pa.table({"path": ["a.jpg"], "raw": [b"x"]}), job.folder / "list.parquet")
    read_from(job, "kind: manifest, root: images, path: list.parquet, carry: [raw]")
    assert "'raw' is binary" in " ".join(job.run().expect(2).stderr.split())


def test_names_that_cannot_be_columns_are_refused_with_their_place(job: JobFolder) -> None:
    labelled(job, 1, carry="[label, path, pts_s, label, features, top_k, width, detections]")
    lines = job.run().expect(2).stderr
    for name in ("path", "pts_s", "features", "top_k", "width", "detections"):
        assert f"'{name}' is a column of the results" in " ".join(lines.split())
    assert "job.yaml:2:" in lines
    assert "reader.carry.3: 'label' is there twice" in " ".join(lines.split())
    job.file.write_text(job.file.read_text().replace("[label, path", "['', path"))
    assert "reader.carry.0" in job.run().expect(2).stderr
    job.write(reader="carry: [label]")
    assert "unknown key 'carry'" in job.run().expect(2).stderr.replace(
        "reader.images.carry", "carry"
    ).replace("reader.carry", "carry")


@pytest.mark.parametrize(("fields", "name"), [("[top_k]", "label_1"), ("[boxes]", "label")])
def test_columns_that_csv_makes_itself_are_refused_there_alone(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch, fields: str, name: str
) -> None:
    use_boxes(monkeypatch)
    job.write(kind="csv", fields=fields)
    job.add("a.jpg")
    manifest(job, [{"path": "a.jpg", name: "=mine"}])
    read_from(job, f"kind: manifest, root: images, path: list.csv, carry: [{name}]")
    assert f"the writer csv makes a column '{name}' itself" in " ".join(job.run().expect(2).stderr.split())
    job.file.write_text(job.file.read_text().replace("kind: csv", "kind: jsonl"))
    job.run().expect(0)
    assert resnet_pipe.read(job.out).to_table()[name].to_pylist() == ["=mine"]


ODD = ["007", "=1+1", "2026-01-02", "two\nlines, \"quoted\"\r\n", "true", "", "x" * LARGE, None]  # fmt: skip
"""Values that a reader of text would take for something else."""


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_read_gives_texts_as_they_are(job: JobFolder, cli: Cli, kind: str) -> None:
    fields = "[top_k]" if kind == "csv" else "[features, top_k]"
    job.write(kind=kind, fields=fields, chunk_items=3)
    table(job, {"label": ODD, "plain": [str(index) for index in range(8)]}, "[label, plain]", 8)
    job.run().expect(0)
    rows = resnet_pipe.read(job.out).to_table()
    assert rows.schema.field("label").type == pa.string()
    assert rows["plain"].to_pylist() == [str(index) for index in range(8)]
    found = rows["label"].to_pylist()
    if kind == "csv":  # which has no null, and no formulas
        found = [text.removeprefix("'") for text in found[:-1]] + [found[-1] or None]
    assert found == ODD
    assert "rows differ" not in cli("diff", job.out, job.out, "--max", "0").expect(0).stderr
    cli("check", job.out).expect(0)


@pytest.mark.parametrize("layout", ["per_source", "matrix"])
def test_the_index_of_arrays_has_the_columns(job: JobFolder, layout: str) -> None:
    job.write(writer=f"[{{kind: npy, path: out, layout: {layout}}}, {{kind: parquet, fields: [features]}}]")
    labelled(job, 3)
    rows = [
        {"path": name, "label": label, "split": ""} for name, label in zip(numbered(3), "=bc", strict=True)
    ]
    manifest(job, rows)
    job.run().expect(0)
    rows[2]["label"] = "d"
    manifest(job, rows)
    assert "1 source done" in job.run().expect(0).stdout
    files = job.out.glob("part-*.index.csv") if layout == "matrix" else (job.out / "npy").glob("*.csv")
    lines = lines_of(files)
    assert [(line["label"], line["split"]) for line in lines] == [("'=", ""), ("b", ""), ("d", "")]
    assert {tuple(line)[-4:] for line in lines} == {("frame_index", "pts_s", "label", "split")}
    assert [label for _, label in told(job, "label")] == ["=", "b", "d"]
    assert_clean(job.out)


def test_lines_of_boxes_and_files_of_single_images(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    use_boxes(monkeypatch)
    others = "{kind: coco}, {kind: megadetector}, {kind: jsonl}, {kind: images, draw: boxes}"
    job.write(writer=f"[{{kind: csv, path: out, fields: [boxes]}}, {others}]")
    labelled(job, 3, carry="[split]")
    job.add("none.jpg")
    with (job.folder / "list.csv").open("a") as file:
        file.write("@test,none.jpg,03\n")
    job.run().expect(0)
    lines = lines_of(job.out.glob("part-*.csv"))
    assert {(line["path"], line["split"]) for line in lines} == {
        *((name, "train") for name in numbered(3)),
        ("none.jpg", "'@test"),
    }
    assert len(lines) > 4, "each box has its line"
    assert list(lines[0])[-2:] == ["name", "split"]
    cli("check", job.out).expect(0)
    job.change("0001.jpg")
    job.run().expect(0)
    again = lines_of(job.out.glob("part-*.csv"))
    assert {line["split"] for line in again} == {"train", "'@test"}
    cli("check", job.out).expect(0)


def test_an_aggregate_has_one_value_for_each_source(job: JobFolder) -> None:
    job.write(writer="{kind: parquet, path: out, fields: [features], aggregate: mean}")
    labelled(job, 5)
    job.run().expect(0)
    assert told(job, "label") == [(name, f"0{at}") for at, name in enumerate(numbered(5))]


def test_a_worker_that_dies_loses_no_value(job: JobFolder) -> None:
    job.write(batch_size=8, chunk_items=8)
    labelled(job, 3)
    job.add("0003.jpg", comment="segfault")
    job.add("0004.jpg")
    rows = [{"path": name, "label": name[3], "split": None} for name in numbered(5)]
    manifest(job, rows)
    job.run(children=DECODER).expect(3)
    assert told(job, "label") == [(name, name[3]) for name in numbered(5) if name != "0003.jpg"]


def test_a_job_without_it_is_the_job_that_it_was_and_one_with_it_is_another(job: JobFolder) -> None:
    labelled(job, 2, carry="[]")
    job.run().expect(0)
    noted = json.loads((job.out / "_resnet_pipe" / "fingerprint.json").read_text())
    assert "reader.carry" not in noted["parts"]
    versions = {
        source["key"]: source["mtime_ns"] for record in records(job.out) for source in record["sources"]
    }
    assert versions == {name: (job.images / name).stat().st_mtime_ns for name in numbered(2)}
    job.file.write_text(job.file.read_text().replace("carry: []", "carry: [label]"))
    assert "reader.carry" in job.run().expect(2).stderr
    job.run("--fresh").expect(0)
    assert told(job, "label") == [("0000.jpg", "00"), ("0001.jpg", "01")]


def test_long_texts_of_many_images_do_not_fill_one_batch(job: JobFolder) -> None:
    job.write(batch_size=64, chunk_items=64, kind="jsonl", fields="[logits]", run="trace: true")
    members = [(f"{index:03d}.{end}", data) for index in range(40) for end, data in
               (("jpg", jpeg(index % 5)), ("txt", bytes([97 + index % 26]) * LARGE))]  # fmt: skip
    archive(job, "all.tar", members, "[txt]")
    job.run().expect(0)
    (shard,) = job.out.glob("part-*.jsonl")
    assert [row["txt"][:2] for row in read_lines(shard)] == [2 * chr(97 + index % 26) for index in range(40)]
    trace = json.loads((job.last_run() / "trace.json").read_text())
    assert len([event for event in trace["traceEvents"] if event["name"] == "infer"]) == 2


@pytest.mark.parametrize("name", ["all.tar", "all.tar.gz"])
def test_with_a_name_that_is_repeated_comes_the_text_that_is_repeated(job: JobFolder, name: str) -> None:
    members = [
        ("a.jpg", jpeg(0)), ("a.txt", b"first"),
        ("a.jpg", jpeg(1)), ("a.txt", b"second"),
        ("a.jpg", jpeg(2)),
    ]  # fmt: skip
    archive(job, name, members, "[txt]")
    job.run().expect(0)
    assert told(job, "txt") == [
        (f"{name}/a.jpg", "first"),
        (f"{name}/a.jpg#2", "second"),
        (f"{name}/a.jpg#3", None),
    ]


def test_a_column_that_is_there_twice_is_refused(job: JobFolder) -> None:
    job.add("a.jpg")
    (job.folder / "list.csv").write_text("path,label,label\na.jpg,x,y\n")
    read_from(job, "kind: manifest, root: images, path: list.csv, carry: [label]")
    assert "has the column 'label' twice" in job.run().expect(2).stderr


def test_rows_of_files_that_are_gone_stay_whatever_a_manifest_says_of_them(
    job: JobFolder,
) -> None:
    job.add(*numbered(12))
    rows = [{"path": name, "v": "1"} for name in numbered(12)]
    manifest(job, rows)
    read_from(job, "kind: manifest, root: images, path: list.csv, version: v")
    job.run().expect(0)
    manifest(job, [row | {"v": "2"} for row in rows])
    for name in numbered(11):
        (job.images / name).rename(job.folder / name)
    job.run().expect(0)
    assert job.paths() == numbered(12)
    for name in numbered(11):
        (job.folder / name).rename(job.images / name)
    assert "11 sources done" in job.run().expect(0).stdout
