"""Where a network runs: on the device asked for, or for `auto` one where it really runs; on which stream."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Generic, TypeVar

from resnet_pipe.errors import DeviceError
from resnet_pipe.infer.engine import Engine, EngineRequest

E = TypeVar("E", bound=Engine)
Stream = TypeVar("Stream")


def load_where_it_runs(request: EngineRequest, gpu: str, make: Callable[[EngineRequest, str], E]) -> E:
    """Load a network on the device asked for; for `auto`, on `gpu` if it really runs there, else on the CPU.

    `make` loads a network and executes it once. It is given the request, with a device, and a note on why
    that device was taken, empty if there is nothing to say.

    Raises:
        DeviceError: the device asked for, or for `auto` the CPU, is not to be had.
    """
    if request.device != "auto":
        return make(request, "")
    try:
        return make(replace(request, device=gpu), "")
    except DeviceError as error:
        note = f"using the CPU: {error.problem}"
    return make(replace(request, device="cpu"), note)


def check_supported(
    name: str, request: EngineRequest, devices: Mapping[str, tuple[str, ...]], note: str = ""
) -> None:
    """Refuse, with a `DeviceError`, a device or a precision that an engine does not have.

    Its devices are given with their precisions. The one wanted is not `auto`; `note` says why it was taken.
    """
    kind = request.device.partition(":")[0]
    if kind not in devices:
        problem = f"engine {name} does not support device {request.device} here"
        raise DeviceError(problem, f"infer.device: {', '.join(devices)}")
    if request.precision not in devices[kind]:
        because = f" ({note})" if note else ""
        raise DeviceError(
            f"engine {name} does not support {request.precision} on {request.device} here{because}",
            f"infer.precision: {' or '.join(devices[kind])}; or another device of: {', '.join(devices)}",
        )


def index_of(device: str) -> int:
    """Return the number of a GPU: N of `cuda:N`, 0 if there is none."""
    return int(device.partition(":")[2] or 0)


def existing(device: str, count: int) -> int:
    """Return the number of a CUDA device; refuse, with a `DeviceError`, what is none of the first `count`."""
    index = index_of(device)
    if index >= count:
        raise DeviceError(
            f"{device} does not exist: there are {count} CUDA devices, numbered from 0",
            f"infer.device: cuda:{count - 1}, or a smaller number",
            "cuda",
        )
    return index


class Streams(Generic[Stream]):
    """Lends streams, what each forward pass needs for itself, to one thread each; there is at least one."""

    def __init__(self, streams: Iterable[Stream]) -> None:
        self._idle: queue.SimpleQueue[Stream] = queue.SimpleQueue()
        for stream in streams:
            self._idle.put(stream)

    @contextmanager
    def one(self) -> Iterator[Stream]:
        """Lend a stream for the length of the block; wait if all of them are busy."""
        stream = self._idle.get()
        try:
            yield stream
        finally:
            self._idle.put(stream)
