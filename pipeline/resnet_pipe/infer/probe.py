"""An engine probed in a process of its own: whether it runs a network, what it gives, how fast it is.

A crash is its own, and so are its memory and its threads: it disturbs neither the caller nor the next engine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import RunError, UsageError
from resnet_pipe.infer.engine import ENGINES, EngineInfo, EngineRequest, precisions
from resnet_pipe.process.child import Child, EndedError, SilentError

LIMIT_S = 300.0
"""An engine that takes longer to load a network, or for a batch, is taken to hang."""
_PROCESS = "resnet_pipe.infer.probe_process"


@dataclass(frozen=True)
class Abilities:
    """What an engine has on this machine.

    Attributes:
        devices: its kinds of device, each with its precisions; see `engine.devices`.
        batch_size: that suits it on the device asked about.
    """

    devices: Mapping[str, tuple[str, ...]]
    batch_size: int


@dataclass(frozen=True)
class Work:
    """What an engine that is probed is to do.

    Attributes:
        request: what to load.
        items: uint8, shape (n, H, W, 3), RGB; None: only load.
        seconds: then measure for about this long; 0: do not.
        single_batches: then time single batches, whole and short ones.
    """

    request: EngineRequest
    items: NDArray[np.uint8] | None = None
    seconds: float = 0.0
    single_batches: bool = False


@dataclass(frozen=True)
class BatchTimes:
    """Seconds that single batches take, once warm; the shortest of a few each, so that others do not disturb.

    Attributes:
        whole: a batch of the request's size, after another one of the size.
        short: a batch of one item, after a whole one.
        again: a whole batch, after a short one.
    """

    whole: float
    short: float
    again: float


@dataclass(frozen=True)
class Result:
    """What came of it.

    Attributes:
        info: what ran.
        outputs: output name to float32, shape (n, width); empty without items.
        items_per_second: with batches of the request's size in all streams, once warm; None if not measured.
        batch_times: None if not measured.
    """

    info: EngineInfo
    outputs: dict[str, NDArray[np.float32]]
    items_per_second: float | None = None
    batch_times: BatchTimes | None = None


@dataclass(frozen=True)
class Refusal:
    """Why an engine gave nothing.

    Attributes:
        status: `not installed`, `cannot run` (the network, or there), `crashed` or `given up`.
        reason: in words, one line.
        remedy: what to do about it, if anything is known.
    """

    status: str
    reason: str
    remedy: str | None = None

    def describe(self) -> str:
        """Return reason and remedy, as errors tell them."""
        return self.reason if self.remedy is None else f"{self.reason}\n  what to do: {self.remedy}"


class RefusedError(Exception):
    """An engine that was probed gave nothing; see `Refusal`."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class Probe:
    """One engine in a process of its own, which ends with the block.

    Args:
        module: of the engine; see `engine.ENGINES`.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._process = Child(_PROCESS)

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.end()

    def abilities(self, device: str, patience_s: float = inf) -> Abilities:
        """Return what the engine has. Comes first.

        Args:
            device: as in a job; for the batch size.
            patience_s: it is given up after this long, although it lives.

        Raises:
            RefusedError: its library is not installed, or crashed, or was given up.
        """
        answer: Abilities = self._ask((self._module, device), patience_s)
        return answer

    def result(self, work: Work, patience_s: float = inf) -> Result:
        """Load a network and execute it.

        Args:
            work: what to load and execute.
            patience_s: it is given up after this long, although it lives.

        Raises:
            RefusedError: the engine cannot, or crashed, or was given up.
        """
        answer: Result = self._ask(work, patience_s)
        return answer

    def _ask(self, question: object, patience_s: float = inf) -> Any:  # noqa: ANN401 - what the process answers
        end = time.monotonic() + patience_s

        def look() -> None:
            if time.monotonic() >= end:
                raise RefusedError(Refusal("given up", f"not ready within {patience_s:.0f} s"))

        self._process.send(question)
        try:
            while (answer := self._process.receive(LIMIT_S, look)) is None:
                pass  # a sign of life
        except SilentError:
            raise RefusedError(Refusal("crashed", f"no response for {LIMIT_S:g} s")) from None
        except EndedError as ended:
            raise RefusedError(Refusal("crashed", f"its process {ended}")) from None
        if isinstance(answer, Refusal):
            raise RefusedError(answer)
        return answer


def widths(request: EngineRequest, name: str) -> dict[str, int]:
    """Return the widths of a network's outputs, by name, found by one forward pass.

    Args:
        request: what to load.
        name: of the engine.

    Raises:
        UsageError: the engine cannot run the network.
        RunError: it crashed.
    """
    item = np.zeros((1, *request.preprocessing.size, 3), np.uint8)
    try:
        with Probe(ENGINES[name]) as probe:
            probe.abilities(request.device)
            result = probe.result(Work(request, item))
    except RefusedError as error:
        refused = error.refusal
        if refused.status == "crashed":
            raise RunError(f"engine {name} cannot run {request.model}: {refused.reason}") from None
        raise UsageError(refused.reason, refused.remedy) from None
    return {output: values.shape[1] for output, values in result.outputs.items()}


def others_that_run(request: EngineRequest, name: str) -> list[str]:
    """Return the installed engines, beside one, that can load a network with the same precision.

    Args:
        request: that the engine called `name` refused. An engine without its device is asked about `auto`.
        name: of an engine.
    """
    able = []
    for other, module in ENGINES.items():
        try:
            if other != name:
                with Probe(module) as probe:
                    devices = probe.abilities(request.device).devices
                    device = request.device if precisions(devices, request.device) else "auto"
                    if request.precision in precisions(devices, device):
                        probe.result(Work(replace(request, device=device)))
                        able.append(other)
        except RefusedError:
            continue
    return able
