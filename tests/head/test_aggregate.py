"""One row a source: what becomes of its frames."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_pipe.head.aggregate import Aggregate, Result
from resnet_pipe.head.classify import Classify, top_k
from resnet_pipe.head.rows import Place
from resnet_pipe.model.output import Output

How = Literal["mean", "max"]
Given = tuple[list[Place], dict[str, NDArray[np.float32]]]
"""Frames, and the outputs for them."""


def video(key: str, count: int, seed: int = 0, width: int = 64) -> Given:
    values = np.random.default_rng(seed).normal(size=(2, count, width)).astype(np.float32)
    return [(key, n, n / 25) for n in range(count)], {"features": values[0], "logits": values[1]}


def cancelling(key: str, count: int, seed: int = 0) -> Given:
    """Return frames of which every third takes back a huge value, so that the order of a sum matters."""
    places, outputs = video(key, count, seed)
    for values in outputs.values():
        values[::3] *= 1e12
        values[2::3] = -values[: 3 * (count // 3) : 3]
    return places, outputs


def part_of(whole: Given, start: int, stop: int) -> Given:
    return whole[0][start:stop], {name: values[start:stop] for name, values in whole[1].items()}


def joined(*parts: Given) -> Given:
    names = parts[0][1]
    outputs = {name: np.concatenate([each[name] for _, each in parts]) for name in names}
    return [place for places, _ in parts for place in places], outputs


def aggregate(how: How, *parts: Given) -> list[Result]:
    made = Aggregate(how)
    return [*(result for part in parts for result in made.add(*part)), *made.end()]


@pytest.fixture(params=["mean", "max"])
def how(request: pytest.FixtureRequest) -> How:
    """How frames become one row."""
    name: How = request.param
    return name


def test_a_source_becomes_the_mean_or_the_maximum_of_its_frames_and_has_no_frame(how: How) -> None:
    places, outputs = video("a.mp4", 1000)
    ((made_places, made),) = aggregate(how, (places, outputs))
    assert made_places == [("a.mp4", None, None)]
    assert set(made) == {"features", "logits"}
    for name, ours in made.items():
        assert ours.dtype == np.float32
        assert ours.shape == (1, 64)
        exact = getattr(outputs[name].astype(np.float64), how)(axis=0, keepdims=True)
        assert ours == pytest.approx(exact, rel=1e-6)


def test_where_batches_begin_changes_no_bit(how: How) -> None:
    whole = joined(cancelling("a", 39), cancelling("b", 3, 1), cancelling("c", 60, 2))
    at_once = aggregate(how, whole)
    cuts: Sequence[Sequence[int]] = (
        [0, 1, 102], [0, 40, 41, 102], [0, 13, 39, 43, 61, 62, 102], range(103)
    )  # fmt: skip
    for cut in cuts:
        in_parts = aggregate(how, *(part_of(whole, start, stop) for start, stop in pairwise(cut)))
        assert [places for places, _ in in_parts] == [[(key, None, None)] for key in "abc"]
        for (_, ours), (_, theirs) in zip(in_parts, at_once, strict=True):
            assert ours["features"].tobytes() == theirs["features"].tobytes()


def test_one_source_takes_nothing_from_another() -> None:
    first, second = video("a", 3), video("b", 2, 1)
    together = aggregate("max", joined(first, second))
    apart = aggregate("max", first) + aggregate("max", second)
    for (our_places, ours), (their_places, theirs) in zip(together, apart, strict=True):
        assert our_places == their_places
        assert np.array_equal(ours["features"], theirs["features"])


def test_the_best_classes_are_those_of_the_aggregated_logits() -> None:
    logits = np.array([[9, 0, 8, 0], [0, 9, 8, 0]], np.float32)
    ((places, made),) = aggregate("mean", ([("a", 0, 0.0), ("a", 1, 1.0)], {"logits": logits}))
    head = Classify(Output("logits", "float32", (None, 4)), labels=tuple("wxyz"), activation="softmax")
    (row,) = head.rows(made, places, head.schema(["top_k"], 2)).to_pylist()
    wanted = top_k(np.array([[4.5, 4.5, 8, 0]], np.float32), 2)
    assert [entry["label"] for entry in row["top_k"]] == ["y", "w"]
    assert [entry["score"] for entry in row["top_k"]] == wanted.score[0].tolist()


def test_an_image_stays_what_it_is() -> None:
    values = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    made = aggregate("mean", ([("a.jpg", None, None), ("b.jpg", None, None)], {"features": values}))
    assert [places for places, _ in made] == [[("a.jpg", None, None)], [("b.jpg", None, None)]]
    for index, (_, ours) in enumerate(made):
        assert np.array_equal(ours["features"], values[index : index + 1])


def test_without_frames_there_are_no_rows() -> None:
    assert aggregate("mean") == []
