"""The examples of docs/results.md, executed as they stand on the results of a job."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.networks import write_tiny
from tests.run.found import use_boxes
from tests.run.jobs import CROP, JobFolder, VideoFolder, number_in

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
WRITERS = """
  - {kind: parquet, path: out, fields: [features, top_k]}
  - {kind: npy, layout: %s}"""
VIDEOS = {"a.mkv": 0, "b.mkv": 100}
FRAMES = 12


def results(folder: Path, pixels: Path, layout: str) -> Path:
    job = VideoFolder(folder, pixels)
    for name, shift in VIDEOS.items():
        job.add_video(name, FRAMES, shift)
    job.describe(writer=WRITERS % layout, chunk_items=1)
    job.run().expect(0)
    return job.out


@pytest.fixture(scope="module")
def per_source(tmp_path_factory: pytest.TempPathFactory, pixels: Path) -> Path:
    """Results with an array for each source. Do not change them."""
    return results(tmp_path_factory.mktemp("per-source"), pixels, "per_source")


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory, pixels: Path) -> Path:
    """Results with an array for each chunk. Do not change them."""
    return results(tmp_path_factory.mktemp("matrix"), pixels, "matrix")


def execute(variables: dict[str, Any], *names: str) -> dict[str, Any]:
    """Execute the examples whose paragraphs name a library or layout, one after the other.

    Args:
        variables: that they begin with.
        names: each stands in one of these paragraphs alone.

    Returns:
        The variables at the end.
    """
    text = PAGE.read_text(encoding="utf-8")
    blocks = [
        (text[: match.start()].rstrip().rpartition("\n\n")[2], match[1])
        for match in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]
    for name in names:
        (code,) = (
            code for paragraph, code in blocks if f"[{name}]" in paragraph or f": {name}`" in paragraph
        )
        assert len([line for line in code.splitlines() if line and not line.startswith("import ")]) <= 2
        exec(compile(code, str(PAGE), "exec"), variables)  # noqa: S102 - our own page
    return variables


NUMBERS = [shift + index for shift in VIDEOS.values() for index in range(FRAMES)]
PATHS = [name for name in VIDEOS for _ in range(FRAMES)]


COLUMNS: dict[str, Callable[[Any], dict[str, list[Any]]]] = {
    "pyarrow": lambda rows: rows.to_pydict(),
    "pandas": lambda rows: rows.to_dict("list"),
    "polars": lambda rows: rows.to_dict(as_series=False),
}


@pytest.mark.parametrize("library", COLUMNS)
def test_a_table_has_every_row_in_order(library: str, per_source: Path) -> None:
    pytest.importorskip(library)
    columns = COLUMNS[library](execute({"out": per_source}, library)["rows"])
    assert columns["path"] == PATHS
    assert columns["frame_index"] == [*range(FRAMES), *range(FRAMES)]
    assert [number_in(features) for features in columns["features"]] == NUMBERS


@pytest.fixture(scope="module")
def as_text(tmp_path_factory: pytest.TempPathFactory, pixels: Path) -> Path:
    """Results in CSV and JSON Lines, and beside them an index of arrays. Do not change them."""
    job = VideoFolder(tmp_path_factory.mktemp("text"), pixels)
    for name, shift in {"=1+1.mkv": 0, "'b.mkv": 100}.items():
        job.add_video(name, FRAMES, shift)
    kinds = ("path: out, kind: csv", "kind: jsonl", "kind: npy, layout: matrix")
    job.describe(writer="".join(f"\n  - {{{kind}}}" for kind in kinds), chunk_items=1)
    job.run().expect(0)
    return job.out


@pytest.mark.parametrize("function", ["pandas.read_csv", "pandas.read_json"])
def test_text_has_every_row_and_every_name_as_it_is(function: str, as_text: Path) -> None:
    pytest.importorskip("pandas")
    rows = execute({"out": as_text}, function)["rows"]
    assert rows["path"].tolist() == ["'b.mkv"] * FRAMES + ["=1+1.mkv"] * FRAMES
    assert rows["frame_index"].tolist() == [*range(FRAMES), *range(FRAMES)]
    if function == "pandas.read_csv":
        assert "'=1+1.mkv" in (as_text / "part-000001.csv").read_text()
        assert set(rows["label_1"]) <= {f"class {index}" for index in range(10)}


@pytest.fixture
def boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results of a detector: four images, one of them without a box, and one that failed."""
    use_boxes(monkeypatch)
    job = JobFolder(tmp_path, write_tiny(tmp_path / "network.onnx"))
    job.add("a.jpg", "b.jpg", "c.jpg", "none.jpg")
    job.add_bad("bad.jpg")
    job.write(writer="[{path: out, kind: parquet, fields: [boxes]}, {kind: coco}, {kind: megadetector}]")
    job.run().expect(3)
    return job.out


def test_boxes_are_rows_of_their_own_and_files_of_other_tools(boxes: Path) -> None:
    pytest.importorskip("pycocotools")
    found = execute({"out": boxes}, "pandas", "explode", "pycocotools", "json")
    each = found["boxes"]
    assert set(each["path"]) == {"a.jpg", "b.jpg", "c.jpg"}
    assert {"width", "height", "x1", "y1", "x2", "y2", "score", "label", "name"} < set(each.columns)
    assert each["score"].tolist() == pytest.approx([each["score"] for each in found["results"].anns.values()])
    assert len(found["images"].imgs) == 4
    assert set(found["animals"]) == {"a.jpg", "b.jpg", "c.jpg"}
    assert sum(map(len, found["animals"].values())) == len(each)


def test_duckdb_queries_all_shards(per_source: Path) -> None:
    rows = execute({"out": per_source}, "DuckDB")["best"].fetchall()
    table = execute({"out": per_source}, "pyarrow")["rows"].to_pylist()
    best = {
        name: max((row for row in table if row["path"] == name), key=lambda row: row["top_k"][0]["score"])
        for name in VIDEOS
    }
    assert sorted(rows) == [(name, best[name]["pts_s"]) for name in sorted(VIDEOS)]


def test_features_become_an_array_and_an_index_that_finds_them(per_source: Path) -> None:
    found = execute({"out": per_source}, "pandas", "NumPy", "FAISS")
    features = found["features"]
    assert (features.dtype, features.shape) == (np.float32, (2 * FRAMES, 3 * CROP * CROP))
    assert [number_in(row) for row in features] == NUMBERS
    _, nearest = found["index"].search(features, 1)
    assert nearest[:, 0].tolist() == list(range(len(NUMBERS)))


def test_the_array_of_a_source_comes_with_its_times(per_source: Path) -> None:
    found = execute({"out": per_source}, "per_source")
    assert [number_in(row) for row in found["features"]] == NUMBERS[:FRAMES]
    assert found["times"].tolist() == pytest.approx([index / 25 for index in range(FRAMES)])


def test_a_matrix_is_mapped_and_has_an_index(matrix: Path) -> None:
    found = execute({"out": matrix}, "matrix")
    assert len(found["matrices"]) == len(VIDEOS)
    assert all(isinstance(each, np.memmap) for each in found["matrices"])
    assert [number_in(row) for each in found["matrices"] for row in each] == NUMBERS
    assert found["index"]["path"].tolist() == PATHS
    assert found["index"]["frame_index"].tolist() == [*range(FRAMES), *range(FRAMES)]


def test_what_the_outputs_hold_is_read_from_the_metadata(per_source: Path) -> None:
    outputs = execute({"out": per_source}, "pyarrow.parquet")["outputs"]
    assert outputs["features"] == {"output": "features", "width": 3 * CROP * CROP}
    assert outputs["activation"] == "softmax"
