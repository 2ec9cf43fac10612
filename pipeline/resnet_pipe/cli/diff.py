"""diff: two directories of results compared."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import NoReturn

import click

from resnet_pipe.cli.terminal import show


def _accepted(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise click.BadParameter("expected a number from 0, such as 0.001")
    return value


@click.command()
@click.argument("a", metavar="OUT_A", type=click.Path(path_type=Path))
@click.argument("b", metavar="OUT_B", type=click.Path(path_type=Path))
@click.option(
    "--max",
    "accepted",
    type=float,
    metavar="X",
    callback=_accepted,
    help="Largest accepted difference of a row: 1 - cosine of its features, or else of its logits; or else 0"
    " for the same best class, 1 for another. Default: any.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def diff(a: Path, b: Path, accepted: float | None, as_json: bool) -> NoReturn:
    """Compare two directories of results: what has another network, engine or preprocessing changed?

    OUT_A and OUT_B are each the writer.path of a job. Rows of the same path and frame are
    compared: features and logits by their cosine similarity, features also by their nearest neighbours, top_k
    by its classes. Only committed rows of Parquet, CSV or JSON Lines are read, and nothing is changed.

    Exits with 0; with --max, with 1 if a row differs by more than that, or is in one directory only. With 2
    if there is nothing to compare.
    """
    from resnet_pipe.study import difference, difference_table

    found = difference.diff(a, b, accepted)
    show(json.dumps(found.to_json(), indent=1) if as_json else difference_table.table(found))
    sys.exit(found.exit_code)
