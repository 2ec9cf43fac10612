"""diff: two directories of results compared."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import click

from resnet_pipe.cli.output import to_output
from resnet_pipe.cli.terminal import show
from resnet_pipe.report.one_line import on_one_line
from resnet_pipe.store.store import Output

if TYPE_CHECKING:
    from resnet_pipe.study.difference import Difference

_WIDTH = 24
"""Characters for a value of how a directory was made; longer ones have lines of their own."""


def _accepted(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise click.BadParameter("expected a number from 0, such as 0.001")
    return value


@click.command(short_help="Compare two directories of results.")
@click.argument("a", metavar="OUT_A", callback=to_output)
@click.argument("b", metavar="OUT_B", callback=to_output)
@click.option(
    "--max",
    "accepted",
    type=float,
    metavar="X",
    callback=_accepted,
    help="Largest accepted difference of a row: 1 - cosine of its features, and of its logits; without"
    " logits, 0 for the same best class, 1 for another; of boxes all together: 1 - the share that both have."
    " Default: any.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def diff(a: Output, b: Output, accepted: float | None, as_json: bool) -> NoReturn:
    """Compare two directories of results: what has another network, engine or preprocessing changed?

    OUT_A and OUT_B are each the writer.path of a job. Rows of the same path and frame are
    compared: features and logits by their cosine similarity, features also by their nearest neighbours, top_k
    by its classes, boxes by class and overlap. Only committed rows of Parquet, CSV or JSON Lines are read,
    and nothing is changed.

    Exits with 0; with --max, with 1 if a row differs by more than that, or is in one directory only. With 2
    if there is nothing to compare.
    """
    from resnet_pipe.ledger.mirror import on_this_machine
    from resnet_pipe.study import difference

    with on_this_machine(a) as ours, on_this_machine(b) as theirs:
        found = difference.diff(ours, theirs, accepted)
        sides = replace(found.a, output=str(a)), replace(found.b, output=str(b))
        found = replace(found, a=sides[0], b=sides[1])
    show(json.dumps(found.to_json(), indent=1) if as_json else "\n".join(_table(found)))
    sys.exit(found.exit_code)


def _table(found: Difference) -> Iterator[str]:
    from resnet_pipe.study.agreement import digits
    from resnet_pipe.study.difference import name, number

    sides = {"A": found.a, "B": found.b}
    for letter, side in sides.items():
        yield f"{letter}: {on_one_line(side.output)}, {number(side.rows, 'row')}"
    yield f"compared: {number(found.common_rows, 'row')} that both have"
    for letter, side in sides.items():
        if side.only_rows:
            yield f"only in {letter}: {number(side.only_rows, 'row')}"
            yield from (f"  {on_one_line(name(key))}" for key in side.first)
        if side.only_rows > len(side.first):
            yield f"  and {side.only_rows - len(side.first):,} more"
    if found.made_differently:
        yield f"\n{'made with':<28}{'A':<{_WIDTH}}  B"
        for what, pair in found.made_differently.items():
            yield _made(what, *(on_one_line(value or "unknown") for value in pair.values()))
    yield ""
    yield from (f"{field:<10}{what:<45}{value}" for field, what, value in _figures(found))
    if found.similarity and found.similarity.worst:
        yield f"\n{'cosine':<11}{'1 - cosine':<12}least similar {found.similarity.of}"
        for key, cosine in found.similarity.worst:
            yield f"{digits(cosine):<11}{1 - cosine:<12.1e}{on_one_line(name(key))}"
    if found.boxes and found.boxes.worst:
        yield f"\n{'alone':<10}rows with the most boxes that only one side has"
        yield from (f"{count:<10}{on_one_line(name(key))}" for key, count in found.boxes.worst)
    if found.notes:
        yield "\n" + "\n".join(f"note: {note}" for note in found.notes)
    if found.accepted is not None:
        rows = (found.beyond or 0) - (found.beyond_boxes or 0)
        counts = {"beyond it": rows, "on one side only": found.a.only_rows + found.b.only_rows}
        problems = [f"{number(count, 'row')} {what}" for what, count in counts.items() if count]
        if found.boxes and found.beyond_boxes:
            problems.insert(0, f"{1 - found.boxes.matched:.2%} of the boxes without a partner")
        yield f"\n--max {found.accepted:g}: {', '.join(['FAIL', *problems]) if problems else 'pass'}"


def _made(what: str, a: str, b: str) -> str:
    if max(len(a), len(b)) <= _WIDTH:
        return f"{what:<27} {a:<{_WIDTH}}  {b}"
    return f"{what}\n  A  {a}\n  B  {b}"


def _figures(found: Difference) -> Iterator[tuple[str, str, str]]:
    """Yield of what a figure is, what it is, and its value."""
    from resnet_pipe.study.agreement import digits
    from resnet_pipe.study.box_agreement import share as cut
    from resnet_pipe.study.neighbours import MOST, NEAREST

    if similar := found.similarity:
        yield similar.of, "cosine similarity, smallest", digits(similar.min)
        yield "", "mean", digits(similar.mean)
    if found.logits_min is not None:
        yield "logits", "cosine similarity, smallest", digits(found.logits_min)
    if found.neighbours is not None:
        of = f"of {min(MOST, found.common_rows):,} rows"
        yield "features", f"{NEAREST} nearest neighbours shared", f"{found.neighbours:.1%} {of}"
    if classes := found.classes:
        yield "top_k", "same best class", f"{classes.same_best:.1%}"
        yield "", f"best {classes.k} classes shared", f"{classes.shared:.1%}"
        largest = classes.max_score_difference
        yield "", "score of the best class, largest difference", "-" if largest is None else f"{largest:.1e}"
    if boxes := found.boxes:
        total = f"of {boxes.a + boxes.b:,}"
        yield "boxes", f"same class, overlap (IoU) {boxes.iou:g} or more", f"{cut(boxes.matched)} {total}"
        yield "", "only in A", f"{boxes.only_a:,} of {boxes.a:,}"
        yield "", "only in B", f"{boxes.only_b:,} of {boxes.b:,}"
        yield "", "corners, mean difference", _measure(boxes.mean_difference, " px")
        yield "", "largest difference", _measure(boxes.max_difference, " px")
        yield "", "score, mean difference", _measure(boxes.mean_score_difference)
        yield "", "largest difference", _measure(boxes.max_score_difference)


def _measure(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:.1e}{unit}"
