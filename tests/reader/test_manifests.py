"""What manifests name: as their rows say it, and nothing outside their root."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from resnet_pipe.errors import RunError, SourceError, UsageError
from resnet_pipe.reader.manifests.section import ManifestSection
from resnet_pipe.reader.reader import Reader
from resnet_pipe.reader.source import Source
from tests.manifests import write_manifest
from tests.photographs import encode, photograph

KINDS = ("list.csv", "list.tsv", "list.jsonl", "list.parquet")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with `a.jpg` and `sub/b.jpg`, beside which there is `outside.jpg`."""
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    picture = encode(photograph().resize((60, 40)), "JPEG", quality=90)
    for file in (folder / "a.jpg", folder / "sub" / "b.jpg", tmp_path / "outside.jpg"):
        file.write_bytes(picture)
    return folder


def reader_of(path: Path, **keys: str) -> Reader:
    return ManifestSection.model_validate({"kind": "manifest", "path": str(path), **keys}).make_reader()


def keys_of(reader: Reader) -> list[str]:
    return [source.key for source in reader.list_sources()]


def failure(reader: Reader, key: str) -> tuple[str, str]:
    with pytest.raises(SourceError) as caught:
        list(reader.read(key, None, None, None, lambda: None))
    assert not caught.value.transient
    return caught.value.error, caught.value.message


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_one_source_however_often_and_however_it_is_named(data: Path, kind: str) -> None:
    names = ["sub/b.jpg", "a.jpg", "./a.jpg", "sub/../a.jpg", "sub//b.jpg", str(data / "a.jpg"), "a.jpg"]
    write_manifest(data / kind, names)
    assert keys_of(reader_of(data / kind)) == ["a.jpg", "sub/b.jpg"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_names_nothing_is_a_failure_that_says_which(data: Path, kind: str) -> None:
    write_manifest(data / kind, ["a.jpg", "", "sub/b.jpg", None, "  "])
    reader = reader_of(data / kind)
    first = 3 if kind in ("list.csv", "list.tsv") else 2  # the header is a row of CSV
    nameless = [f"{kind}//{first + add}" for add in (0, 2, 3)]
    sources = list(reader.list_sources())
    assert [source.key for source in sources] == ["a.jpg", *nameless, "sub/b.jpg"]
    assert all(source.is_absent == (source.key in nameless) for source in sources)
    for key in nameless:
        row = key.rpartition("/")[2]
        assert failure(reader, key) == ("missing", f"row {row} of {kind} names no file")


def test_a_file_that_is_not_there_is_a_source_that_is_absent(data: Path) -> None:
    (data / "loop").symlink_to("loop")
    names = ("a.jpg/b.jpg", "gone.jpg", "loop", "loop/c.jpg", "sub")
    write_manifest(data / "list.csv", names)
    reader = reader_of(data / "list.csv")
    assert list(reader.list_sources()) == [Source(key, 0, 0) for key in names]
    errors = ("unreadable", "missing", "not_a_file", "not_a_file", "not_a_file")
    assert [failure(reader, key)[0] for key in names] == list(errors)


@pytest.mark.parametrize("name", ["../outside.jpg", "sub/../../outside.jpg", "/etc/hostname", "OUTSIDE"])
def test_what_is_outside_the_root_is_not_read(data: Path, name: str) -> None:
    name = str(data.parent / "outside.jpg") if name == "OUTSIDE" else name
    write_manifest(data / "list.csv", [name])
    reader = reader_of(data / "list.csv")
    (source,) = reader.list_sources()
    assert source.is_absent
    error, message = failure(reader, source.key)
    assert error == "unsupported"
    assert message == f"not below {data}; reader.root says where files may be"
    (path,) = reader.files.as_files([source], data / "work", lambda: None)
    assert path.is_relative_to(data)
    assert not path.exists()


def test_relative_paths_start_from_the_root(data: Path) -> None:
    lists = data.parent / "lists"
    lists.mkdir()
    write_manifest(lists / "one.csv", ["a.jpg"])
    write_manifest(lists / "two.jsonl", [str(data / "sub/b.jpg"), "a.jpg"])
    (lists / "notes.txt").write_text("no manifest")
    reader = reader_of(lists, root=str(data))
    assert reader.root == data
    assert keys_of(reader) == ["a.jpg", "sub/b.jpg"]
    write_manifest(lists / "two.jsonl", [str(data / "sub/b.jpg"), f"//{data}/a.jpg", str(data / "a.jpg")[1:]])
    everything = reader_of(lists / "two.jsonl", root="/")
    assert keys_of(everything) == [f"{data}/{name}"[1:] for name in ("a.jpg", "sub/b.jpg")]


def test_an_address_is_refused_as_one(data: Path) -> None:
    write_manifest(data / "list.csv", ["s3://bucket/a.jpg", "https://example.org/../a.jpg"])
    reader = reader_of(data / "list.csv")
    for source in reader.list_sources():
        assert failure(reader, source.key)[0] == "unsupported"


@pytest.mark.parametrize("name", [b'"a\\u0000b"', b'"\\ud800.jpg"', b'"."', b"17", b'["a.jpg"]', b"null"])
def test_what_cannot_be_the_name_of_a_file_names_none(data: Path, name: bytes) -> None:
    (data / "list.jsonl").write_bytes(b'{"path": "a.jpg"}\n{"path": ' + name + b"}\n\n[]\n")
    assert keys_of(reader_of(data / "list.jsonl")) == ["a.jpg", "list.jsonl//2", "list.jsonl//4"]


def test_rows_of_spreadsheets_are_as_they_write_them(data: Path) -> None:
    text = '\ufefflabel;x,"path"\r\n"two\r\nlines",a.jpg\r\n\r\nshort\r\nlast,"sub/b.jpg"'
    (data / "list.csv").write_text(text, newline="")
    assert keys_of(reader_of(data / "list.csv")) == ["a.jpg", "list.csv//4", "sub/b.jpg"]


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "a/" * 3000 + "b.jpg"])
def test_what_is_too_long_for_a_name_names_no_file(data: Path, name: str) -> None:
    write_manifest(data / "list.csv", [name])
    assert keys_of(reader_of(data / "list.csv")) == ["list.csv//2"]


def test_one_file_is_one_source_however_json_writes_its_name(data: Path) -> None:
    (data / "é.jpg").write_bytes((data / "a.jpg").read_bytes())
    (data / "list.jsonl").write_text('{"path": "\\udcc3\\udca9.jpg"}\n{"path": "é.jpg"}\n')
    assert keys_of(reader_of(data / "list.jsonl")) == ["é.jpg"]


def test_a_column_is_found_however_many_others_there_are(data: Path) -> None:
    wide = json.dumps({f"column {number}": 0 for number in range(20)})
    (data / "list.jsonl").write_text(wide + '\n{"path": "a.jpg"}\n')
    assert keys_of(reader_of(data / "list.jsonl")) == ["a.jpg", "list.jsonl//1"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_no_manifest_and_is_not_waited_for(data: Path, kind: str) -> None:
    os.mkfifo(data / kind)
    with pytest.raises(RunError, match="not a regular file"):
        keys_of(reader_of(data / kind))
    (data / kind).unlink()
    (data / kind).symlink_to("/dev/zero")
    with pytest.raises(RunError, match="not a regular file"):
        keys_of(reader_of(data / kind))


@pytest.mark.parametrize("kind", ["list.csv", "list.jsonl"])
def test_a_line_without_an_end_is_not_read(data: Path, kind: str) -> None:
    with (data / kind).open("wb") as file:
        file.truncate(64 << 20)
    with pytest.raises(RunError, match="a line has more than"):
        keys_of(reader_of(data / kind))


@pytest.mark.parametrize("row", ['"a.jpg\nsub/b.jpg\n', '"a.jpg"x\nsub/b.jpg\n'])
def test_a_quote_that_swallows_rows_is_an_error(data: Path, row: str) -> None:
    (data / "list.csv").write_text("path\n" + row)
    with pytest.raises(RunError, match="cannot be read"):
        keys_of(reader_of(data / "list.csv"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_of_another_name_is_named(data: Path, kind: str) -> None:
    write_manifest(data / kind, ["a.jpg"], column="file")
    assert keys_of(reader_of(data / kind, column="file")) == ["a.jpg"]
    with pytest.raises(UsageError, match="has no column 'path'") as caught:
        keys_of(reader_of(data / kind))
    assert caught.value.remedy == "reader.column: one of label, file"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_manifest_stops_the_run_and_loses_nothing(data: Path, kind: str) -> None:
    """A source that a run leaves out would look as if it had disappeared."""
    write_manifest(data / kind, ["a.jpg", "sub/b.jpg"])
    whole = (data / kind).read_bytes()
    broken = [b"\xff\xfe\x00" * 10]
    broken += [b""] if kind != "list.jsonl" else []
    broken += [whole[:-9]] if kind in ("list.jsonl", "list.parquet") else []
    broken += [whole[:10] + b"\xff" + whole[11:]] if kind != "list.parquet" else []
    for bad in broken:
        (data / kind).write_bytes(bad)
        with pytest.raises((RunError, UsageError)) as caught:
            keys_of(reader_of(data / kind))
        assert kind in str(caught.value)
        assert "\n" not in caught.value.problem


def test_an_extension_that_tells_nothing_is_said(data: Path) -> None:
    (data / "list.txt").write_text("a.jpg\n")
    with pytest.raises(RunError, match="extension"):
        keys_of(reader_of(data / "list.txt"))


def test_a_root_has_to_be_a_directory(data: Path) -> None:
    write_manifest(data / "list.csv", ["a.jpg"])
    for root in ("/nowhere", str(data / "a.jpg")):
        with pytest.raises(ValidationError):
            reader_of(data / "list.csv", root=root)


def test_the_same_section_reads_files_in_a_trial(data: Path) -> None:
    write_manifest(data / "list.csv", ["a.jpg"])
    values = {"kind": "manifest", "path": str(data / "list.csv"), "root": str(data), "accept_truncated": True}
    section = ManifestSection.model_validate(values)
    said = section.over_files()
    assert said["kind"] == "images"
    assert said["accept_truncated"] is True
    assert not {"column", "root"} & said.keys()
    assert json.dumps(said)
