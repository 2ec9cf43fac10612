"""The canary: a few items of a run are computed again in float32, and must agree before the first commit."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from resnet_pipe.errors import ResnetPipeError, RunError
from resnet_pipe.head.detectors.detector import Placements
from resnet_pipe.infer.engine import one_line
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger.record import Canary
from resnet_pipe.preprocess.network_input import Pixels
from resnet_pipe.run.engines.device import Device
from resnet_pipe.run.observe.events import Events
from resnet_pipe.run.sample import Finding, Sample, references, sample_of
from resnet_pipe.run.stager import GivenUpError
from resnet_pipe.run.workers.messages import Outputs
from resnet_pipe.study.subject import Subject

PATIENCE_S = 120.0
"""How long the first commit waits for a reference at most; without one, the run goes on."""


class CanaryError(RunError):
    """What an engine gives is not what the network should give."""


class _EndedError(Exception):
    """Nobody wants the answer any more."""


class _LateError(Exception):
    """The reference takes too long."""


class Canaries:
    """Those of all devices of a run. Used from several threads.

    The first batch of full size of each device is looked at, or the largest before the first commit. A
    process of its own computes items of it again, in float32 on the CPU, beside the run.
    """

    def __init__(self, resolved: Resolved, events: Events) -> None:
        self._resolved = resolved
        self._events = events
        self._lock = threading.Lock()
        self._canaries: dict[Device, _Canary] = {}

    def look_at(self, device: Device, batch: Pixels, outputs: Outputs, placements: Placements | None) -> None:
        """Take a sample of a batch that a device has executed; only of a few, and all of it is copied."""
        if not self._resolved.job.run.canary:
            return
        with self._lock:
            if device not in self._canaries:
                self._canaries[device] = _Canary(self._resolved, self._events, device)
            canary = self._canaries[device]
        canary.look_at(batch, outputs, placements)

    def check(self) -> None:
        """Return at once if nothing is known to be wrong; CanaryError if it is."""
        for canary in self._all():
            canary.check()

    def require(self) -> None:
        """Wait until all devices that have executed a batch are known to be right, or cannot be compared.

        Raises:
            CanaryError: one is wrong.
            GivenUpError: the run does not want to wait.
        """
        for canary in self._all():
            canary.require()

    def close(self) -> None:
        """End what is under way; who waits for it goes on. May be called again."""
        for canary in self._all():
            canary.close()

    @property
    def figures(self) -> Canary | None:
        """Return those so far, of all devices together; None if there are none."""
        return together(canary.figures for canary in self._all())

    @property
    def reason(self) -> str:
        """Return why a device was not compared; empty if all were."""
        return "; ".join(dict.fromkeys(canary.reason for canary in self._all() if canary.reason))

    def _all(self) -> list[_Canary]:
        with self._lock:
            return [*self._canaries.values()]


def together(figures: Iterable[Canary | None]) -> Canary | None:
    """Return the figures of several devices as one; None if there are none."""
    found = [one for one in figures if one is not None]
    if not found:
        return None
    items = sum(one.items for one in found)
    same = [one.top1 * one.items for one in found if one.top1 is not None]
    return Canary(
        items=items,
        reference="; ".join(dict.fromkeys(one.reference for one in found)),
        cosine_min=min((one.cosine_min for one in found if one.cosine_min is not None), default=None),
        top1=sum(same) / items if same else None,
        matched=min((one.matched for one in found if one.matched is not None), default=None),
    )


class _Canary:
    """That of one device.

    Attributes:
        figures: how well its sample agrees; None as long as that is not known.
        reason: why that will never be known; empty otherwise.
    """

    def __init__(self, resolved: Resolved, events: Events, device: Device) -> None:
        self._resolved = resolved
        self._events = events
        self._device = device
        self._lock = threading.Lock()
        """Guards the sample, and that there is one thread."""
        self._sample: Sample | None = None
        self._thread: threading.Thread | None = None
        self._ended = False
        self._error: CanaryError | None = None
        self.figures: Canary | None = None
        self.reason = ""

    def look_at(self, batch: Pixels, outputs: Outputs, placements: Placements | None) -> None:
        with self._lock:
            if self._thread is not None or (self._sample is not None and len(batch) <= self._sample.rows):
                return
            sample = sample_of(batch, outputs, placements, self._resolved.job.run.canary)
            if sample is None:
                return
            self._sample = sample
            if len(batch) == self._resolved.batch_size:
                self._start(sample)

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def require(self) -> None:
        with self._lock:
            if self._sample is None:
                return
            if self._ended and self._thread is None:
                raise GivenUpError
            thread = self._thread or self._start(self._sample)
        thread.join()
        self.check()
        if self._ended and self.figures is None and not self.reason:
            raise GivenUpError

    def close(self) -> None:
        self._ended = True
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _start(self, sample: Sample) -> threading.Thread:
        self._thread = threading.Thread(target=self._judge, args=(sample,), name="canary", daemon=True)
        self._thread.start()
        return self._thread

    def _judge(self, sample: Sample) -> None:
        late = time.monotonic() + PATIENCE_S

        def look() -> None:
            if self._ended:
                raise _EndedError
            if time.monotonic() > late:
                raise _LateError(f"it has taken longer than {PATIENCE_S:.0f} s")

        resolved = self._resolved
        mode = resolved.job.preprocess.mode
        subject = Subject(resolved.model, resolved.network, resolved.head, resolved.preprocessing, mode)
        try:
            names = references(resolved, self._device.info)
            reference = subject.reference(sample.items, sample.placements, names, singly=True, look=look)
            finding = sample.compared(resolved, subject, reference)
        except _EndedError:
            return
        except Exception as error:  # whatever it is, the run itself has not failed
            self.reason = one_line(error.problem if isinstance(error, ResnetPipeError) else error)
            text = f"no canary{self._place}: nothing is compared with float32: {self.reason}"
            self._events.note(text, unusual=False)
            return
        self._tell(finding)

    def _tell(self, finding: Finding) -> None:
        info, precision = self._device.info, self._resolved.precision
        if finding.wrong:
            self._error = CanaryError(
                f"engine {info.name} {info.version} on {info.device} in {precision} gives wrong numbers"
                f"{self._place}: {finding.wrong}",
                "compare the engines with `resnet-pipe verify JOB`: use one that passes as infer.engine, or,"
                " if this one does, run.canary: 0; no row of this engine has been committed",
            )
        figures = self.figures = finding.figures
        self._events.tell("canary", device=self._device.name or info.device, **figures._asdict())

    @property
    def _place(self) -> str:
        return f" ({self._device.name})" if self._device.name else ""
