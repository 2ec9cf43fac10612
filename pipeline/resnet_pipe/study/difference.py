"""Two output directories compared, row by row: `resnet-pipe diff`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import ExitCode, UsageError
from resnet_pipe.study import row_differences, stored
from resnet_pipe.study.neighbours import Neighbours
from resnet_pipe.study.row_differences import Classes, RowDifferences, Vector
from resnet_pipe.study.stored import Stored
from resnet_pipe.writer.writer import RowKey

NAMED = 5
"""Of many rows, the first or the worst ones are named."""


@dataclass(frozen=True)
class Side:
    """One of the directories, and what only it has.

    Attributes:
        only_sources: sources of which the other directory has no row at all; `only_rows` counts their rows,
            and those of sources of which the other one has others.
        first: some of these rows.
        made_with: how its rows were made, as texts by name.
    """

    output: str
    rows: int
    sources: int
    only_rows: int
    only_sources: int
    first: Sequence[RowKey]
    made_with: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {**asdict(self), "first": [_row(key) for key in self.first], "made_with": dict(self.made_with)}


@dataclass(frozen=True)
class Similarity:
    """The cosine similarity of the common rows, and which rows are the least similar: those below 1."""

    of: Vector
    mean: float
    min: float
    worst: Sequence[tuple[RowKey, float]]

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        worst = [{**_row(key), "cosine": cosine, "difference": 1 - cosine} for key, cosine in self.worst]
        return {"of": self.of, "mean": self.mean, "min": self.min, "worst": worst}


@dataclass(frozen=True)
class Judgement:
    """The largest difference of a common row, and how many rows differ by more than is accepted."""

    accepted: float
    largest: float
    beyond: int


@dataclass(frozen=True)
class Difference:
    """How two directories differ.

    Attributes:
        common_rows: rows of the same source and frame.
        similarity, neighbours, classes: None where the directories do not both have what it takes.
        notes: what to know about the comparison.
        judgement: None without a largest accepted difference.
    """

    a: Side
    b: Side
    common_rows: int
    similarity: Similarity | None
    neighbours: Neighbours | None
    classes: Classes | None
    notes: Sequence[str]
    judgement: Judgement | None

    @property
    def made_differently(self) -> dict[str, tuple[str | None, str | None]]:
        """Return what the directories say differently of how they were made; None where one does not say."""
        names = dict.fromkeys([*self.a.made_with, *self.b.made_with])
        both = {name: (self.a.made_with.get(name), self.b.made_with.get(name)) for name in names}
        return {name: pair for name, pair in both.items() if pair[0] != pair[1]}

    @property
    def exit_code(self) -> ExitCode:
        """Return 1 if there is a largest accepted difference, and a row differs by more or is missing."""
        if self.judgement is None:
            return ExitCode.DONE
        apart = self.judgement.beyond or self.a.only_rows or self.b.only_rows
        return ExitCode.FAILED if apart else ExitCode.DONE

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "schema_version": 1,
            "a": self.a.to_json(),
            "b": self.b.to_json(),
            "made_differently": {name: {"a": a, "b": b} for name, (a, b) in self.made_differently.items()},
            "common_rows": self.common_rows,
            "similarity": self.similarity.to_json() if self.similarity else None,
            "neighbours": asdict(self.neighbours) if self.neighbours else None,
            "classes": asdict(self.classes) if self.classes else None,
            "notes": list(self.notes),
            "judgement": asdict(self.judgement) if self.judgement else None,
            "exit_code": int(self.exit_code),
        }


def diff(a: Path, b: Path, accepted: float | None = None) -> Difference:
    """Compare the committed rows of two directories.

    A row is judged, if a largest difference is accepted, by 1 - the cosine similarity of its features, or
    else of its logits; or else, by 0 if its best class is the same, and by 1 if it is another one.

    Raises:
        UsageError: a directory has no shards that can be read so, or there is nothing to compare.
        RunError: a shard or a record cannot be read.
    """
    ours, theirs = Stored(a), Stored(b)
    matches = stored.matches(ours, theirs)
    if not (matches >= 0).any():
        raise _nothing_in_common(ours, theirs)
    vector, fields, notes = _comparable(ours, theirs)
    if accepted is not None and not vector and "top_k" not in fields:
        raise UsageError(
            "no row can be judged: of features of different widths only the neighbours can be compared",
            "leave out --max, or run both jobs with logits or top_k in writer.fields",
        )
    found = row_differences.compare(ours, theirs, matches, vector, fields)
    only_ours, only_theirs = matches < 0, np.ones(theirs.count, np.bool_)
    only_theirs[matches[~only_ours]] = False
    return Difference(
        a=_side(ours, theirs, only_ours),
        b=_side(theirs, ours, only_theirs),
        common_rows=len(found.rows),
        similarity=_similarity(ours, found),
        neighbours=found.neighbours,
        classes=found.classes,
        notes=notes,
        judgement=_judgement(found, accepted),
    )


def _comparable(ours: Stored, theirs: Stored) -> tuple[Vector | None, list[str], list[str]]:
    """Return the vector to compare, the fields to read, and what to know about that."""
    both = [name for name in ours.widths if name in theirs.widths]
    vector: Vector | None = None
    fields: list[str] = []
    notes: list[str] = []
    names: tuple[Vector, ...] = ("features", "logits")
    for name in (name for name in names if name in both and vector is None):
        width, other = ours.widths[name], theirs.widths[name]
        if width == other:
            vector = name
            fields.append(name)
        else:
            notes.append(f"{name} are {width} wide in A and {other} in B: they have no cosine similarity")
            fields += ["features"] if name == "features" else []
    if "top_k" in both:
        fields.append("top_k")
    if fields:
        return vector, fields, notes
    a, b = (", ".join(side.widths) for side in (ours, theirs))
    raise UsageError(
        "\n".join([f"no field can be compared: A has {a}, and B has {b}", *notes]),
        "run both jobs with the same field in writer.fields: features, logits or top_k",
    )


def _nothing_in_common(ours: Stored, theirs: Stored) -> UsageError:
    outputs = " and ".join(one_line(str(side.output)) for side in (ours, theirs))
    told = [
        number(side.count, "row") + (f", such as {name(side.key(0))}" if side.count else "")
        for side in (ours, theirs)
    ]
    return UsageError(
        f"{outputs} have no row in common: A has {told[0]}; B has {told[1]}",
        "compare results of the same sources: paths start from reader.path, and frames must be sampled alike",
    )


def _side(side: Stored, other: Stored, alone: NDArray[np.bool_]) -> Side:
    import pyarrow.compute as pc

    sources, others = pc.unique(side.paths), pc.unique(other.paths)
    shared = pc.sum(pc.is_in(sources, value_set=others)).as_py() or 0
    rows = np.flatnonzero(alone)
    return Side(
        output=str(side.output),
        rows=side.count,
        sources=len(sources),
        only_rows=len(rows),
        only_sources=len(sources) - shared,
        first=[side.key(int(row)) for row in rows[:NAMED]],
        made_with=side.made_with(),
    )


def _similarity(ours: Stored, found: RowDifferences) -> Similarity | None:
    if found.cosine is None or found.vector is None:
        return None
    order = np.argsort(found.cosine, kind="stable")[:NAMED]
    return Similarity(
        of=found.vector,
        mean=float(found.cosine.mean()),
        min=float(found.cosine.min()),
        worst=[
            (ours.key(int(found.rows[at])), float(found.cosine[at])) for at in order if found.cosine[at] < 1
        ],
    )


def _judgement(found: RowDifferences, accepted: float | None) -> Judgement | None:
    differences = found.differences
    if accepted is None or differences is None:
        return None
    return Judgement(accepted, float(differences.max()), int((differences > accepted).sum()))


def _row(key: RowKey) -> dict[str, Any]:
    return {"path": key[0], "frame_index": key[1]}


def name(key: RowKey) -> str:
    """Return what a row is called, on one line."""
    path, frame = key
    return one_line(path) if frame is None else f"{one_line(path)}, frame {frame}"


def one_line(text: str) -> str:
    """Return a text in which tabs and line breaks are written as other control characters are shown."""
    return "".join(f"\\x{ord(one):02x}" if one in "\t\n" else one for one in text)


def number(count: int, what: str) -> str:
    """Return a number of things in words."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
