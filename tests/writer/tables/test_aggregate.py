"""One row a source: what becomes of its frames."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from resnet_pipe.writer.rows import Rows, top_k
from resnet_pipe.writer.tables.aggregate import Aggregated
from resnet_pipe.writer.writer import Written
from tests.writer.shards import rows

WRITTEN = Written()


class Recorder:
    """A shard that keeps what it is given."""

    def __init__(self) -> None:
        self.rows: list[Rows] = []
        self.calls: list[str] = []

    def append(self, rows: Rows) -> None:
        self.rows.append(rows)

    def close(self) -> Written:
        self.calls.append("close")
        return WRITTEN

    def discard(self) -> None:
        self.calls.append("discard")


def video(key: str, count: int, seed: int = 0, width: int = 64) -> Rows:
    values = np.random.default_rng(seed).normal(size=(2, count, width)).astype(np.float32)
    return Rows([key] * count, list(range(count)), [n / 25 for n in range(count)], values[0], values[1])


def cancelling(key: str, count: int, seed: int = 0) -> Rows:
    """Return frames of which every third takes back a huge value, so that the order of a sum matters."""
    given = video(key, count, seed)
    for values in (given.features, given.logits):
        assert values is not None
        values[::3] *= 1e12
        values[2::3] = -values[: 3 * (count // 3) : 3]
    return given


def part_of(whole: Rows, start: int, stop: int) -> Rows:
    part = slice(start, stop)
    features = None if whole.features is None else whole.features[part]
    logits = None if whole.logits is None else whole.logits[part]
    return Rows(whole.path[part], whole.frame_index[part], whole.pts_s[part], features, logits)


def joined(*parts: Rows) -> Rows:
    return Rows(
        [path for part in parts for path in part.path],
        [frame for part in parts for frame in part.frame_index],
        [pts for part in parts for pts in part.pts_s],
        np.concatenate([part.features for part in parts if part.features is not None]),
        np.concatenate([part.logits for part in parts if part.logits is not None]),
    )


def aggregate(how: str, *parts: Rows, k: int = 0) -> list[Rows]:
    recorder = Recorder()
    shard = Aggregated(recorder, how, k)  # type: ignore[arg-type]
    for part in parts:
        shard.append(part)
    assert shard.close() is WRITTEN
    assert recorder.calls == ["close"]
    return recorder.rows


@pytest.mark.parametrize("how", ["mean", "max"])
def test_a_source_becomes_the_mean_or_the_maximum_of_its_frames_and_has_no_frame(how: str) -> None:
    given = video("a.mp4", 1000)
    (made,) = aggregate(how, given)
    assert (made.path, made.frame_index, made.pts_s, made.top_k) == (["a.mp4"], [None], [None], None)
    for ours, theirs in ((made.features, given.features), (made.logits, given.logits)):
        assert ours is not None
        assert theirs is not None
        assert ours.dtype == np.float32
        assert ours.shape == (1, 64)
        exact = getattr(theirs.astype(np.float64), how)(axis=0, keepdims=True)
        assert ours == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("how", ["mean", "max"])
def test_where_batches_begin_changes_no_bit(how: str) -> None:
    whole = joined(cancelling("a", 39), cancelling("b", 3, 1), cancelling("c", 60, 2))
    at_once = aggregate(how, whole)
    for cuts in ([0, 1, 102], [0, 40, 41, 102], [0, 13, 39, 43, 61, 62, 102], list(range(103))):
        in_parts = aggregate(how, *(part_of(whole, start, stop) for start, stop in pairwise(cuts)))
        assert [made.path for made in in_parts] == [["a"], ["b"], ["c"]]
        for ours, theirs in zip(in_parts, at_once, strict=True):
            assert ours.features is not None
            assert theirs.features is not None
            assert ours.features.tobytes() == theirs.features.tobytes()


def test_one_source_takes_nothing_from_another() -> None:
    first, second = video("a", 3), video("b", 2, 1)
    together = aggregate("max", joined(first, second))
    apart = aggregate("max", first) + aggregate("max", second)
    for ours, theirs in zip(together, apart, strict=True):
        assert ours.path == theirs.path
        assert np.array_equal(ours.features, theirs.features)  # type: ignore[arg-type]


def test_the_best_classes_are_those_of_the_aggregated_logits() -> None:
    logits = np.array([[9, 0, 8, 0], [0, 9, 8, 0]], np.float32)
    given = Rows(["a"] * 2, [0, 1], [0.0, 1.0], logits=logits, top_k=top_k(logits, 2))
    (made,) = aggregate("mean", given, k=2)
    assert made.features is None
    assert made.top_k is not None
    assert made.top_k.index.tolist() == [[2, 0]]
    wanted = top_k(np.array([[4.5, 4.5, 8, 0]], np.float32), 2)
    assert np.array_equal(made.top_k.score, wanted.score)


def test_an_image_stays_what_it_is() -> None:
    given = rows(["a.jpg", "b.jpg"])
    made = aggregate("mean", given)
    assert [one.path for one in made] == [["a.jpg"], ["b.jpg"]]
    assert given.features is not None
    for index, one in enumerate(made):
        assert np.array_equal(one.features, given.features[index : index + 1])  # type: ignore[arg-type]


def test_without_frames_there_are_no_rows() -> None:
    assert aggregate("mean") == []


def test_to_give_up_is_passed_on() -> None:
    recorder = Recorder()
    shard = Aggregated(recorder, "mean", 0)
    shard.append(video("a", 2))
    shard.discard()
    assert recorder.calls == ["discard"]
    assert recorder.rows == []
