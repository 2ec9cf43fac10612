"""Two output directories compared, row by row: `resnet-pipe diff`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import ExitCode, UsageError
from resnet_pipe.study import box_difference, neighbours, stored_rows
from resnet_pipe.study.agreement import cosines
from resnet_pipe.study.box_difference import Boxes
from resnet_pipe.study.stored_rows import StoredRows, Values
from resnet_pipe.writer.writer import RowKey

NAMED = 5
"""Of many rows, the first or the worst ones are named."""
_ROWS = 1024
"""That are compared at once."""


@dataclass(frozen=True)
class Side:
    """One of the directories: its rows, how many of them the other one lacks, and the first of these."""

    output: str
    rows: int
    only_rows: int
    first: Sequence[RowKey]
    made_with: Mapping[str, str]


@dataclass(frozen=True)
class Similarity:
    """The cosine similarity of the common rows, and the least similar rows of those that are not equal."""

    of: str
    mean: float
    min: float
    worst: Sequence[tuple[RowKey, float]]


@dataclass(frozen=True)
class Classes:
    """How the k best classes agree: shares of the rows, of the classes in any order, and the scores.

    The largest difference is that of the score of A's best class, in rows where B has that class, too.
    """

    k: int
    same_best: float
    shared: float
    max_score_difference: float | None


@dataclass(frozen=True)
class Difference:
    """How two directories differ. What they do not both have is None.

    Attributes:
        common_rows: rows of the same source and frame.
        logits_min: the smallest cosine similarity of the logits where `similarity` is that of the features.
        neighbours: the mean share of the nearest neighbours that are the same.
        notes: what to know about the comparison.
        accepted: the largest accepted difference of a row, and of boxes, of all together.
        beyond: how many rows differ by more, and, if these are more than that, boxes without a partner.
        beyond_boxes: how many of these are boxes.
    """

    a: Side
    b: Side
    common_rows: int
    similarity: Similarity | None
    logits_min: float | None
    neighbours: float | None
    classes: Classes | None
    boxes: Boxes | None
    notes: Sequence[str]
    accepted: float | None
    beyond: int | None
    beyond_boxes: int | None

    @property
    def made_differently(self) -> dict[str, dict[str, str | None]]:
        """Return what the directories say differently of how they were made; None where one does not say."""
        a, b = self.a.made_with, self.b.made_with
        both = {name: {"a": a.get(name), "b": b.get(name)} for name in {**a, **b}}
        return {name: values for name, values in both.items() if values["a"] != values["b"]}

    @property
    def exit_code(self) -> ExitCode:
        """Return 1 if there is a largest accepted difference, and a row differs by more or is missing."""
        apart = self.beyond or self.a.only_rows or self.b.only_rows
        return ExitCode.FAILED if apart and self.accepted is not None else ExitCode.DONE

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        told = {"made_differently": self.made_differently, "exit_code": int(self.exit_code)}
        return {"schema_version": 1, **asdict(self), **told}  # rows as [path, frame_index]


def diff(a: Path, b: Path, accepted: float | None = None) -> Difference:
    """Compare the committed rows of two directories.

    A row is judged, if a largest difference is accepted, by the largest of those that can be had: 1 - the
    cosine similarity of its features, and of its logits; without logits, 0 if its best class is the same, and
    1 if it is another one. Boxes, also beside features, are judged all together, by 1 - the share that has a
    partner.

    Raises:
        UsageError: a directory has no shards that can be read so, or there is nothing to compare.
        RunError: a shard or a record cannot be read.
    """
    ours, theirs = StoredRows(a), StoredRows(b)
    matches = stored_rows.matches(ours, theirs)
    rows = np.flatnonzero(matches >= 0)
    if not len(rows):
        raise _nothing_in_common(ours, theirs)
    vectors, fields, notes = _comparable(ours, theirs)
    if accepted is not None and not vectors and not {"top_k", "boxes"}.intersection(fields):
        raise UsageError(
            "no row can be judged: of features of different widths only the neighbours can be compared",
            "leave out --max, or run both jobs with logits or top_k in writer.fields",
        )
    found = _compare(ours, theirs, rows, matches[rows], vectors, fields)
    near = None
    if "features" in fields and len(rows) >= neighbours.LEAST:
        near = neighbours.shared(found["ours"], found["theirs"])
    elif "features" in fields:
        notes.append(f"neighbours are skipped: it takes {neighbours.LEAST} common rows")
    keys = [ours.keys[row] for row in rows]
    boxes = box_difference.of_rows(keys, found, NAMED) if "boxes" in fields else None
    beyond = beyond_boxes = None
    if accepted is not None:
        too_many = boxes is not None and 1.0 - boxes.matched > accepted
        beyond_boxes = boxes.only_a + boxes.only_b if boxes and too_many else 0
        judged = [*vectors, *(() if "logits" in vectors or "top_k" not in fields else ("same_best",))]
        alike = np.min([found[one] for one in judged], axis=0) if judged else np.ones(1)
        beyond = beyond_boxes + int((1.0 - alike > accepted).sum())
    return Difference(
        a=_side(ours, np.flatnonzero(matches < 0)),
        b=_side(theirs, np.setdiff1d(np.arange(len(theirs.keys)), matches)),
        common_rows=len(rows),
        similarity=_similarity(keys, found[vectors[0]], vectors[0]) if vectors else None,
        logits_min=float(found["logits"].min()) if vectors == ["features", "logits"] else None,
        neighbours=near,
        classes=_classes(ours, theirs, found) if "top_k" in fields else None,
        boxes=boxes,
        notes=notes,
        accepted=accepted,
        beyond=beyond,
        beyond_boxes=beyond_boxes,
    )


def _nothing_in_common(ours: StoredRows, theirs: StoredRows) -> UsageError:
    a, b = (
        number(len(side.keys), "row") + (f", such as {name(side.keys[0])}" if side.keys else "")
        for side in (ours, theirs)
    )
    return UsageError(
        f"{ours.output} and {theirs.output} have no row in common: A has {a}; B has {b}",
        "compare results of the same sources: paths start from reader.path, and frames must be sampled alike",
    )


def _comparable(ours: StoredRows, theirs: StoredRows) -> tuple[list[str], list[str], list[str]]:
    """Return what has a cosine similarity, features first; the fields to read; and notes."""
    both = [field for field in ours.fields if field in theirs.fields]
    vectors: list[str] = []
    notes: list[str] = []
    for field in ("features", "logits"):
        if field in both:
            width, other = ours.widths[field], theirs.widths[field]
            if width == other:
                vectors.append(field)
            else:
                notes.append(
                    f"{field} are {width} wide in A and {other} in B: they have no cosine similarity"
                )
    fields = [field for field in both if field in ("features", *vectors, "top_k", "boxes")]
    if fields:
        return vectors, fields, notes
    a, b = (", ".join(side.fields) for side in (ours, theirs))
    raise UsageError(
        "\n".join([f"no field can be compared: A has {a}, and B has {b}", *notes]),
        "run both jobs with the same field in writer.fields: features, logits, top_k or boxes",
    )


def _compare(
    ours: StoredRows,
    theirs: StoredRows,
    rows: NDArray[np.int64],
    others: NDArray[np.int64],
    vectors: Sequence[str],
    fields: Sequence[str],
) -> Values:
    """Return how alike each row and the other one are, by field, and the features of a sample of both."""
    sampled = np.zeros(len(rows), np.bool_)
    sampled[neighbours.sample(len(rows))] = True
    parts: list[Values] = []
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        one, other = ours.values(rows[part], fields), theirs.values(others[part], fields)
        found: Values = {}
        for vector in vectors:
            found[vector] = cosines(one[vector], other[vector])
            found[vector][(one[vector] == other[vector]).all(axis=1)] = 1.0  # and no rounding error
        if "features" in fields:
            found["ours"], found["theirs"] = (side["features"][sampled[part]] for side in (one, other))
        if "top_k" in fields:
            found |= _compare_classes(one, other)
        if "boxes" in fields:
            found |= box_difference.compare(one["boxes"], other["boxes"])
        parts.append(found)
    ours.refuse_if_changed()
    theirs.refuse_if_changed()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _compare_classes(ours: Values, theirs: Values) -> Values:
    k = min(ours["index"].shape[1], theirs["index"].shape[1])
    best = ours["index"][:, :1]
    # No class is twice among those of a row: what is there twice is in both.
    both = np.sort(np.hstack([ours["index"][:, :k], theirs["index"][:, :k]]), axis=1)
    score = np.abs(theirs["score"].astype(np.float64) - ours["score"][:, :1])
    return {
        "same_best": theirs["index"][:, 0] == best[:, 0],
        "shared": (both[:, 1:] == both[:, :-1]).sum(axis=1) / k,
        "score": np.where(theirs["index"] == best, score, -1.0).max(axis=1),  # -1: B lacks that class
    }


def _side(side: StoredRows, alone: NDArray[np.int64]) -> Side:
    first = [side.keys[row] for row in alone[:NAMED]]
    return Side(str(side.output), len(side.keys), len(alone), first, side.made_with())


def _similarity(keys: Sequence[RowKey], cosine: NDArray[np.float64], of: str) -> Similarity:
    least = [at for at in np.argsort(cosine, kind="stable")[:NAMED] if cosine[at] < 1]
    worst = [(keys[at], float(cosine[at])) for at in least]
    return Similarity(of, float(cosine.mean()), float(cosine.min()), worst)


def _classes(ours: StoredRows, theirs: StoredRows, found: Values) -> Classes:
    k = min(ours.widths["index"], theirs.widths["index"])
    same_best, shared = (float(found[share].mean()) for share in ("same_best", "shared"))
    score = float(found["score"].max())
    return Classes(k, same_best, shared, score if score >= 0 else None)


def name(key: RowKey) -> str:
    """Return what a row is called."""
    path, frame = key
    return path if frame is None else f"{path}, frame {frame}"


def number(count: int, what: str) -> str:
    """Return a number of things in words."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
