"""Writer npy: arrays that NumPy loads without any of our code."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from resnet_pipe.head.aggregate import Aggregate
from resnet_pipe.head.registry import FieldName
from resnet_pipe.reader.files import Folder
from resnet_pipe.writer.writer import Portion, Target, Written
from tests.writer.shards import WIDTH, Rows, columns, join, rows, section

Index = list[list[str]]


def target(directory: Path, field: FieldName = "features") -> Target:
    directory.mkdir(exist_ok=True)
    return Target(directory, "000007", columns((field,)), Folder.of([directory], True, frozenset()))


def write(
    directory: Path, *portions: Rows, field: FieldName = "features", layout: str = "per_source"
) -> Written:
    made = target(directory, field)
    opened = section("npy", field=field, layout=layout).open(made)
    for part in portions:
        opened.append(part.batch(made.schema))
    return opened.close()


def merge(out: Path, *portions: Portion, layout: str = "matrix") -> None:
    section("npy", layout=layout).merge(target(out), portions)


def load(path: Path) -> NDArray[np.float32]:
    array: NDArray[np.float32] = np.load(path, allow_pickle=False)
    assert array.dtype == np.float32
    return array


def load_index(path: Path) -> Index:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


def as_text(given: Rows) -> Index:
    """Return the lines of a matrix's index."""
    cells = zip(given.path, given.frame_index, given.pts_s, strict=True)
    return [["" if value is None else str(value) for value in line] for line in cells]


def same_bits(ours: NDArray[np.float32], theirs: NDArray[np.float32] | None) -> bool:
    return theirs is not None and ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes()


@pytest.fixture(params=["features", "logits"])
def field(request: pytest.FixtureRequest) -> FieldName:
    """What the arrays are made of."""
    name: FieldName = request.param
    return name


def test_each_source_has_an_array_of_its_name_with_a_row_a_frame(tmp_path: Path, field: FieldName) -> None:
    first, second = rows(["day 1/a.mp4"] * 700, frames=True), rows(["b.mp4"] * 3, frames=True, seed=1)
    written = write(tmp_path, first, second, field=field)
    for key, given in (("day 1/a.mp4", first), ("b.mp4", second)):
        assert same_bits(load(tmp_path / f"npy/{key}.npy"), getattr(given, field))
        assert load_index(tmp_path / f"npy/{key}.csv") == [
            ["frame_index", "pts_s"],
            *(line[1:] for line in as_text(given)),
        ]
        assert list(written.files[key]) == [Path(f"npy/{key}.npy"), Path(f"npy/{key}.csv")]
    assert written.failures == {}


def test_where_batches_begin_changes_no_byte(tmp_path: Path) -> None:
    portions = [rows([key] * 40, frames=True, seed=seed) for seed, key in enumerate(["a", "b", "c"])]
    whole = join(*portions)
    for layout in ("per_source", "matrix"):
        for name, cuts in (("one", [0, 120]), ("many", [0, 1, 39, 41, 80, 100, 120])):
            pieces = [part_of(whole, start, stop) for start, stop in pairwise(cuts)]
            write(tmp_path / f"{layout}-{name}", *pieces, layout=layout)
        assert contents(tmp_path / f"{layout}-one") == contents(tmp_path / f"{layout}-many")


def part_of(whole: Rows, start: int, stop: int) -> Rows:
    part = slice(start, stop)
    assert whole.features is not None
    return Rows(whole.path[part], whole.frame_index[part], whole.pts_s[part], whole.features[part])


def contents(directory: Path) -> dict[Path, bytes]:
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_matrix_has_the_rows_of_all_sources_and_can_be_mapped_into_memory(
    tmp_path: Path, field: FieldName
) -> None:
    given = join(rows(['a,"b"\r\n.jpg', "ä.jpg"]), rows(["c.mp4"] * 12, frames=True, seed=1))
    written = write(tmp_path, given, layout="matrix", field=field)
    mapped = np.load(tmp_path / "part-000007.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    assert same_bits(mapped, getattr(given, field))
    assert load_index(tmp_path / "part-000007.index.csv") == [
        ["path", "frame_index", "pts_s"],
        *as_text(given),
    ]
    assert written == Written()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part-000007.index.csv", "part-000007.npy"]


def test_an_array_is_byte_for_byte_what_numpy_saves(tmp_path: Path) -> None:
    given = rows(["a.mp4"] * 12, frames=True)
    assert given.features is not None
    np.save(tmp_path / "plain.npy", given.features)
    for layout, name in (("per_source", "npy/a.mp4.npy"), ("matrix", "part-000007.npy")):
        write(tmp_path, given, layout=layout)
        assert (tmp_path / name).read_bytes() == (tmp_path / "plain.npy").read_bytes()


def test_a_matrix_without_rows_has_their_width_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, layout="matrix")
    assert np.load(tmp_path / "part-000007.npy", mmap_mode="r").shape == (0, WIDTH)
    assert load_index(tmp_path / "part-000007.index.csv") == [["path", "frame_index", "pts_s"]]


def test_where_every_source_has_failed_there_are_no_arrays(tmp_path: Path) -> None:
    assert write(tmp_path) == Written()
    assert contents(tmp_path) == {}


def test_an_aggregated_source_is_one_row_without_a_frame(tmp_path: Path) -> None:
    given = rows(["a.mp4"] * 5, frames=True)
    assert given.features is not None
    made = Aggregate("max")
    places = list(zip(given.path, given.frame_index, given.pts_s, strict=True))
    assert list(made.add(places, {"f": given.features})) == []
    (([place], values),) = made.end()
    write(tmp_path, Rows([place[0]], [place[1]], [place[2]], values["f"]))
    assert same_bits(load(tmp_path / "npy/a.mp4.npy"), given.features.max(axis=0, keepdims=True))
    assert load_index(tmp_path / "npy/a.mp4.csv") == [["frame_index", "pts_s"], ["", ""]]


def test_a_merge_drops_what_is_gone_and_sorts_the_rest_by_path(tmp_path: Path) -> None:
    video = rows(["b.mp4"] * 5000, frames=True, seed=1)  # longer than a block
    old = join(rows(["a,1", "a\n2"]), video, rows(["z"], seed=2))
    new = rows(["a,1", "a,3", "c"], seed=3)
    write(tmp_path / "old", old, layout="matrix")
    write(tmp_path / "new", new, layout="matrix")
    portions = (tmp_path / "old", {"a,1", "z"}), (tmp_path / "new", {"c"})
    merge(tmp_path / "out", *portions)
    assert old.features is not None
    assert new.features is not None
    wanted = [
        ("a\n2", old, 1),
        ("a,1", new, 0),
        ("a,3", new, 1),
        *(("b.mp4", old, 2 + n) for n in range(5000)),
    ]
    index = load_index(tmp_path / "out/part-000007.index.csv")
    assert index[1:] == [as_text(given)[row] for _, given, row in wanted[:3]] + as_text(old)[2:-1]
    expected = np.stack([given.features[row] for _, given, row in wanted if given.features is not None])
    assert same_bits(load(tmp_path / "out/part-000007.npy"), expected)


def test_a_merge_of_a_merge_changes_no_byte(tmp_path: Path) -> None:
    write(tmp_path / "one", rows(["a", "b", "c"]), layout="matrix")
    write(tmp_path / "empty", layout="matrix")
    for source, merged in (("one", "two"), ("two", "three")):
        merge(tmp_path / merged, (tmp_path / source, ()), (tmp_path / "empty", ()))
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "three")


def test_the_index_of_a_matrix_holds_no_formula_and_a_merge_knows_what_its_cells_mean(tmp_path: Path) -> None:
    write(tmp_path / "old", rows(["'=a", "-b", "=a", "=c"]), layout="matrix")
    write(tmp_path / "new", rows(["+d"], seed=1), layout="matrix")
    portions = (tmp_path / "old", {"=a", "-b"}), (tmp_path / "new", ())
    merge(tmp_path / "out", *portions)
    assert [line[0] for line in load_index(tmp_path / "old/part-000007.index.csv")[1:]] == [
        "''=a", "'-b", "'=a", "'=c",
    ]  # fmt: skip
    assert [line[0] for line in load_index(tmp_path / "out/part-000007.index.csv")[1:]] == [
        "''=a", "'+d", "'=c",
    ]  # fmt: skip


def test_arrays_of_single_sources_are_not_merged(tmp_path: Path) -> None:
    write(tmp_path / "old", rows(["a"]))
    merge(tmp_path / "out", (tmp_path / "old", ()), layout="per_source")
    assert contents(tmp_path / "out") == {}


def test_a_chunk_that_is_given_up_leaves_no_file_open(tmp_path: Path) -> None:
    for layout in ("per_source", "matrix"):
        made = target(tmp_path)
        opened = section("npy", layout=layout).open(made)
        opened.append(rows(["a"], frames=True).batch(made.schema))
        opened.discard()  # a file that is left open is a ResourceWarning, and fails the test


@pytest.mark.parametrize(
    "wrong", [{"field": "top_k"}, {"layout": "rows"}, {"aggregate": "sum"}, {"fields": []}]
)
def test_what_cannot_be_an_array_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        section("npy", **wrong)


def test_arrays_are_written_as_float32_of_little_endian(tmp_path: Path) -> None:
    write(tmp_path, rows(["a"]))
    assert np.load(tmp_path / "npy/a.npy").dtype.str == "<f4"
