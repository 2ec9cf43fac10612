"""What all detectors have in common: a batch goes in, and each item's detections come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import NoBoxesError
from resnet_pipe.head.detectors.boxes import COLUMNS, Candidates, Floats
from resnet_pipe.head.detectors.laps import Laps
from resnet_pipe.head.detectors.settings import DetectorSettings

Outputs: TypeAlias = Mapping[str, Floats]
"""What a network gives for a batch, by name: float32 (n, ...). Of an item: without the first axis."""
Network: TypeAlias = Callable[[Floats], Outputs]
"""Executes a detector's second network on a batch."""
Placement: TypeAlias = NDArray[np.int32]
"""Of an item's image in the network's input, (4,): left, top, width, height, in pixels."""
Placements: TypeAlias = NDArray[np.int32]
"""The same of each item of a batch, (n, 4)."""


class Detector(ABC):
    """Makes detections of what a network gives. Threads may share it.

    Attributes:
        READS: the names of the outputs that it reads; empty if it reads the only one.
        settings: of which kind the network is, and what is kept.
        network: the second network of a detector that has two.
        laps: how long the parts of a call of `detect` have taken, in the thread that called it; `boxes` is
            what the detector does not tell apart.
    """

    READS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: DetectorSettings, network: Network | None = None) -> None:
        self.settings = settings
        self.network = network
        self.laps = Laps()

    def detect(self, outputs: Outputs, placements: Placements, input_size: tuple[int, int]) -> Floats:
        """Return the detections of each item, which depend on nothing else in the batch.

        Args:
            outputs: of the network for n items.
            placements: (n, 4): left, top, width and height of each item's image in the input, in pixels.
            input_size: height and width of the input, in pixels.

        Returns:
            float32 (n, max_detections, 6): x1, y1, x2, y2 in pixels of the input, score and class index, in
            falling order of score; zeros where there are fewer. Boxes may reach beyond the image.

        Raises:
            NoBoxesError: the outputs are not those of this kind of network with so many classes.
        """
        self.laps.start()
        made = np.zeros((len(placements), self.settings.max_detections, COLUMNS), np.float32)
        for item, placement in enumerate(placements):
            mine = {name: values[item] for name, values in outputs.items()}
            made[item] = self.candidates(mine, placement, input_size).packed(self.settings.max_detections)
            self.laps.end("boxes")
        return made

    @abstractmethod
    def candidates(self, outputs: Outputs, placement: Placement, input_size: tuple[int, int]) -> Candidates:
        """Return the detections of an item, the best first, and perhaps more than are asked for."""

    def output(self, outputs: Outputs, name: str) -> Floats:
        """Return an output by name; a `NoBoxesError` says that the network does not have it."""
        if name not in outputs:
            raise self.unexpected(f"has no output {name}, but {', '.join(outputs)}")
        return outputs[name]

    def unexpected(self, what: str) -> NoBoxesError:
        """Return the error that the network is not of this kind: it has, or gives, something else."""
        return NoBoxesError(
            f"this network {what}: that is no {self.settings.kind} for {self.settings.classes} classes",
            "name its kind (infer.boxes) and all its classes",
        )


def bounds(placement: Placement, input_size: tuple[int, int]) -> Floats:
    """Return the part of the input where the image is, float32 x1, y1, x2, y2 in pixels."""
    left, top, width, height = placement.tolist()
    edges = max(left, 0), max(top, 0), min(left + width, input_size[1]), min(top + height, input_size[0])
    return np.asarray(edges, np.float32)
