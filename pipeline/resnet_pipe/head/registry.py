"""The heads, and the fields that a job may ask for. To add a head, add it to both."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from resnet_pipe.head import classify
from resnet_pipe.head.classify import Classify

HEADS: dict[str, type[Classify]] = {"classify": Classify}
"""Kind of network -> what its outputs mean."""

FieldName = Literal[classify.FieldName, "boxes"]
"""What a job may ask for: a column that a head makes; of `boxes`, three: `rows.BOXES`."""


def head_for(fields: Collection[str]) -> type[Classify] | None:
    """Return the head that makes all these fields; None if there is none."""
    return next((head for head in HEADS.values() if head.MADE_OF.keys() >= set(fields)), None)
