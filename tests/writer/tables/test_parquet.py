"""Parquet shards: exact types, metadata, and row groups that a reader can take one by one."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resnet_pipe.writer.tables import parquet
from tests.writer.shards import CLASSES, WIDTH, bits, expected, join, merge, read, rows, schema, write

ENTRY = pa.struct([("index", pa.int32()), ("label", pa.string()), ("score", pa.float32())])
COLUMNS = {
    "path": pa.string(),
    "frame_index": pa.int64(),
    "pts_s": pa.float64(),
    "features": pa.list_(pa.float32(), WIDTH),
    "logits": pa.list_(pa.float32(), len(CLASSES)),
    "top_k": pa.list_(ENTRY),
}


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    """A shard that was written again."""
    made = schema("parquet")
    write(tmp_path / "old", "parquet", made, rows(["a", "c"]))
    write(tmp_path / "new", "parquet", made, rows(["b"]))
    return merge(tmp_path / "merged", "parquet", made, (tmp_path / "old", {"c"}), (tmp_path / "new", ()))


def test_the_columns_have_exactly_the_documented_types(tmp_path: Path, merged: Path) -> None:
    written = write(tmp_path / "shard", "parquet", schema("parquet"), rows(["a"]))
    empty = write(tmp_path / "empty", "parquet", schema("parquet"))
    for path in (written, empty, merged):
        found = pq.read_schema(path)
        assert {name: found.field(name).type for name in found.names} == COLUMNS


def test_the_metadata_names_what_made_the_rows(tmp_path: Path, merged: Path) -> None:
    written = write(tmp_path / "shard", "parquet", schema("parquet"), rows(["a"]))
    for path in (written, merged):
        metadata = pq.read_schema(path).metadata
        ours = {key: text.decode() for key, text in metadata.items() if key.startswith(b"resnet_pipe.")}
        assert ours == {b"resnet_pipe.model": "tiny", b"resnet_pipe.weights": "RANDOM ☃"}


def test_features_become_a_matrix_without_a_loop(tmp_path: Path) -> None:
    given = rows(["a", "b", "c", "d"])
    path = write(tmp_path / "shard", "parquet", schema("parquet"), given)
    table = pq.read_table(path, columns=["path", "features"])
    features = table["features"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    assert features.shape == (4, WIDTH)
    assert features.tobytes() == bits(given.features)


def test_rows_are_grouped_by_size_when_written_and_when_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = schema("parquet")
    parts = [rows([f"{part:02d}-{n}" for n in range(8)], seed=part) for part in range(10)]
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 4000)
    written = write(tmp_path / "shard", "parquet", made, *parts)
    merged = merge(tmp_path / "merged", "parquet", made, (tmp_path / "shard", ()))
    for path in (written, merged):
        file = pq.ParquetFile(path)
        sizes = [file.read_row_group(index).nbytes for index in range(file.num_row_groups)]
        assert len(sizes) > 2
        assert max(sizes) < 6000
        assert read(path, "parquet", made) == expected(join(*parts), made)


def test_small_shards_are_one_row_group(tmp_path: Path) -> None:
    parts = [rows([f"{part:02d}"], seed=part) for part in range(10)]
    path = write(tmp_path / "shard", "parquet", schema("parquet"), *parts)
    assert pq.ParquetFile(path).num_row_groups == 1


def test_labels_are_stored_once_and_paths_can_be_looked_up(tmp_path: Path) -> None:
    path = write(tmp_path / "shard", "parquet", schema("parquet"), rows(["a", "b", "c"]))
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
    assert "RLE_DICTIONARY" in columns["top_k.list.element.label"].encodings
    assert "RLE_DICTIONARY" not in columns["features.list.element"].encodings
    assert (columns["path"].statistics.min, columns["path"].statistics.max) == ("a", "c")


def test_a_shard_is_byte_for_byte_what_pyarrow_alone_writes(tmp_path: Path) -> None:
    made = schema("parquet")
    parts = [rows([f"{part}.mp4"] * 5, frames=True, seed=part) for part in range(3)]
    path = write(tmp_path / "shard", "parquet", made, *parts)
    plain = pa.schema(list(COLUMNS.items()), made.metadata)
    table = pa.Table.from_batches([part.batch(made) for part in parts]).cast(plain)
    pq.write_table(
        table.combine_chunks(),
        tmp_path / "plain.parquet",
        compression="snappy",
        use_dictionary=["path", "top_k.list.element.label"],
        write_statistics=["path", "frame_index"],
    )
    assert path.read_bytes() == (tmp_path / "plain.parquet").read_bytes()
