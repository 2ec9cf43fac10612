"""What a run remembers for its report: a time line, the slowest sources, and some results to look at."""

from __future__ import annotations

import heapq
import io
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from resnet_pipe.head.classify import Classify, top_k
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.model.output import Activation
from resnet_pipe.preprocess.network_input import Pixels
from resnet_pipe.report.page import data_url
from resnet_pipe.run.observe.observer import Forward, Observer
from resnet_pipe.run.workers.messages import SLOWEST, Outputs, ReadyBatch, Row

MOMENTS = 240
"""Most points of the time line: what a chart can show."""
_APART_S = 0.025
"""Seconds between two samples, at first; doubled whenever there are too many."""
SAMPLES = 24
_TOP = 3
_SIDE = 160
"""Pixels of the longer side of a thumbnail."""
_QUALITY = 80


class Seen(NamedTuple):
    """What a part of a run has seen: sample results, and the slowest sources with their seconds."""

    samples: list[dict[str, Any]]
    slowest: list[tuple[float, str]]


class _Moment(NamedTuple):
    seconds: float
    items: int
    waiting_for_engine: int
    waiting_for_writer: int


@dataclass(eq=False)
class History(Observer):
    """Remembers little of a run of any length. Used from several threads.

    `logits` is the name of the network's output that holds them; None if the job does not ask for it. Sample
    results, for the report, are kept if `pictures` are wanted.
    """

    labels: Sequence[str]
    logits: str | None
    activation: Activation
    pictures: bool

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._started = time.perf_counter()
        self._moments: list[_Moment] = []
        self._apart_s = _APART_S
        self._samples: list[dict[str, Any]] = []
        """Evenly spread: every so many items one, of all that were seen."""
        self._every = 1
        self._seen = 0
        self._slowest: list[tuple[float, str]] = []

    @classmethod
    def of(cls, resolved: Resolved) -> History:
        """Return the history of a run of this job, or of a part of it."""
        head = resolved.head
        scored = head if isinstance(head, Classify) else Classify()
        logits = scored.logits.name if scored.logits else None
        return cls(head.labels, logits, scored.activation, resolved.job.run.report)

    def start(self) -> None:
        """Start the timeline: the engine is ready."""
        self._started = time.perf_counter()

    def tick(self, items: int, waiting_for_engine: int, waiting_for_writer: int) -> None:
        """Note a moment: items so far, and how many batches wait. Called several times a second."""
        seconds = round(time.perf_counter() - self._started, 3)
        if self._moments and seconds - self._moments[-1].seconds < self._apart_s:
            return
        self._moments.append(_Moment(seconds, items, waiting_for_engine, waiting_for_writer))
        if len(self._moments) > MOMENTS:
            self._moments = self._moments[::2]
            self._apart_s *= 2

    def ready(self, ready: ReadyBatch) -> None:
        """Note the slowest sources."""
        self._note_slowest((seconds, key) for key, seconds in ready.slowest)

    def _note_slowest(self, found: Iterable[tuple[float, str]]) -> None:
        for one in found:
            heapq.heappush(self._slowest, one)
            if len(self._slowest) > SLOWEST:
                heapq.heappop(self._slowest)

    def seen(self) -> Seen:
        """Return what was seen, for the history of a run of which this is a part."""
        return Seen(self._samples, self._slowest)

    def add(self, seen: Seen) -> None:
        """Add what a part of this run has seen."""
        self._samples += seen.samples
        self._note_slowest(seen.slowest)

    def inferred(self, done: Forward) -> None:
        """Keep a result now and then."""
        if not self.pictures:
            return
        with self._lock:
            for at, row in enumerate(done.ready.rows):
                if self._seen % self._every == 0:
                    self._samples.append(self._sample(row, done.batch[at], done.outputs, at))
                self._seen += 1
                if len(self._samples) > SAMPLES:
                    self._samples = self._samples[::2]
                    self._every *= 2

    def to_json(self) -> dict[str, Any]:
        """Return the contents of history.json."""
        return {
            "timeline": {
                name: [getattr(moment, name) for moment in self._moments] for name in _Moment._fields
            },
            "slowest": [
                {"source": key, "seconds": round(seconds, 4)}
                for seconds, key in sorted(self._slowest, reverse=True)
            ],
            "samples": self._samples[:: -(-len(self._samples) // SAMPLES) or 1],  # of each part some
        }

    def _sample(self, row: Row, image: Pixels, outputs: Outputs, at: int) -> dict[str, Any]:
        name = row.key if row.pts_s is None else f"{row.key}, {row.pts_s:.2f} s"
        top: list[tuple[str, float]] = []
        if self.logits is not None:
            values = outputs[self.logits][at : at + 1]
            best = top_k(values, min(_TOP, len(self.labels)), self.activation)
            top = [
                (self.labels[index], round(float(score), 4))
                for index, score in zip(best.index[0], best.score[0], strict=True)
            ]
        return {"name": name, "image": _thumbnail(image), "top": top}


def _thumbnail(image: Pixels) -> str:
    """Return an image, shape (H, W, 3), RGB, 0 to 255, as a data URL of a small JPEG."""
    from PIL import Image

    content = io.BytesIO()
    height, width = (max(1, round(_SIDE * side / max(image.shape[:2]))) for side in image.shape[:2])
    levels = image if image.dtype == np.uint8 else image.round().clip(0, 255).astype(np.uint8)
    small = Image.fromarray(levels).resize((width, height), Image.Resampling.BOX)
    small.save(content, "JPEG", quality=_QUALITY)
    return data_url("image/jpeg", content.getvalue())
