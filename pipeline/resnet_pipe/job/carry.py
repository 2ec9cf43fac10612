"""The names of the columns that a reader carries: each only once, and none that the results have anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from resnet_pipe.head import classify, detect
from resnet_pipe.head.rows import BOXES, PLACE

if TYPE_CHECKING:
    from resnet_pipe.job.job import Job
    from resnet_pipe.job.syntax import Place

_TAKEN = frozenset([*PLACE, *BOXES, *get_args(classify.FieldName), *get_args(detect.FieldName)]) - {"boxes"}
"""The columns of all fields, be they among the job's or not; the field `boxes` has other columns."""


def problems(job: Job) -> list[tuple[Place, str]]:
    """Return what is wrong with the names in `reader.carry`, and where."""
    found: list[tuple[Place, str]] = []
    carry = job.reader.carries
    for index, name in enumerate(carry):
        text = ""
        if name in _TAKEN:
            text = f"{name!r} is a column of the results: rename it where it comes from"
        elif name in carry[:index]:
            text = f"{name!r} is there twice"
        elif kinds := [writer.kind for writer in job.writer if writer.has_column(name)]:
            text = f"the writer {kinds[0]} makes a column {name!r} itself: use another kind of writer"
        if text:
            found.append((("reader", "carry", index), text))
    return found
