"""Manifests for tests, of the kind that their name says."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def write_manifest(file: Path, names: Sequence[str | None], column: str = "path") -> None:
    """Write one with a row for each name, after a column of labels."""
    rows = [{"label": f"label, {number}", column: name} for number, name in enumerate(names)]
    if file.suffix == ".parquet":
        pq.write_table(pa.table({"label": [row["label"] for row in rows], column: list(names)}), file)
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with file.open("w", newline="") as out:
            writer = csv.DictWriter(out, ["label", column], delimiter="\t" if file.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
