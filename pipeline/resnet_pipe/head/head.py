"""The contract of a head: what a network's outputs mean, and how they become rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.head.detectors.settings import DetectorSettings
from resnet_pipe.head.rows import Place

if TYPE_CHECKING:
    import pyarrow as pa


class Head(Protocol):
    """The outputs that a job uses, and what becomes of them. Plain data.

    Attributes:
        MADE_OF: each field that it makes -> what it is made of.
    """

    MADE_OF: ClassVar[Mapping[str, str]]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the classes; empty without classes."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the network's outputs that it uses, each once."""

    @property
    def as_they_come(self) -> tuple[str, ...]:
        """Those of these that become columns as they come; what is left is for the detector."""

    @property
    def widths(self) -> tuple[int | None, ...]:
        """How many values per item these have, in their order; None where they are no rows of numbers."""

    @property
    def detector(self) -> DetectorSettings | None:
        """What makes detections of the other outputs, beside the engine; None if there are no others."""

    def numbers(self, fields: Sequence[str], k: int) -> int:
        """Return how many numbers a row has, at most, beside those that say where it is from."""

    def schema(self, fields: Sequence[str], k: int) -> pa.Schema:
        """Return the columns of rows: those of `rows.PLACE`, and those of the fields, in their order.

        Lists have at most k entries. What a writer must know of a column beside its type is in the column's
        metadata: see `rows`.
        """

    def rows(
        self, outputs: Mapping[str, NDArray[np.float32]], places: Sequence[Place], schema: pa.Schema
    ) -> pa.RecordBatch:
        """Return a row for each item.

        Outputs are float32, shape (items, width), by name; the schema is one that `schema` has given, with
        any metadata.
        """

    def to_json(self) -> dict[str, Any]:
        """Describe the outputs for records."""

    def describe(self) -> str:
        """Describe the outputs in words."""
