"""The rows of a shard: what the stages before the writer hand to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from resnet_pipe.job.document import looks_at_disk
from resnet_pipe.job.location import located
from resnet_pipe.model.output import Activation

FieldName = Literal["features", "logits", "top_k"]


@dataclass(frozen=True)
class TopK:
    """The k largest classes of each row, best first.

    Attributes:
        index: int32, shape (rows, k).
        score: float32, shape (rows, k); see `scores`.
    """

    index: NDArray[np.int32]
    score: NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of a shard, sorted by path and frame.

    Attributes:
        path: the key of each row's source.
        frame_index: position in presentation order; None for an image.
        pts_s: presentation time in seconds; None for an image.
        features: float32, shape (rows, width), or None if the job does not ask for it.
        logits: float32, shape (rows, classes), or (rows, 1) if one value separates two classes; or None.
        top_k: or None.
    """

    path: list[str]
    frame_index: list[int | None]
    pts_s: list[float | None]
    features: NDArray[np.float32] | None = None
    logits: NDArray[np.float32] | None = None
    top_k: TopK | None = None

    def by_source(self) -> Iterator[tuple[str, slice]]:
        """Yield the key of each source, and which of the rows are its."""
        start = 0
        for end in range(1, len(self.path) + 1):
            if end == len(self.path) or self.path[end] != self.path[start]:
                yield self.path[start], slice(start, end)
                start = end


@dataclass(frozen=True)
class Layout:
    """The columns of a shard, and what is said about them in its metadata.

    Attributes:
        fields: what the job asks for, in the order of the columns.
        features: width of `features`; 0 if the network has none.
        classes: labels by class index.
        k: entries of `top_k`.
        metadata: model, its SHA-256, weights, preprocessing and engine, as text.
        binary: whether `logits` has one column, for two classes.
        activation: how scores are computed from `logits`.
    """

    fields: tuple[FieldName, ...]
    features: int
    classes: tuple[str, ...]
    k: int
    metadata: dict[str, str]
    binary: bool = False
    activation: Activation = "softmax"

    @property
    def logits(self) -> int:
        """Return the width of `logits`."""
        return 1 if self.binary else len(self.classes)


def only_top(rows: Rows, k: int) -> Rows:
    """Return the rows with at most the `k` best classes of each."""
    if rows.top_k is None or rows.top_k.index.shape[1] <= k:
        return rows
    return replace(rows, top_k=TopK(rows.top_k.index[:, :k], rows.top_k.score[:, :k]))


def top_k(logits: NDArray[np.float32], k: int, activation: Activation = "softmax") -> TopK:
    """Return the k best classes of each row with their scores.

    Equal scores are ordered by class index, so that the same logits always give the same rows.

    Args:
        logits: float32, shape (rows, classes), or (rows, 1): the larger, the more likely class 1.
        k: at most the number of classes.
        activation: how scores are computed from them.
    """
    values = scores(logits, activation)
    # A softmax or a sigmoid keeps the order, but may make equal what was not.
    order = logits if logits.shape[1] > 1 else values
    index = np.argsort(-order, axis=1, kind="stable")[:, :k].astype(np.int32)
    return TopK(index, np.take_along_axis(values, index, axis=1))


def scores(logits: NDArray[np.float32], activation: Activation) -> NDArray[np.float32]:
    """Return a score for each class: 0 to 1 if there is an activation or the network contains one.

    Args:
        logits: float32, shape (rows, classes), or (rows, 1) for two classes.
        activation: `softmax`: the scores of a row add up to 1; `sigmoid`: per class; `none`: the
            values unchanged.

    Returns:
        float32, shape (rows, classes); for a single column p, 1 - p and p.
    """
    values = logits
    if activation == "softmax":
        exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
        values = exponent / exponent.sum(axis=1, keepdims=True)
    elif activation == "sigmoid":
        values = np.exp(-np.logaddexp(np.float32(0), -logits))  # 1 / (1 + exp(-x)), which would overflow
    if logits.shape[1] == 1:
        values = np.concatenate([1 - values, values], axis=1)
    return values.astype(np.float32)


@looks_at_disk
def _directory(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError("expected the path of the output directory")
    path = located(value, info.context["base"] if info.context else Path())
    if path.exists() and not path.is_dir():
        raise ValueError(f"not a directory: {path}")
    return path.resolve()


class WriterSection(BaseModel):
    """What all writers have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[
        Path,
        BeforeValidator(_directory, json_schema_input_type=str),
        Field(description="output directory, created if missing"),
    ]
    k: Annotated[int, Field(ge=1, le=1000, description="number of entries in top_k")] = 5


class TableSection(WriterSection):
    """What the writers of numbers have in common."""

    aggregate: Annotated[
        Literal["none", "mean", "max"],
        Field(description="one row per source: the mean or the maximum over its frames"),
    ] = "none"
