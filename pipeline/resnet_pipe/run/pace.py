"""Whether another chunk may begin: not if the window would end first, on a full disk, or during a pause."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import ByteSize

from resnet_pipe.errors import RunError
from resnet_pipe.job.run_section import RunSection
from resnet_pipe.job.until import moment
from resnet_pipe.reader.source import Source
from resnet_pipe.run.plan import Chunk, Plan

_LOOK_S = 0.2
"""Between two looks for the file that pauses a run."""


@dataclass(frozen=True)
class Limits:
    """What a run has to keep to while it goes on.

    Attributes:
        until: when it must have committed everything that it begins, seconds since 1970; None for no such
            time.
        disk: a directory on the disk of the results.
        min_free: bytes that stay free there.
        pause_file: while there is such a file, nothing is begun; None for no such file.
    """

    until: float | None
    disk: Path
    min_free: int
    pause_file: Path | None


def limits(section: RunSection, disk: Path, began_at: float) -> Limits:
    """Return what a job says, for a run that began then, with results on the disk of a directory."""
    until = None if section.until is None else moment(section.until, began_at)
    return Limits(until, disk, min_free(section, disk), section.pause_file)


def min_free(section: RunSection, disk: Path) -> int:
    """Return how many bytes stay free on the disk of a directory."""
    usual = min(1 << 30, shutil.disk_usage(disk).total // 50)
    return usual if section.min_free is None else int(section.min_free)


class _Begun(NamedTuple):
    """A chunk that has begun, and is not committed: its weight, and how many bytes it takes, about."""

    weight: float
    size: int


@dataclass(eq=False)
class Pace:
    """Lets the chunks of a plan begin, one after the other. What has begun is not interrupted.

    `weigh` tells how much work a source is, compared with others; `need`, about how many bytes a chunk of so
    many sources takes; `on_pause` is told whenever a pause begins, and when it ends.

    Attributes:
        window_ended: whether chunks are left for which there was no time.
        problem: why chunks are left all the same; None if that is not so.
        runners: how many chunks are worked on at the same time.
    """

    limits: Limits
    weigh: Callable[[Source], float]
    need: Callable[[int], int]
    on_pause: Callable[[bool], None]

    def __post_init__(self) -> None:
        self.window_ended = False
        self.problem: RunError | None = None
        self.runners = 1
        self._paused = False
        self._begun: dict[str, _Begun] = {}
        """By chunk."""
        self._committed = 0.0
        """The weight of those that are."""
        self._commits = 0
        self._seconds = 0.0
        """How long that has taken."""
        self._since = time.monotonic()
        """From when on the time counts that those take that have begun."""

    def chunks(self, plan: Plan) -> Iterator[Chunk | None]:
        """Yield the chunks of a plan until one may not begin; None while that is not known."""
        sources = plan.planned
        for chunk in plan.chunks():
            weight = 1 + sum(map(self.weigh, chunk.sources))  # one that only loses rows takes time as well
            begun = _Begun(weight, self.need(len(chunk.sources)))
            while self._waits(begun, sources):
                yield None
            if self.ended:
                return
            if not self._begun:
                self._since = time.monotonic()
            self._begun[chunk.id] = begun
            sources -= len(chunk.sources)
            yield chunk

    @property
    def ended(self) -> bool:
        """Whether chunks are left that may not begin."""
        return self.window_ended or self.problem is not None

    def committed(self, chunk: Chunk) -> None:
        """Learn how fast the run is from a chunk that is committed. For any thread."""
        now = time.monotonic()
        self._seconds, self._since = self._seconds + now - self._since, now
        self._committed += self._begun.pop(chunk.id).weight
        self._commits += 1

    def opens(self, sources: int, go_on: Callable[[], None]) -> bool:
        """Wait while the run is paused, before anything is loaded; tell whether it may begin.

        `go_on` is called often, and may raise.

        Raises:
            RunError: the disk is too full for the first one of so many sources.
        """
        if self._free < self.limits.min_free:
            raise self._full(sources)
        while True:
            go_on()
            self.window_ended = self.limits.until is not None and time.time() >= self.limits.until
            if not self._is_paused():
                return not self.window_ended
            time.sleep(_LOOK_S)

    def _waits(self, chunk: _Begun, sources: int) -> bool:
        """Tell whether to wait with a chunk; note if it may not begin, nor those after it."""
        if self.limits.until is not None:
            if not self._commits and len(self._begun) >= self.runners:
                return True  # nobody knows how fast the run is
            left_s = self.limits.until - time.time()
            self.window_ended = left_s <= 0 or self._expected_s(chunk.weight) > left_s
        taken = chunk.size + sum(begun.size for begun in [*self._begun.values()])
        if not self.window_ended and self._free - taken < self.limits.min_free:
            if self._begun:
                return True  # when they are committed, one knows what they take
            self.problem = self._full(sources)
        return self._is_paused()

    def _is_paused(self) -> bool:
        """Tell whether a pause keeps chunks from beginning that may begin otherwise."""
        file = self.limits.pause_file
        if self.ended or file is None:
            return False
        pauses = os.path.exists(file)  # noqa: PTH110 - which knows no permissions
        if pauses != self._paused:
            self._paused = pauses
            self.on_pause(pauses)
        return pauses

    def _expected_s(self, weight: float) -> float:
        """Return after how many seconds a chunk that begins now will be committed; 0 if nobody knows."""
        if not self._commits:
            return 0.0
        # Until each runner has committed a chunk, what the others are on counts as if it were done.
        rate = self._committed / max(self._seconds, 1e-9) * max(1.0, self.runners / self._commits)
        ahead = sum(begun.weight for begun in [*self._begun.values()])
        passed = time.monotonic() - self._since if self._begun else 0.0
        return max(0.0, ahead / rate - passed) + weight / rate

    @property
    def _free(self) -> int:
        return shutil.disk_usage(self.limits.disk).free

    def _full(self, sources: int) -> RunError:
        left = f"{sources} source{'' if sources == 1 else 's'}"
        return RunError(
            f"No space left on device for another chunk: the disk of {self.limits.disk.parent} has"
            f" {_size(self._free)} free, and {_size(self.limits.min_free)} (run.min_free) stay free;"
            f" the results of the {left} left take about {_size(self.need(sources))}",
            "free some space; the same command continues",
        )


def _size(count: int) -> str:
    return ByteSize(count).human_readable(separator=" ")
