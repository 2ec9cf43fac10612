"""The boxes of stored rows, as lists of Parquet and JSON Lines hold them, or as lines of CSV."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.head.rows import BOXES, as_numpy
from resnet_pipe.writer.writer import RowKey

if TYPE_CHECKING:
    import pyarrow as pa

LISTS = BOXES[0]
"""The column of Parquet and JSON Lines."""
LINES = ("x1", "y1", "x2", "y2", "score", "label")
"""Those columns of CSV that are numbers; also the numbers of an entry of a list."""


def types() -> dict[str, pa.DataType]:
    """Return the types of these columns."""
    import pyarrow as pa

    each = {name: pa.int32() if name == "label" else pa.float32() for name in LINES}
    return {LISTS: pa.list_(pa.struct(list(each.items()))), **each}


def of_lists(column: pa.ListArray) -> NDArray[np.object_]:
    """Return the boxes of each row, shape (rows, 1): float32 (n, 6) as in `matching.Boxes`."""
    entries = column.flatten()
    boxes = np.stack([as_numpy(entries.field(name)).astype(np.float32) for name in LINES], axis=1)
    return _rows(np.split(boxes, np.diff(as_numpy(column.offsets)).cumsum()[:-1]))


def of_lines(columns: Sequence[pa.Array], keys: Sequence[RowKey]) -> NDArray[np.object_]:
    """Return the same of lines, each with the key of its item; a line without numbers is no box."""
    boxes = np.stack([as_numpy(one.fill_null(0)).astype(np.float32) for one in columns], axis=1)
    starts = np.cumsum([len(list(group)) for _, group in groupby(keys)])[:-1]
    return _rows([each[each[:, 4] > 0] for each in np.split(boxes, starts)])


def _rows(boxes: Sequence[NDArray[np.float32]]) -> NDArray[Any]:
    rows = np.empty((len(boxes), 1), np.object_)
    for row, each in enumerate(boxes):
        rows[row, 0] = each
    return rows
