"""An engine and what makes detections of its outputs, beside it: while one thread does, another infers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Semaphore

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.head.detect import DETECTIONS
from resnet_pipe.head.detectors.detector import Detector
from resnet_pipe.head.detectors.registry import detector
from resnet_pipe.head.detectors.settings import DetectorSettings
from resnet_pipe.infer.batches import black
from resnet_pipe.infer.engine import Engine, EngineRequest
from resnet_pipe.preprocess.network_input import Pixels
from resnet_pipe.run.workers.messages import Outputs


@dataclass(frozen=True)
class MakesDetections:
    """How detections are made beside an engine, in its process: plain data.

    Attributes:
        settings: what the network's outputs mean, and which detections are kept.
        second: the second network, if there is one.
        as_they_come: the names of outputs that are not for the detector, and are handed on.
    """

    settings: DetectorSettings
    second: EngineRequest | None
    as_they_come: tuple[str, ...] = ()

    def __call__(self, engine: Engine, load: Callable[[EngineRequest], Engine]) -> Detecting:
        """Begin, with a loaded network, and what loads the second one."""
        second = load(self.second).infer if self.second else None
        return Detecting(engine, detector(self.settings, second), self.as_they_come)


class Detecting:
    """Executes the network of an engine on batches, and makes detections of what it gives.

    One thread more than the engine has streams may call it at the same time.
    """

    def __init__(self, engine: Engine, detector: Detector, as_they_come: tuple[str, ...] = ()) -> None:
        self._engine = engine
        self._detector = detector
        self._as_they_come = as_they_come
        self._streams = Semaphore(engine.streams)

    def timed(self, batch: Pixels, placements: NDArray[np.int32]) -> tuple[Outputs, dict[str, float]]:
        """Return what a call does, and the seconds of its parts; the first is until the network is free.

        Of what comes after the network, the detector knows the parts; the rest is `boxes`.
        """
        started = time.perf_counter()
        with self._streams:
            begun = time.perf_counter()
            outputs = self._engine.infer(batch)
        inferred = time.perf_counter()
        made = self._made_of(outputs, batch, placements)
        laps = self._detector.laps
        laps.end("boxes")
        return made, {"queue": begun - started, "network": inferred - begun, **laps.seconds}

    def prove(self, request: EngineRequest) -> None:
        """Raise a `ModelError` if the network is not of the detector's kind."""
        height, width = request.preprocessing.size
        self(black(request, 1), np.array([[0, 0, width, height]], np.int32))

    def __call__(self, batch: Pixels, placements: NDArray[np.int32]) -> Outputs:
        """Return the output `DETECTIONS` of a batch, (n, H, W, 3), and those that are handed on.

        See `Detector.detect`. Detections are not finite for items of which the maps are not.
        """
        return self.timed(batch, placements)[0]

    def _made_of(self, outputs: Outputs, batch: Pixels, placements: NDArray[np.int32]) -> Outputs:
        height, width = batch.shape[1:3]
        kept = {name: outputs[name] for name in self._as_they_come}
        maps = {name: values for name, values in outputs.items() if name not in kept}
        found = self._detector.detect(maps, placements, (height, width))
        # A sum is finite only if all its parts are, and takes a tenth of the time to look at each.
        sums = [values.sum(axis=tuple(range(1, values.ndim))) for values in maps.values()]
        found[~np.isfinite(sums).all(axis=0)] = np.nan
        return {DETECTIONS: found.reshape(len(batch), -1), **kept}
