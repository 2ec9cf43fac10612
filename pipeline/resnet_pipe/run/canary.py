"""The canary: a few items of a run are computed again in float32, and must agree before the first commit."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import ResnetPipeError, RunError
from resnet_pipe.infer.engine import ENGINES, EngineInfo, one_line
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger.record import Canary
from resnet_pipe.run.engines.device import Device
from resnet_pipe.run.observe.events import Events
from resnet_pipe.run.stager import GivenUpError
from resnet_pipe.run.workers.messages import Outputs
from resnet_pipe.study.agreement import Agreement, compare
from resnet_pipe.study.subject import Reference, Subject

PATIENCE_S = 120.0
"""How long the first commit waits for a reference at most; without one, the run goes on."""


class CanaryError(RunError):
    """What an engine gives is not what the network should give."""


class _EndedError(Exception):
    """Nobody wants the answer any more."""


class _LateError(Exception):
    """The reference takes too long."""


@dataclass(frozen=True)
class _Sample:
    """Items of a batch of `rows`, uint8, shape (n, H, W, 3), and what the engine gave for them in it.

    They are copies, spread over the batch: some graphs come out wrong from the second item of a batch on.
    """

    rows: int
    items: NDArray[np.uint8]
    outputs: Outputs


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

    def look_at(self, device: Device, batch: NDArray[np.uint8], outputs: Outputs) -> None:
        """Take a sample of a batch that a device has executed; only of a few, and all of it is copied."""
        if not self._resolved.job.run.canary:
            return
        with self._lock:
            if device not in self._canaries:
                self._canaries[device] = _Canary(self._resolved, self._events, device)
            canary = self._canaries[device]
        canary.look_at(batch, outputs)

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
        found = [canary.figures for canary in self._all() if canary.figures is not None]
        if not found:
            return None
        items = sum(one.items for one in found)
        same = [one.top1 * one.items for one in found if one.top1 is not None]
        return Canary(
            items=items,
            reference="; ".join(dict.fromkeys(one.reference for one in found)),
            cosine_min=min(one.cosine_min for one in found),
            top1=sum(same) / items if same else None,
        )

    @property
    def reason(self) -> str:
        """Return why a device was not compared; empty if all were."""
        return "; ".join(dict.fromkeys(canary.reason for canary in self._all() if canary.reason))

    def _all(self) -> list[_Canary]:
        with self._lock:
            return [*self._canaries.values()]


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
        self._sample: _Sample | None = None
        self._thread: threading.Thread | None = None
        self._ended = False
        self._error: CanaryError | None = None
        self.figures: Canary | None = None
        self.reason = ""

    def look_at(self, batch: NDArray[np.uint8], outputs: Outputs) -> None:
        with self._lock:
            if self._thread is not None or (self._sample is not None and len(batch) <= self._sample.rows):
                return
            sample = _sample(batch, outputs, self._resolved.job.run.canary)
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

    def _start(self, sample: _Sample) -> threading.Thread:
        self._thread = threading.Thread(target=self._judge, args=(sample,), name="canary", daemon=True)
        self._thread.start()
        return self._thread

    def _judge(self, sample: _Sample) -> None:
        late = time.monotonic() + PATIENCE_S

        def look() -> None:
            if self._ended:
                raise _EndedError
            if time.monotonic() > late:
                raise _LateError(f"it has taken longer than {PATIENCE_S:.0f} s")

        resolved = self._resolved
        subject = Subject(resolved.model, resolved.network, resolved.head, resolved.preprocessing)
        try:
            names = _references(resolved, self._device.info)
            reference = subject.reference(sample.items, names, singly=True, look=look)
            agreement = compare(sample.outputs, reference.outputs, subject.compared, subject.logits)
        except _EndedError:
            return
        except Exception as error:  # whatever it is, the run itself has not failed
            self.reason = one_line(error.problem if isinstance(error, ResnetPipeError) else error)
            text = f"no canary{self._place}: no items can be computed again in float32: {self.reason}"
            self._events.note(text, unusual=False)
            return
        self._tell(sample, reference, agreement)

    def _tell(self, sample: _Sample, reference: Reference, agreement: Agreement) -> None:
        info, precision = self._device.info, self._resolved.precision
        ran = reference.info
        by = f"{ran.name} {ran.version} {ran.precision} {ran.device}"
        by = f"{by}, {reference.what}" if reference.what else by
        figures = Canary(len(sample.items), by, agreement.cosine_min, agreement.top1)
        if problem := agreement.problem(precision, by):
            self._error = CanaryError(
                f"engine {info.name} {info.version} on {info.device} in {precision} gives wrong numbers"
                f"{self._place}: for {figures.items} items of a batch of {sample.rows}, {problem}",
                "compare the engines with `resnet-pipe verify JOB`: use one that passes as infer.engine, or,"
                " if this one does, run.canary: 0; no row of this engine has been committed",
            )
        self.figures = figures
        self._events.tell("canary", device=self._device.name or info.device, **figures._asdict())

    @property
    def _place(self) -> str:
        return f" ({self._device.name})" if self._device.name else ""


def _sample(batch: NDArray[np.uint8], outputs: Outputs, count: int) -> _Sample | None:
    """Return a sample of a batch; None if all rows are failures, because they are not finite."""
    finite = np.flatnonzero(np.all([np.isfinite(values).all(axis=1) for values in outputs.values()], axis=0))
    if not len(finite):
        return None
    places = np.linspace(0, len(finite) - 1, min(count, len(finite))).round().astype(np.int64)
    rows = finite[places]
    return _Sample(len(batch), batch[rows], {name: values[rows] for name, values in outputs.items()})


def _references(resolved: Resolved, info: EngineInfo) -> tuple[str, ...]:
    """Return the engines that may give the reference, another library than the device's first.

    Raises:
        RunError: there is none.
    """
    itself = resolved.job.infer.engine == "onnxruntime" and info.device == "cpu"
    names = [name for name in (("opencv",) if itself else ("onnxruntime", "opencv")) if name in ENGINES]
    size = resolved.network.batch_size or 1
    if size > 1 and "opencv" in names:  # which is to be trusted with one item at a time only
        names.remove("opencv")
    if not names:
        raise RunError(f"the network takes exactly {size} images at a time")
    return tuple(names)
