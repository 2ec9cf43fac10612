"""Boxes on a picture: where the boxes are, in the colours of their classes, labels legible and apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from resnet_pipe.writer.annotated.box_painter import BoxPainter, colour_of
from resnet_pipe.writer.annotated.seen import Boxes
from resnet_pipe.writer.writer import Written
from tests.photographs import encode, photograph
from tests.reader.reading import read
from tests.videos import SAMPLES, make
from tests.writer.annotated.test_images import load
from tests.writer.boxes import NAMES, Found, batch, columns
from tests.writer.shards import section, target

Picture = NDArray[np.uint8]
Share = tuple[float, float, float, float]


def boxes(corners: Sequence[Share], labels: Sequence[int] | None = None) -> Boxes:
    count = len(corners)
    return Boxes(
        np.array([count]),
        np.array(corners, np.float32).reshape(count, 4),
        np.array(range(count) if labels is None else labels, np.int32),
        np.linspace(0.9, 0.2, count, dtype=np.float32),
    )


def grey(width: int, height: int) -> Picture:
    return np.full((height, width, 3), 128, np.uint8)


def drawn(width: int, height: int, seen: Boxes, names: Sequence[str] = NAMES) -> Picture:
    picture = grey(width, height)
    BoxPainter(width, height, names, None).draw(picture, seen)
    return picture


def of_colour(picture: Picture, label: int) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = (picture == colour_of(label)).all(axis=2)
    return mask


@pytest.mark.parametrize(("width", "height"), [(200, 150), (1000, 700), (4000, 3000), (700, 1000)])
def test_a_box_is_a_line_around_its_area_and_leaves_what_is_in_it(width: int, height: int) -> None:
    picture = drawn(width, height, boxes([(0.25, 0.5, 0.75, 0.9)], [2]))
    rows, across = np.nonzero(of_colour(picture, 2))
    assert (int(across.min()), int(across.max()) + 1) == (width // 4, width * 3 // 4)
    assert int(rows.max()) + 1 == round(height * 0.9)
    middle = picture[int(height * 0.6) : int(height * 0.8), int(width * 0.35) : int(width * 0.65)]
    assert (middle == 128).all()
    line = of_colour(picture, 2)[int(height * 0.7), : width // 2].sum()
    assert max(1, width // 1000) <= line <= max(2, width // 250)


@pytest.mark.parametrize("width", [200, 1000, 4000])
def test_a_label_is_as_large_as_the_picture_asks_and_never_too_small(width: int) -> None:
    picture = drawn(width, width * 3 // 4, boxes([(0.2, 0.4, 0.9, 0.9)], [2]))
    # Above the box, in the column at its left, is the ground of the label.
    height = of_colour(picture, 2)[: width * 3 // 10, int(width * 0.2)].sum()
    assert height >= 14
    assert 1 / 50 < height / (width * 3 / 4) < (1 / 8 if width < 500 else 1 / 20)


@pytest.mark.parametrize("corners", [(0, 0, 1, 1), (0, 0, 0.02, 0.02), (0.98, 0.98, 1, 1), (0.5, 0, 1, 1)])
def test_a_label_is_within_the_picture(corners: Share) -> None:
    whole = drawn(400, 300, boxes([(0.3, 0.5, 0.8, 0.9)], [0]))
    at_edge = drawn(400, 300, boxes([corners], [0]))
    ground = [int(of_colour(picture, 0)[:, :].sum()) for picture in (whole, at_edge)]
    letters = [
        int((picture.max(axis=2) < 60).sum() + (picture.min(axis=2) > 200).sum())
        for picture in (whole, at_edge)
    ]
    assert min(ground) > 300
    assert min(letters) > 60


def test_better_boxes_are_on_top_of_others_and_keep_their_labels() -> None:
    same = (0.3, 0.3, 0.7, 0.7)
    both, alone = drawn(400, 300, boxes([same, same], [0, 1])), drawn(400, 300, boxes([same], [0]))
    assert (both[of_colour(alone, 0)] == colour_of(0)).all()
    crowd = drawn(400, 300, boxes([same] * 100, [0] + [1] * 99))
    label = of_colour(crowd, 0)[: 300 * 3 // 10].sum()
    assert label > 100  # its ground, where no other label is


def test_labels_of_a_crowd_do_not_cover_each_other_or_the_picture() -> None:
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 850, (100, 2))
    areas = [(x, y, x + 120, y + 80) for x, y in starts.tolist()]
    for side, fewest in ((1000, 60), (300, 10)):
        painter = BoxPainter(side, side, ["thing"], None)
        spots = [spot for spot in painter.places(areas, [(15, 70)] * 100) if spot]
        covered = np.zeros((side, side), int)
        for left, top, right, bottom in spots:
            assert (right - left, bottom - top) == (70, 15)
            covered[top:bottom, left:right] += 1
        assert covered.max() == 1
        assert fewest <= len(spots)
        assert covered.mean() <= 0.25


@given(
    st.lists(st.tuples(*[st.floats(-0.125, 1.125, width=32)] * 4), max_size=6),
    st.integers(1, 120),
    st.integers(1, 120),
    st.text(st.characters(), max_size=40),
)
def test_any_box_can_be_drawn_on_a_picture_of_any_size(
    corners: list[Share], width: int, height: int, name: str
) -> None:
    picture = drawn(width, height, boxes(corners, [0] * len(corners)), [name])
    assert picture.shape == (height, width, 3)


def test_classes_that_are_neighbours_have_colours_far_apart() -> None:
    colours = np.array([colour_of(label) for label in range(80)])
    assert len(np.unique(colours, axis=0)) == 80
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 100


def draw(out: Path, root: Path, kind: str, *parts: list[Found]) -> Written:
    opened = section(kind, draw="boxes").open(target(out, columns(), root))
    for part in parts:
        opened.append(batch(part))
    return opened.close()


def test_an_image_has_its_boxes_and_one_without_any_is_as_it_was(tmp_path: Path) -> None:
    small = photograph("chelsea.png").resize((450, 300))
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(encode(small, "PNG"))
    # Rows tell of another size than the picture has: boxes are where they belong nevertheless.
    box = (225.0, 300.0, 900.0, 600.0, 0.9, 1)
    written = draw(
        tmp_path / "out", tmp_path, "images", [Found("a.png", [box], size=(900, 600)), Found("b.png")]
    )
    assert written.failures == {}
    source = np.asarray(small)
    wanted = source.copy()
    BoxPainter(450, 300, NAMES, None).draw(wanted, boxes([(0.25, 0.5, 1, 1)], [1]))
    changed = (wanted != source).any(axis=2)
    ours = load(tmp_path / "out/images/a.png.jpg").astype(int)
    assert np.abs(ours - wanted)[changed].mean() < 40
    assert np.abs(ours - source)[changed].mean() > 60
    assert np.abs(load(tmp_path / "out/images/b.png.jpg").astype(int) - source).mean() < 5


def test_each_frame_of_a_video_has_the_boxes_of_the_last_one_that_was_looked_at(tmp_path: Path) -> None:
    make(tmp_path, SAMPLES["h264.mp4"])
    low, high = (0.0, 240.0, 640.0, 480.0, 0.9, 0), (0.0, 0.0, 640.0, 240.0, 0.9, 0)
    items = [Found("h264.mp4", [low], 0), Found("h264.mp4", [], 10), Found("h264.mp4", [high, low], 20)]
    written = draw(tmp_path / "out", tmp_path, "video", items[:1], items[1:])
    assert written.failures == {}
    before, after = (read(path).rows for path in (tmp_path / "h264.mp4", tmp_path / "out/video/h264.mp4.mp4"))
    assert len(before) == len(after)
    height = before[0].frame.shape[0]
    for frame, (upper, lower) in {0: (0, 1), 9: (0, 1), 10: (0, 0), 19: (0, 0), 20: (1, 1)}.items():
        difference = np.abs(after[frame].frame.astype(int) - before[frame].frame).max(axis=2)
        edges = difference[height // 4 : height * 2 // 5, :2], difference[height * 3 // 4 : -8, :2]
        assert [bool(np.median(edge) > 40) for edge in edges] == [bool(upper), bool(lower)], frame
