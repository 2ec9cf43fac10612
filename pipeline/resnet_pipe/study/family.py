"""Networks that differ in nothing but the depth of their ResNet: what a depth study measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resnet_pipe.model import depths, detection
from resnet_pipe.model.model import models_dir

Kind = Literal["resnet", "faster_rcnn"]


@dataclass(frozen=True)
class Family:
    """Networks of one kind.

    Attributes:
        called: what they are, for people.
        member: the name of one, for people, with its depth in the place of {}.
        model: the name of the model of a depth, which `convert` knows.
        items: images of a run, unless the user says how many: a run should not take hours on a CPU.
        one_size: whether each of them takes images of one size.
        finds: the kind of detector that their sidecars say; None if they find no objects.
    """

    called: str
    member: str
    model: Callable[[int], str]
    items: int
    one_size: bool
    finds: detection.Kind | None = None

    def name(self, depth: int) -> str:
        """Return the name of a network, for people."""
        return self.member.format(depth)

    def path(self, depth: int) -> Path:
        """Return the ONNX file of a network, which need not be there; HomeError if this user has no home."""
        return models_dir() / f"{self.model(depth)}.onnx"


FAMILIES: dict[Kind, Family] = {
    "resnet": Family("ResNet", "ResNet-{}", depths.resnet, items=256, one_size=True),
    "faster_rcnn": Family(
        "Faster R-CNN",
        "Faster R-CNN with a ResNet-{}",
        depths.faster_rcnn,
        items=16,
        one_size=False,
        finds="faster_rcnn",
    ),
}


def kind_for(fields: frozenset[str]) -> Kind:
    """Return the kind of network that gives the fields of a job."""
    return "faster_rcnn" if "boxes" in fields else "resnet"
