"""The head of a network that tells classes apart: features, logits, and the best classes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.head.rows import (
    ENTRIES,
    LABELS,
    ONE,
    Place,
    numbers,
    of_matrix,
    place_columns,
    place_schema,
    texts,
)
from resnet_pipe.model.output import HELD, Activation, Output

if TYPE_CHECKING:
    import pyarrow as pa

FEATURES, LOGITS, TOP_K = "features", "logits", "top_k"
FieldName = Literal["features", "logits", "top_k"]
"""The columns that it makes of the outputs, for the jobs that ask for them."""


@dataclass(frozen=True)
class Classify:
    """The outputs that a job or a study uses, and what their values mean.

    Attributes:
        MADE_OF: each field that it makes -> the output that it is made of, `logits` or `features`.
        logits: one value per class, or a single value for two classes; None if it is not used.
        features: the pooled values before the classifier, or None.
        activation: how scores are computed from `logits`.
    """

    MADE_OF: ClassVar[Mapping[str, str]] = {FEATURES: FEATURES, LOGITS: LOGITS, TOP_K: LOGITS}

    logits: Output | None = None
    features: Output | None = None
    labels: tuple[str, ...] = ()
    activation: Activation = "none"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of these outputs, each once."""
        return tuple(dict.fromkeys(one.name for one in self._used))

    @property
    def as_they_come(self) -> tuple[str, ...]:
        """Return all of them."""
        return self.names

    @property
    def widths(self) -> tuple[int, ...]:
        """How many values per item these outputs have, in their order; 0 where only a forward pass tells."""
        return tuple({one.name: _width(one) for one in self._used}.values())

    @property
    def detector(self) -> None:
        """Return None: all outputs become columns as they come."""

    @property
    def binary(self) -> bool:
        """Whether a single value separates two classes: the larger it is, the more likely the second one."""
        return self.logits is not None and self.logits.width == 1

    @property
    def classes(self) -> int:
        """Return the number of classes; 0 without a class output, or if it is not known before a run."""
        return 2 if self.binary else _width(self.logits)

    def with_widths(self, widths: Mapping[str, int]) -> Classify:
        """Return a copy with these output widths, by name."""

        def of(one: Output | None) -> Output | None:
            return replace(one, shape=(None, widths[one.name])) if one and one.name in widths else one

        return replace(self, logits=of(self.logits), features=of(self.features))

    def numbers(self, fields: Sequence[str], k: int) -> int:
        """Return how many numbers a row has, at most, beside those that say where it is from."""
        each = {FEATURES: _width(self.features), LOGITS: _width(self.logits), TOP_K: 2 * k}
        return sum(each[field] for field in fields)

    def schema(self, fields: Sequence[str], k: int) -> pa.Schema:
        """Return the columns of rows: those of `rows.PLACE`, and the fields, in their order.

        The outputs of the fields are among the head's; lists have at most k entries. What a writer must know
        of a column beside its type is in the column's metadata: see `rows`.
        """
        import pyarrow as pa

        entry = pa.struct([("index", pa.int32()), ("label", pa.string()), ("score", pa.float32())])
        each, best = {ONE: "logit"}, {ENTRIES: str(k), LABELS: json.dumps(self.labels)}
        columns = {
            FEATURES: features_field(self.features),
            LOGITS: pa.field(LOGITS, pa.list_(pa.float32(), _width(self.logits)), metadata=each),
            TOP_K: pa.field(TOP_K, pa.list_(entry), metadata=best),
        }
        return pa.schema([*place_schema(), *(columns[field] for field in fields)])

    def rows(
        self, outputs: Mapping[str, NDArray[np.float32]], places: Sequence[Place], schema: pa.Schema
    ) -> pa.RecordBatch:
        """Return a row for each item.

        Outputs are float32, shape (items, width), by name; the schema is one that `schema` has given, with
        any metadata.
        """
        import pyarrow as pa

        columns = place_columns(places)
        for field in list(schema)[len(columns) :]:
            if field.name == TOP_K:
                columns.append(self._top_k(outputs, field))
            else:
                output = self.features if field.name == FEATURES else self.logits
                assert output is not None  # noqa: S101 - `schema` has made no column without its output
                columns.append(of_matrix(outputs[output.name]))
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def to_json(self) -> dict[str, Any]:
        """Describe the outputs for records: name, width, and kind of values."""
        found: dict[str, Any] = {}
        if self.logits is not None:
            held = HELD[self.logits.ending]
            found[LOGITS] = {"output": self.logits.name, "width": self.logits.width, "holds": held}
        if self.features is not None:
            found[FEATURES] = {"output": self.features.name, "width": self.features.width}
        return found

    def describe(self) -> str:
        """Describe the outputs in words."""
        told = []
        if self.logits is not None:
            two = ", one value for two classes" if self.binary else ""
            told.append(f"{self.logits.describe()}: {HELD[self.logits.ending]}{two}")
        if self.features is not None:
            told.append(f"{self.features.describe()}: features")
        return "; ".join(told)

    @property
    def _used(self) -> tuple[Output, ...]:
        return tuple(one for one in (self.logits, self.features) if one is not None)

    @cached_property
    def _labels(self) -> pa.StringArray:
        # Arrow takes no half of a surrogate pair, which a JSON file may hold.
        return texts([label.encode(errors="replace").decode() for label in self.labels])

    def _top_k(self, outputs: Mapping[str, NDArray[np.float32]], field: pa.Field) -> pa.ListArray:
        import pyarrow as pa

        assert self.logits is not None  # noqa: S101 - as above
        best = top_k(outputs[self.logits.name], int(field.metadata[ENTRIES]), self.activation)
        index = numbers(best.index)
        entries = pa.StructArray.from_arrays(
            [index, self._labels.take(index), numbers(best.score)], fields=list(field.type.value_type)
        )
        count, k = best.index.shape
        return pa.ListArray.from_arrays(numbers(np.arange(count + 1, dtype=np.int32) * k), entries)


def features_field(output: Output | None) -> pa.Field:
    """Return the column of the features that an output holds."""
    import pyarrow as pa

    return pa.field(FEATURES, pa.list_(pa.float32(), _width(output)))


def _width(output: Output | None) -> int:
    return (output.width or 0) if output is not None else 0


@dataclass(frozen=True)
class TopK:
    """The k largest classes of each row, best first: int32 and float32, shape (rows, k); see `scores`."""

    index: NDArray[np.int32]
    score: NDArray[np.float32]


def top_k(logits: NDArray[np.float32], k: int, activation: Activation = "softmax") -> TopK:
    """Return the k best classes of each row, at most all of them, with their scores.

    Equal scores are ordered by class index, so that the same logits always give the same rows. Logits are
    float32, shape (rows, classes), or (rows, 1): the larger, the more likely class 1.
    """
    values = scores(logits, activation)
    # A softmax or a sigmoid keeps the order, but may make equal what was not.
    order = logits if logits.shape[1] > 1 else values
    index = np.argsort(-order, axis=1, kind="stable")[:, :k].astype(np.int32)
    return TopK(index, np.take_along_axis(values, index, axis=1))


def scores(logits: NDArray[np.float32], activation: Activation) -> NDArray[np.float32]:
    """Return a score for each class: 0 to 1 if there is an activation or the network contains one.

    By a softmax the scores of a row add up to 1; a sigmoid is per class. Logits are float32, shape (rows,
    classes), or (rows, 1) for two classes, whose scores are, of a value p, 1 - p and p.
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
