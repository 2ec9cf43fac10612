"""The head of a network that tells classes apart: features, logits, and the best classes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.head.arrays import numbers, texts
from resnet_pipe.head.rows import ENTRIES, LABELS, ONE, Place, place_columns, place_schema
from resnet_pipe.head.scores import top_k
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
        """Return the names of these outputs, each once."""
        return tuple(dict.fromkeys(one.name for one in self._used))

    @property
    def widths(self) -> tuple[int, ...]:
        """Return how many values per image these outputs have, in the order of their names."""
        found = {one.name: one.width or 0 for one in self._used}
        return tuple(found[name] for name in self.names)

    @property
    def open(self) -> tuple[str, ...]:
        """Return the names of the outputs whose width is known only after a forward pass."""
        return tuple(one.name for one in self._used if one.width is None)

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
        """Return how many numbers a row has."""
        each = {FEATURES: _width(self.features), LOGITS: _width(self.logits), TOP_K: 2 * k}
        return sum(each[field] for field in fields)

    def schema(self, fields: Sequence[str], k: int) -> pa.Schema:
        """Return the columns of rows."""
        import pyarrow as pa

        entry = pa.struct([("index", pa.int32()), ("label", pa.string()), ("score", pa.float32())])
        each, best = {ONE: "logit"}, {ENTRIES: str(k), LABELS: json.dumps(self.labels)}
        columns = {
            FEATURES: pa.field(FEATURES, pa.list_(pa.float32(), _width(self.features))),
            LOGITS: pa.field(LOGITS, pa.list_(pa.float32(), _width(self.logits)), metadata=each),
            TOP_K: pa.field(TOP_K, pa.list_(entry), metadata=best),
        }
        return pa.schema([*place_schema(), *(columns[field] for field in fields)])

    def rows(
        self, outputs: Mapping[str, NDArray[np.float32]], places: Sequence[Place], schema: pa.Schema
    ) -> pa.RecordBatch:
        """Return the rows of some items."""
        import pyarrow as pa

        columns = place_columns(places)
        for field in list(schema)[len(columns) :]:
            if field.name == TOP_K:
                columns.append(self._top_k(outputs, field))
            else:
                output = self.features if field.name == FEATURES else self.logits
                assert output is not None  # noqa: S101 - `schema` has made no column without its output
                values = outputs[output.name]
                columns.append(pa.FixedSizeListArray.from_arrays(numbers(values), values.shape[1]))
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


def _width(output: Output | None) -> int:
    return (output.width or 0) if output is not None else 0
