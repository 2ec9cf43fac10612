"""An engine probed in a process of its own: whether it runs a network, what it gives, how fast it is.

A crash is its own, and so are its memory and its threads: it disturbs neither the caller nor the next engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import RunError, UsageError
from resnet_pipe.infer.batches import black
from resnet_pipe.infer.engine import ENGINES, Engine, EngineInfo, EngineRequest, precisions
from resnet_pipe.preprocess.network_input import Pixels
from resnet_pipe.process.child import Child, EndedError, SilentError

LIMIT_S = 300.0
"""An engine that takes longer to load a network, or for a batch, is taken to hang."""


@dataclass(frozen=True)
class Abilities:
    """What an engine has on this machine; the batch size is that for the device asked about."""

    devices: Mapping[str, tuple[str, ...]]
    batch_size: int


Beside = Callable[[Pixels, NDArray[np.int32]], dict[str, NDArray[np.float32]]]
"""Executes a network on a batch, and makes other outputs of what it gives; it is given the placements too."""


class MakesBeside(Protocol):
    """Begins what makes other outputs of a network's, beside it in its process; can be pickled."""

    def __call__(self, engine: Engine, load: Callable[[EngineRequest], Engine]) -> Beside:
        """Return what is called instead of the engine's `infer`; `load` is for more networks."""


@dataclass(frozen=True)
class Work:
    """What an engine that is probed is to do with items, shape (n, H, W, 3), RGB; None: only load.

    Those of several sizes are several arrays; the results have their order. It then measures for about so
    many seconds, unless that is 0, and times single batches, whole and short.

    With `beside`, the outputs are what that makes of the network's; it is given where the images of the items
    lie in these, (n, 4), left, top, width, height, in pixels.
    """

    request: EngineRequest
    items: Pixels | Sequence[Pixels] | None = None
    seconds: float = 0.0
    single_batches: bool = False
    beside: MakesBeside | None = None
    placements: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class BatchTimes:
    """Seconds that single batches take, once warm; the shortest of a few each, so that others do not disturb.

    A `whole` one has the request's size, and comes after another such; a `short` one has one item, and comes
    after a whole one; a whole one comes `again` after a short one.
    """

    whole: float
    short: float
    again: float


@dataclass(frozen=True)
class Result:
    """What came of it.

    Outputs are by name, float32, shape (n, width); none without items. The rate is with batches of the
    request's size in all streams, once warm. None was not measured.
    """

    info: EngineInfo
    outputs: dict[str, NDArray[np.float32]]
    items_per_second: float | None = None
    batch_times: BatchTimes | None = None


@dataclass(frozen=True)
class Refusal:
    """Why an engine gave nothing.

    The status is `not installed`, `cannot run` (the network, or there), `crashed` or `given up`; the reason,
    one line.
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
    """One engine, given by its module, in a process of its own, which ends with the block.

    While it is waited for, `look` is called several times a second; what it raises ends the waiting.
    """

    def __init__(self, module: str, look: Callable[[], object] | None = None) -> None:
        self._module = module
        self._look = look
        self._process = Child("resnet_pipe.infer.probe_process")

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.end()

    def abilities(self, device: str, patience_s: float = inf) -> Abilities:
        """Return what the engine has, and its batch size for a device of a job. Raises as `result` does."""
        return cast(Abilities, self._ask((self._module, device), patience_s))

    def result(self, work: Work, patience_s: float = inf) -> Result:
        """Load a network and execute it; `abilities` comes first.

        Raises:
            RefusedError: the engine cannot, or crashed, or was given up after `patience_s` although it lives.
        """
        return cast(Result, self._ask(work, patience_s))

    def _ask(self, question: object, patience_s: float) -> Any:  # noqa: ANN401 - what the process answers
        end = time.monotonic() + patience_s

        def look() -> None:
            if self._look is not None:
                self._look()
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
    """Return the widths of a network's outputs, by name, found by one forward pass of the engine `name`.

    Raises:
        UsageError: the engine cannot run the network.
        RunError: it crashed.
    """
    try:
        with Probe(ENGINES[name]) as probe:
            probe.abilities(request.device)
            result = probe.result(Work(request, black(request, 1)))
    except RefusedError as error:
        refused = error.refusal
        if refused.status == "crashed":
            raise RunError(f"engine {name} cannot run {request.model}: {refused.reason}") from None
        raise UsageError(refused.reason, refused.remedy) from None
    return {output: values.shape[1] for output, values in result.outputs.items()}


def others_that_run(request: EngineRequest, name: str, look: Callable[[], object]) -> list[str]:
    """Return the installed engines that can load, with the same precision, what the engine `name` refused.

    An engine that does not have the device is asked about `auto`. Of `look`, see `Probe`.
    """
    able = []
    for other, module in ENGINES.items():
        if other == name:
            continue
        with suppress(RefusedError), Probe(module, look) as probe:
            devices = probe.abilities(request.device).devices
            device = request.device if precisions(devices, request.device) else "auto"
            if request.precision in precisions(devices, device):
                probe.result(Work(replace(request, device=device)))
                able.append(other)
    return able
