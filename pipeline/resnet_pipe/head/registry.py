"""The heads, and the fields that a job may ask for. To add a head, add it to both."""

from __future__ import annotations

from collections.abc import Collection

from resnet_pipe.head import classify, detect
from resnet_pipe.head.classify import Classify
from resnet_pipe.head.detect import Detect
from resnet_pipe.head.head import Head

HEADS: dict[str, type[Head]] = {"classify": Classify, "detect": Detect}
"""Kind of network -> what its outputs mean."""

FieldName = classify.FieldName | detect.FieldName
"""What a job may ask for: a column that a head makes; of `boxes`, three: `rows.BOXES`."""


def head_for(fields: Collection[str]) -> type[Head] | None:
    """Return the head that makes all these fields; None if there is none."""
    return next((head for head in HEADS.values() if head.MADE_OF.keys() >= set(fields)), None)
