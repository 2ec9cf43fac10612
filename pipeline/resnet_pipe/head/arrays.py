"""Arrow arrays of the values of rows, made and read without pandas.

`pyarrow.array` and `Array.to_numpy` import pandas wherever that is installed, only to ask whether a Series is
meant: that took each run 0.2 seconds of a processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

if TYPE_CHECKING:
    import pyarrow as pa


def numbers(values: NDArray[np.generic]) -> pa.Array:
    """Return numbers as an Arrow array, row after row; without a copy if they lie in memory like that."""
    import pyarrow as pa

    flat = values.ravel()
    return pa.Array.from_buffers(pa.from_numpy_dtype(flat.dtype), len(flat), [None, pa.py_buffer(flat)])


def as_numpy(array: pa.Array) -> NDArray[Any]:
    """Return the numbers of an Arrow array without nulls; without a copy, not to be changed."""
    return np.from_dlpack(array)


def numbers_or_null(values: Sequence[float | None], dtype: DTypeLike) -> pa.Array:
    """Return numbers of a type as an Arrow array, with null for None."""
    import pyarrow as pa

    given = np.array([value is not None for value in values], np.bool_)
    filled = np.array([0 if value is None else value for value in values], dtype)
    validity = None if given.all() else pa.py_buffer(np.packbits(given, bitorder="little"))
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(filled.dtype), len(filled), [validity, pa.py_buffer(filled)]
    )


def texts(values: Sequence[str]) -> pa.Array:
    """Return texts of at most 2 GiB, all together, as an Arrow array of strings."""
    import pyarrow as pa

    encoded = [value.encode() for value in values]
    ends = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(text) for text in encoded], out=ends[1:])
    return pa.Array.from_buffers(
        pa.string(), len(encoded), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    )
