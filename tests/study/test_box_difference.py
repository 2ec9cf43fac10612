"""`resnet-pipe diff` of directories with boxes: which both have, and how far apart these are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from resnet_pipe.errors import ExitCode
from tests.run.commands import Result
from tests.run.jobs import Cli, JobFolder, numbered, read_lines
from tests.sidecars import make_finder

Box = dict[str, Any]


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    """A job that has found objects in five images, an empty one among them. Do not change it."""
    finder = make_finder(tmp_path_factory.mktemp("boxes") / "job", chunk_items=3)
    finder.add(*numbered(5))
    for name, *settings in (
        ("out",),
        ("parquet", "writer.kind=parquet"),
        ("csv", "writer.kind=csv"),
        ("strict", "infer.score=0.5", "writer.kind=csv"),
        ("wide", "infer.nms=0.95", "preprocess.pad_value=90"),
        ("nothing", "infer.score=1", "writer.kind=csv"),
    ):
        changes = [f"writer.path={finder.folder / name}", *settings]
        finder.run(*(word for change in changes for word in ("--set", change))).expect(0)
    return finder


def told(result: Result) -> dict[str, Any]:
    printed: dict[str, Any] = json.loads(result.stdout)
    return printed


def boxes_in(out: Path) -> dict[str, list[Box]]:
    return {
        row["path"]: row["detections"]
        for path in sorted(out.glob("part-*.jsonl"))
        for row in read_lines(path)
    }


def iou(one: Box, other: Box) -> float:
    width = min(one["x2"], other["x2"]) - max(one["x1"], other["x1"])
    height = min(one["y2"], other["y2"]) - max(one["y1"], other["y1"])
    shared = max(width, 0) * max(height, 0)
    areas = [(box["x2"] - box["x1"]) * (box["y2"] - box["y1"]) for box in (one, other)]
    return float(shared / (sum(areas) - shared)) if sum(areas) > shared else float(one == other)


@pytest.mark.parametrize("other", ["parquet", "csv"])
def test_the_same_boxes_are_the_same_in_every_format(cli: Cli, finder: JobFolder, other: str) -> None:
    sides = finder.out, finder.folder / other
    found = told(cli("diff", *sides, "--max", "0", "--json").expect(0))
    total = sum(map(len, boxes_in(finder.out).values()))
    assert found["common_rows"] == 5
    assert total > 20
    assert found["boxes"] == {
        "iou": 0.9,
        **dict.fromkeys(("a", "b"), total),
        "matched": 1.0,
        **dict.fromkeys(("only_a", "only_b"), 0),
        **{
            f"{which}{what}": 0.0
            for which in ("mean", "max")
            for what in ("_difference", "_score_difference")
        },
        "worst": [],
    }
    assert (found["similarity"], found["classes"], found["beyond"]) == (None, None, 0)


def test_boxes_that_one_side_lacks_are_counted_and_judged(cli: Cli, finder: JobFolder) -> None:
    sides = finder.out, finder.folder / "strict"
    kept = {path: [box["score"] > 0.5 for box in boxes] for path, boxes in boxes_in(finder.out).items()}
    total, strict = (sum(map(count, kept.values())) for count in (len, sum))
    assert 0 < strict < total
    share = 2 * strict / (total + strict)
    found = told(cli("diff", *sides, "--max", 1 - share - 0.01, "--json").expect(ExitCode.FAILED))
    boxes = found["boxes"]
    assert (boxes["a"], boxes["b"], boxes["only_a"], boxes["only_b"]) == (total, strict, total - strict, 0)
    assert boxes["matched"] == pytest.approx(share)
    assert (boxes["max_difference"], found["beyond"]) == (0.0, total - strict)
    lacking = {path: len(flags) - sum(flags) for path, flags in kept.items()}
    assert {key[0]: count for key, count in boxes["worst"]} == {path: n for path, n in lacking.items() if n}
    cli("diff", *sides, "--max", 1 - share + 0.01).expect(0)
    cli("diff", *sides).expect(0)
    lines = cli("diff", *sides, "--max", "0.001").expect(ExitCode.FAILED).stdout.splitlines()
    assert any(line.endswith(f"{total - strict} of {total}") for line in lines)
    assert f"--max 0.001: FAIL, {1 - share:.2%} of the boxes without a partner" in lines


def test_boxes_that_have_moved_are_as_far_apart_as_they_are(cli: Cli, finder: JobFolder) -> None:
    found = told(cli("diff", finder.out, finder.folder / "wide", "--json").expect(0))["boxes"]
    ours, theirs = boxes_in(finder.out), boxes_in(finder.folder / "wide")
    has_partner = [
        any(iou(box, other) > 0.9 and box["label"] == other["label"] for other in theirs[path])
        for path, boxes in ours.items()
        for box in boxes
    ]
    assert found["a"] - found["only_a"] <= sum(has_partner)
    assert found["a"] - found["only_a"] == found["b"] - found["only_b"] > 0
    assert 0 < found["mean_difference"] < found["max_difference"] < 60
    assert 0 < found["mean_score_difference"] < found["max_score_difference"] < 1


def test_features_are_judged_beside_boxes(cli: Cli, tmp_path: Path) -> None:
    both = make_finder(tmp_path / "both", features=True)
    both.add(*numbered(12))
    places = {}
    for name, *settings in (
        ("jsonl",),
        ("parquet", "writer.kind=parquet"),
        ("fewer boxes", "infer.score=0.5"),
        ("features alone", "writer.fields=[features]"),
    ):
        places[name] = both.folder / name
        changes = [f"writer.path={places[name]}", *settings]
        both.run(*(word for change in changes for word in ("--set", change))).expect(0)
    same = told(cli("diff", places["jsonl"], places["parquet"], "--max", "0", "--json").expect(0))
    assert same["similarity"] == {"of": "features", "mean": 1.0, "min": 1.0, "worst": []}
    assert (same["boxes"]["matched"], same["neighbours"], same["beyond"]) == (1.0, 1.0, 0)
    fewer = told(
        cli("diff", places["jsonl"], places["fewer boxes"], "--max", "0", "--json").expect(ExitCode.FAILED)
    )
    assert fewer["similarity"]["min"] == 1.0
    assert fewer["beyond"] == fewer["beyond_boxes"] == fewer["boxes"]["only_a"] > 0
    shard = places["jsonl"] / "part-000000.jsonl"
    lines = read_lines(shard)
    lines[0]["features"] = lines[0]["features"][::-1]
    shard.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    for other in ("parquet", "features alone"):
        sides = places[other], places["jsonl"]
        moved = told(cli("diff", *sides, "--max", "0.001", "--json").expect(ExitCode.FAILED))
        assert (moved["beyond"], moved["beyond_boxes"]) == (1, 0)
        said = cli("diff", *sides, "--max", "0.001").expect(ExitCode.FAILED).stdout
        assert said.endswith("--max 0.001: FAIL, 1 row beyond it\n")


def test_rows_without_any_box_are_rows(cli: Cli, finder: JobFolder) -> None:
    nothing = finder.folder / "nothing"
    found = told(cli("diff", nothing, nothing, "--max", "0", "--json").expect(0))
    assert found["common_rows"] == 5
    assert (found["boxes"]["matched"], found["boxes"]["max_difference"]) == (1.0, None)
    against = told(cli("diff", finder.out, nothing, "--max", "0.5", "--json").expect(ExitCode.FAILED))
    assert (against["boxes"]["matched"], against["boxes"]["only_b"]) == (0.0, 0)


def test_boxes_and_classes_have_nothing_to_compare(cli: Cli, finder: JobFolder, done: JobFolder) -> None:
    for path in done.images.iterdir():
        assert (finder.images / path.name).exists()
    said = cli("diff", finder.out, done.out).expect(ExitCode.USAGE).stderr
    assert "no field can be compared: A has boxes, and B has features, logits" in said
    assert "features, logits, top_k or boxes" in said
