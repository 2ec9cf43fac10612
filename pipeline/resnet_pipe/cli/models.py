"""models: which ones there are, and one of them in full."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from resnet_pipe.cli.table import padded, widths, wrapped
from resnet_pipe.cli.terminal import show
from resnet_pipe.report.one_line import elided, on_one_line, width_of

if TYPE_CHECKING:
    from resnet_pipe.convert.catalogue import Entry

_COLUMNS = 80
"""Of a table that does not go to a terminal, and at least."""
_HEADER = ("model", "source", "params", "GMACs", "MB", "logits", "features", "weights")
_NUMBERS = ("params", "GMACs", "MB", "logits", "features")
_GAPS = (2, 1, 1, 1, 2, 1, 2)
_BEFORE_TEXT = 5
"""Columns before the place of a text where there is no sidecar."""
_MOST = (12, 8, 8, 8, 8, 8, 11)
"""Columns of each cell but the first: a sidecar from elsewhere may hold anything."""


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the converted models, and what can be converted."""
    from resnet_pipe.convert import catalogue

    if context.invoked_subcommand is not None:
        return
    entries = catalogue.entries()
    if as_json:
        show(json.dumps([entry.to_json() for entry in entries], indent=1))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _COLUMNS
    for line in _table(entries, max(width, _COLUMNS)):
        show(line)


@models.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: what the file says, and the sidecar.")
@click.pass_context
def show_one(context: click.Context, name: str, as_json: bool) -> None:
    """Print all that is known about one model.

    NAME is what `infer.model` of a job takes: a name such as resnet50, hf:microsoft/resnet-50 or
    timm:resnet50.a1_in1k, or the path of an .onnx file.
    """
    from resnet_pipe.convert.description import describe

    described = describe(name)
    if as_json or (context.parent is not None and context.parent.params["as_json"]):
        show(json.dumps(described.to_json(), indent=1))
        return
    lines = list(described.lines())
    width = max(len(label) for label, _ in lines) + 3
    for label, text in lines:
        show(f"{label + ':':<{width}}{on_one_line(text)}")


def _table(entries: list[Entry], width: int) -> Iterator[str]:
    """Return the lines of the table: names are cut if it would be too wide.

    Below stands what else can be converted.
    """
    others = [entry.name for entry in entries if entry.path is None and entry.params is None]
    entries = [entry for entry in entries if entry.name not in others]
    rows = [_HEADER, *map(_row, entries)]
    texts = ["", *map(_text, entries)]
    columns = widths(rows)
    room = sum(columns[_BEFORE_TEXT:]) + sum(_GAPS[_BEFORE_TEXT:])
    columns[-1] += max(0, *(width_of(text) - room for text in texts))
    columns[0] = min(columns[0], width - sum(columns[1:]) - sum(_GAPS))
    for row, text, entry in zip(rows, texts, [None, *entries], strict=True):
        cells = [elided(row[0], columns[0]), *row[1:]]
        aligned = [
            padded(cell, size, right=title in _NUMBERS)
            for title, cell, size in zip(_HEADER, cells, columns, strict=True)
        ]
        if text:
            aligned = [*aligned[:_BEFORE_TEXT], text]
        gaps = [" " * gap for gap in (*_GAPS[: len(aligned) - 1], 0)]
        yield "".join(cell + gap for cell, gap in zip(aligned, gaps, strict=True)).rstrip()
        if entry is not None:
            yield from wrapped(on_one_line(entry.held or entry.problem or ""), width, "    ")
    if others:
        yield "to find objects, resnet-pipe convert one of these:"
        yield from wrapped(", ".join(others), width, "    ")


def _row(entry: Entry) -> tuple[str, ...]:
    size = entry.file_bytes
    outputs = [str(entry.outputs.get(name) or "-") for name in ("logits", "features")]
    cells = (
        on_one_line(entry.name),
        on_one_line(entry.source or "-"),
        "-" if entry.params is None else f"{_scaled(entry.params, 10**6, 1)}M",
        _scaled(entry.macs, 10**9, 2),
        _scaled(size, 10**6, 1 if size is not None and size < 10**7 else 0),
        *(outputs if entry.sidecar else ("", "")),
        entry.weights or "",
    )
    return cells[0], *map(elided, cells[1:], _MOST)


def _scaled(value: int | None, unit: int, digits: int) -> str:
    """Return a number in thousands, millions ...; a sidecar may hold any."""
    return "-" if value is None else f"{max(0, min(value, 10**20)) / unit:.{digits}f}"


def _text(entry: Entry) -> str:
    """Return what stands in the place of the outputs and the weights, without a sidecar."""
    if entry.path is None:
        return entry.command or ""
    if entry.sidecar is not None:
        return ""
    return "without a sidecar" if entry.held else "without a usable sidecar"
