"""Parquet files with image bytes, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def write_table(
    file: Path, images: Sequence[bytes | None], column: str = "image", rows: int = 3, nested: bool = True
) -> None:
    """Write one as Hugging Face does, or with plain bytes; so many rows in a group."""
    values: list[Any] = list(images)
    kind = pa.binary()
    if nested:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        values = [None if image is None else {"bytes": image, "path": None} for image in images]
    table = pa.table({"label": list(range(len(values))), column: pa.array(values, kind)})
    pq.write_table(table, file, row_group_size=rows)
