"""COCO files, as pycocotools reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from resnet_pipe.writer.writer import Committed
from tests.writer.boxes import NAMES, SIZE, Found, batch, columns, some
from tests.writer.shards import section, target

CHUNKS: tuple[list[Found], ...] = (
    [some("a.jpg", 3), Found("b/none.jpg"), some('c "☃".jpg', 1)],
    [some("0.mp4", count, frame * 10) for frame, count in enumerate((2, 0, 5))],
    [],
    [some("late.jpg", 60)],
)


def finish(
    folder: Path, chunks: Sequence[Sequence[Found]], kind: str = "coco", names: Sequence[str] = NAMES
) -> None:
    """Write a shard for each chunk, and the merged files of all of them, in a folder."""
    made = section(kind)
    committed = []
    for number, items in enumerate(chunks):
        shard = target(folder / f"chunk-{number}", columns(names))
        opened = made.open(shard)
        opened.append(batch(items, names))
        opened.close()
        committed.append(Committed(shard.shard(str(made.shard_suffix)), {}))
    (folder / kind).mkdir()
    made.finish(target(folder, columns(names)), committed)


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the merged files of all chunks."""
    folder = tmp_path_factory.mktemp("coco")
    finish(folder, CHUNKS)
    return folder / "coco"


@pytest.mark.parametrize(("first", "number"), [("animal", 1), ("__background__", 0)])
def test_category_1_is_the_first_class_that_is_no_background(tmp_path: Path, first: str, number: int) -> None:
    names = (first, *NAMES[1:])
    finish(tmp_path, CHUNKS, names=names)
    categories = json.loads((tmp_path / "coco" / "images.json").read_text())["categories"]
    assert categories == [{"id": each, "name": name} for each, name in enumerate(names[1 - number :], 1)]
    results = json.loads((tmp_path / "coco" / "detections.json").read_text())
    labels = [box[5] for chunk in CHUNKS for item in chunk for box in item.boxes]
    assert [each["category_id"] - number for each in results] == labels


def test_pycocotools_reads_images_classes_and_results(merged: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    truth = coco.COCO(str(merged / "images.json"))
    results = truth.loadRes(str(merged / "detections.json"))
    items = [item for chunk in CHUNKS for item in chunk]
    assert sorted(truth.getImgIds()) == list(range(1, len(items) + 1))
    assert [each["name"] for each in truth.loadCats(truth.getCatIds())] == list(NAMES)
    for number, item in enumerate(items, 1):
        (image,) = truth.loadImgs([number])
        assert (image["file_name"], image["width"], image["height"]) == (item.path, *SIZE)
        assert image.get("frame_index") == item.frame
        assert ("pts_s" in image) == (item.frame is not None)
        found = results.loadAnns(results.getAnnIds([number]))
        assert len(found) == len(item.boxes)
        for each, (left, top, right, bottom, score, label) in zip(found, item.boxes, strict=True):
            assert truth.loadCats([each["category_id"]])[0]["name"] == NAMES[label]
            assert each["score"] == float(str(np.float32(score)))
            assert each["bbox"] == pytest.approx([left, top, right - left, bottom - top], abs=1e-3)


def test_boxes_that_are_the_truth_have_the_best_precision(tmp_path: Path, merged: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    images = json.loads((merged / "images.json").read_text(encoding="utf-8"))
    results = json.loads((merged / "detections.json").read_text(encoding="utf-8"))
    known = [
        {**each, "id": number, "iscrowd": 0, "area": each["bbox"][2] * each["bbox"][3]}
        for number, each in enumerate(results, 1)
    ]
    (tmp_path / "truth.json").write_text(json.dumps({**images, "annotations": known}))
    truth = coco.COCO(str(tmp_path / "truth.json"))
    judged = evaluation.COCOeval(truth, truth.loadRes(str(merged / "detections.json")), "bbox")
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    assert judged.stats[0] == 1


def test_new_chunks_leave_the_numbers_of_images_as_they_are(tmp_path: Path) -> None:
    numbers = []
    for name, chunks in (("few", CHUNKS[:2]), ("all", CHUNKS)):
        (tmp_path / name).mkdir()
        finish(tmp_path / name, chunks)
        images = json.loads((tmp_path / name / "coco/images.json").read_text(encoding="utf-8"))["images"]
        numbers.append({(each["file_name"], each.get("frame_index")): each["id"] for each in images})
    assert numbers[0].items() < numbers[1].items()


def test_without_a_row_there_are_the_classes(tmp_path: Path) -> None:
    finish(tmp_path, [])
    images = json.loads((tmp_path / "coco/images.json").read_text(encoding="utf-8"))
    assert images["images"] == []
    assert [each["id"] for each in images["categories"]] == list(range(1, len(NAMES) + 1))
    assert json.loads((tmp_path / "coco/detections.json").read_text()) == []
