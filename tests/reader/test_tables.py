"""Images inside Parquet files: of both forms, damaged ones, and in what order they are read."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resnet_pipe.errors import SourceError, UsageError
from resnet_pipe.reader.reader import Reader
from resnet_pipe.reader.tables.section import TableSection
from tests.tables import write_table


def reader_of(path: Path, **keys: str) -> Reader:
    return TableSection.model_validate({"kind": "table", "path": str(path), **keys}).make_reader()


def keys_of(reader: Reader) -> list[str]:
    return [source.key for source in reader.list_sources()]


def data(reader: Reader, key: str) -> bytes:
    return reader.files.read(key, lambda: None)


def error(reader: Reader, key: str) -> str:
    with pytest.raises(SourceError) as caught:
        data(reader, key)
    assert "\n" not in caught.value.message
    return caught.value.error


def images(count: int, size: int = 50) -> list[bytes]:
    return [number.to_bytes(4, "big") + bytes([number % 256]) * size for number in range(count)]


@pytest.mark.parametrize("nested", [True, False], ids=["struct", "bytes"])
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_every_row_is_a_source_in_any_order(tmp_path: Path, nested: bool, rows: int) -> None:
    expected = images(100)
    write_table(tmp_path / "a.parquet", expected, rows=rows, nested=nested)
    reader = reader_of(tmp_path)
    keys = keys_of(reader)
    assert keys == sorted(keys)
    assert keys[17] == "a.parquet/000000017"
    assert [data(reader, key) for key in keys] == expected
    order = list(range(100))
    random.Random(0).shuffle(order)
    assert [data(reader, keys[at]) for at in order] == [expected[at] for at in order]


def test_several_tables_are_read_in_turn(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_table(tmp_path / f"{name}.parquet", [name.encode() * 9, None, b""])
    reader = reader_of(tmp_path)
    keys = [f"{name}.parquet/{row:09d}" for row in range(3) for name in "ab"]
    assert sorted(keys) == keys_of(reader)
    assert [data(reader, key) for key in keys[:2]] == [b"a" * 9, b"b" * 9]
    assert [error(reader, key) for key in keys[2:]] == ["missing", "missing", "empty", "empty"]
    assert error(reader, "a.parquet/000000003") == "missing"


def test_the_order_is_that_of_keys_whatever_tables_are_called(tmp_path: Path) -> None:
    for name in ("a.parquet", "a.parquet-b.parquet"):
        write_table(tmp_path / name, [b"x"])
    assert keys_of(reader_of(tmp_path)) == ["a.parquet-b.parquet/000000000", "a.parquet/000000000"]


def test_a_row_with_a_path_and_no_bytes_is_a_failure(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": None, "path": "a.jpg"}, {"bytes": None, "path": None}, {"bytes": b"x", "path": "b.jpg"}]
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), tmp_path / "a.parquet")
    reader = reader_of(tmp_path)
    keys = keys_of(reader)
    assert [error(reader, key) for key in keys[:2]] == ["unsupported", "missing"]
    assert data(reader, keys[2]) == b"x"


def test_a_table_that_changes_has_other_versions(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", images(4))
    before = list(reader_of(tmp_path).list_sources())
    assert len({source.version for source in before}) == 4
    write_table(tmp_path / "a.parquet", images(5))
    assert not set(before) & set(reader_of(tmp_path).list_sources())


def test_a_table_is_read_anew_when_it_has_changed(tmp_path: Path) -> None:
    reader = reader_of(tmp_path)
    for count in (3, 5):
        expected = images(count)[::-1]
        write_table(tmp_path / "a.parquet", expected)
        assert [data(reader, key) for key in keys_of(reader)] == expected


def test_what_is_no_table_is_one_failure(tmp_path: Path) -> None:
    write_table(tmp_path / "cut.parquet", images(5))
    whole = (tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-20])
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "none.parquet").write_bytes(b"no table" * 100)
    reader = reader_of(tmp_path)
    assert {key: error(reader, key) for key in keys_of(reader)} == {
        "cut.parquet": "damaged",
        "empty.parquet": "empty",
        "none.parquet": "damaged",
    }
    (tmp_path / "none.parquet").unlink()
    assert error(reader, "none.parquet") == "missing"


def test_damage_costs_what_comes_after_it_in_its_row_group(tmp_path: Path) -> None:
    table = pa.table({"image": pa.array(images(90, 4000), pa.binary())})
    options = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=30, **options)
    group = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(1).column(0)
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    middle = group.data_page_offset + group.total_compressed_size // 2
    content[middle : middle + 40] = b"\xff" * 40
    (tmp_path / "a.parquet").write_bytes(content)
    reader = reader_of(tmp_path)
    keys = keys_of(reader)
    assert len(keys) == 90
    expected = images(90, 4000)
    assert [data(reader, key) for key in keys[:30]] == expected[:30]
    assert error(reader, keys[59]) == "damaged"
    assert error(reader, keys[59]) == "damaged"
    assert [data(reader, key) for key in keys[60:]] == expected[60:]


HOSTILE = """
import random, sys
from pathlib import Path
from resnet_pipe.errors import SourceError, UsageError
from resnet_pipe.reader.tables.section import TableSection

path, chance = Path(sys.argv[1]), random.Random(0)
whole = path.read_bytes()
footer = int.from_bytes(whole[-8:-4], "little") + 8
for _ in range(400):
    damaged = bytearray(whole)
    damaged[len(whole) - footer + chance.randrange(footer)] = chance.randrange(256)
    path.write_bytes(damaged)
    reader = TableSection(kind="table", path=str(path)).make_reader()
    try:
        for source, _ in zip(reader.list_sources(), range(20)):
            try:
                reader.files.read(source.key, lambda: None)
            except SourceError:
                pass
    except UsageError:
        pass
"""


def test_a_damaged_footer_does_not_end_the_process(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", images(20))
    subprocess.run([sys.executable, "-c", HOSTILE, tmp_path / "a.parquet"], check=True)


def test_an_error_of_the_disk_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = images(6, 4000)
    write_table(tmp_path / "a.parquet", expected, rows=6)
    reader = reader_of(tmp_path)
    keys = keys_of(reader)
    broken = [False]

    read = os.pread

    def flaky(descriptor: int, size: int, offset: int) -> bytes:
        if broken[0]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", flaky)
    assert data(reader, keys[0]) == expected[0]
    (tmp_path / "a.parquet").touch()
    broken[0] = True
    with pytest.raises(SourceError) as caught:
        data(reader, keys[1])
    assert (caught.value.error, caught.value.transient) == ("unreadable", True)
    broken[0] = False
    assert [data(reader, key) for key in keys] == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.struct([("bytes", pa.struct([("bytes", pa.binary())]))]), {"bytes": {"bytes": b"x"}}),
        (pa.struct([("bytes", pa.string())]), {"bytes": "x"}),
        (pa.list_(pa.binary()), [b"x"]),
    ],
)
def test_what_looks_like_bytes_and_is_not_is_refused(
    tmp_path: Path, kind: pa.DataType, value: object
) -> None:
    pq.write_table(pa.table({"image": pa.array([value], kind)}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="the column 'image' is "):
        keys_of(reader_of(tmp_path))


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    columns = [pa.array(["x"]), pa.array([b"x"])]
    pq.write_table(pa.Table.from_arrays(columns, names=["image", "image"]), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="is string and binary"):
        keys_of(reader_of(tmp_path))


def test_a_column_without_bytes_is_named(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", images(2), column="picture")
    assert len(keys_of(reader_of(tmp_path, column="picture"))) == 2
    with pytest.raises(UsageError, match="'image' is not there") as caught:
        keys_of(reader_of(tmp_path))
    assert caught.value.remedy == "reader.column: picture"
    with pytest.raises(UsageError, match="'label' is int64"):
        keys_of(reader_of(tmp_path, column="label"))
    pq.write_table(pa.table({"path": ["a.jpg"]}), tmp_path / "a.parquet")
    with pytest.raises(UsageError) as caught:
        keys_of(reader_of(tmp_path))
    assert "tables that have" in str(caught.value)
