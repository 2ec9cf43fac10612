"""The contract of a head: it says what a network's outputs mean, and makes rows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.head.rows import Place

if TYPE_CHECKING:
    import pyarrow as pa


class Head(Protocol):
    """What becomes of the outputs of a network that a job uses.

    `MADE_OF`: each field that it makes -> the output that it is made of, `logits` (class values) or
    `features`.
    """

    MADE_OF: ClassVar[Mapping[str, str]]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of these outputs, each once."""

    @property
    def widths(self) -> tuple[int, ...]:
        """How many values per item these outputs have, in the order of their names."""

    def numbers(self, fields: Sequence[str], k: int) -> int:
        """Return how many numbers a row has, at most, beside those that say where it is from."""

    def schema(self, fields: Sequence[str], k: int) -> pa.Schema:
        """Return the columns of rows: those of `rows.PLACE`, and the fields, in their order.

        The outputs of the fields are among the head's; lists have at most k entries. What a writer must know
        of a column beside its type is in the column's metadata: see `rows`.
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
