"""The devices of a run: the network is loaded on each, and executed on batches in place; their statistics."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import EngineError, ModelError, NoBoxesError, UnsupportedError, UsageError
from resnet_pipe.infer import engine as engines
from resnet_pipe.infer.engine import EngineInfo, EngineRequest
from resnet_pipe.infer.probe import others_that_run
from resnet_pipe.infer.second import second_request
from resnet_pipe.infer.section import InferSection
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.machine.nvidia import VramMeter, visible_gpus
from resnet_pipe.run.engines.detecting import MakesDetections
from resnet_pipe.run.engines.remote_engine import RemoteEngine
from resnet_pipe.run.engines.remote_engine import lanes as lanes_of
from resnet_pipe.run.observe.clock import StageClock, utilisation
from resnet_pipe.run.workers.messages import Outputs
from resnet_pipe.run.workers.slots import Slots


class Device:
    """What a lane of the infer stage gives its batches to. Used from as many threads as it has streams.

    Attributes:
        name: for messages and the trace; empty where the run has no other device.
        info: what really runs.
        clock: of the infer stage, as far as this device is concerned.
        finds_objects: whether it gives detections, for which it needs placements.
    """

    def __init__(self, engine: RemoteEngine, batch_size: int, say: Callable[[str], None]) -> None:
        self.name = engine.name
        self.info = engine.info
        self.pid = engine.pid
        self.finds_objects = engine.finds_objects
        self.clock = StageClock(lanes=lanes_of(engine.info.streams, engine.finds_objects))
        self._engine = engine
        self._limit = batch_size
        self._say = say
        self._lock = threading.Lock()
        """Guards the limit, which several streams may change."""

    def infer(
        self,
        slot: int,
        count: int,
        size: tuple[int, int] | None = None,
        placements: NDArray[np.int32] | None = None,
    ) -> Outputs:
        """Execute the network on the first rows of a slot, in halves where all do not fit into memory.

        The height and width of the items are given where they have many sizes; the placements, one for each
        row, where it finds objects: see `ForwardPass`.

        Raises:
            EngineError: not even one item can be executed.
            RunError: the engine is not there any more, or hangs.
        """
        while True:
            limit = self._limit
            try:
                parts = [
                    self._engine.infer(slot, rows, size, None if placements is None else placements[rows])
                    for rows in (range(start, min(start + limit, count)) for start in range(0, count, limit))
                ]
            except EngineError as error:
                self._shrink(min(limit, count), error)
                continue
            if len(parts) == 1:
                return parts[0]
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _shrink(self, failed: int, error: EngineError) -> None:
        """Halve the batch after `failed` items at once were too many; raise `error` if that was one."""
        if failed == 1:
            raise error
        with self._lock:
            if self._limit < failed:
                return  # another stream has done it
            self._limit = (failed + 1) // 2
            self._engine.shrink(self._limit)
            self._say(f"{error.problem}; continuing with batches of {self._limit}")

    def close(self) -> None:
        """End the engine, whatever it is doing; calls of `infer` raise a RunError. May be called again."""
        self._engine.close()

    def use(self, vram: VramMeter | None) -> DeviceUse:
        """Return what it has done so far; without a meter, which watches its process, it is no GPU."""
        peak_vram_mb = vram.peak_mb_of(self.pid) if vram else None
        engine = self._engine
        return DeviceUse(self.info.device, self.clock, engine.peak_rss_kb, peak_vram_mb, engine.parts)


@dataclass(frozen=True)
class DeviceUse:
    """What a device has done in a run, and the highest memory of its process; on a GPU too, if measured.

    The parts are those of the infer stage, in seconds, of a network that finds objects. The node is that of a
    cluster; None on this machine.
    """

    device: str
    clock: StageClock
    peak_rss_kb: int
    peak_vram_mb: float | None
    parts: Mapping[str, float] = field(default_factory=dict)
    node: str | None = None

    @property
    def place(self) -> str:
        """Return which device it is, for people."""
        return f"{self.node}: {self.device}" if self.node else self.device

    def to_json(self, seconds: float) -> dict[str, Any]:
        """Return the figures as written to run.json, for a run of the given duration."""
        clock = self.clock.summary()
        return {
            "node": self.node,
            "device": self.device,
            "streams": clock["lanes"],
            "batches": len(self.clock.batches),
            **{name: clock[name] for name in ("items", "busy_s", "wait_in_s", "wait_out_s")},
            "items_per_second": round(self.clock.items / seconds, 2) if seconds else 0.0,
            "peak_rss_mb": round(self.peak_rss_kb / 1024, 1),
            "peak_vram_mb": self.peak_vram_mb,
        }

    def describe(self, what: str, seconds: float) -> str:
        """Return them in words, for a run of so many seconds; `what` its items are, in the plural."""
        items, batches = self.clock.items, len(self.clock.batches)
        rate = items / seconds if seconds else 0.0
        return (
            f"{items} {what} in {batches} batches, {rate:.1f} {what}/s,"
            f" busy {utilisation(self.clock, seconds):.0%} of the run"
        )


@contextmanager
def loaded(
    resolved: Resolved, cores: int, slots: Slots, look: Callable[[], object], say: Callable[[str], None]
) -> Iterator[tuple[Device, ...]]:
    """Load the network on the devices of a job; their engines end with the block.

    Each device has a process of its own: nothing else ends an engine that hangs in a library or a driver, and
    none waits for another one's lock. All load at the same time, and share the cores unless the job says how
    many threads they have. Meanwhile `look` is called several times a second; what it raises ends the
    loading.

    Raises:
        DeviceError: a device is not to be had.
        ModelError: the engine cannot run the model.
        RunError: an engine's process ended while it was loading, or hangs.
    """
    infer = resolved.job.infer
    names = devices_of(infer)
    requests = [_request(resolved, name, cores, len(names)) for name in names]
    with ExitStack() as stack:
        remotes: list[RemoteEngine] = []
        for index, request in enumerate(requests):
            name = f"device {index} ({request.device})" if len(requests) > 1 else ""
            module, head, detections = engines.ENGINES[infer.engine], resolved.head, None
            if head.detector is not None:
                second = second_request(request, resolved.network)
                detections = MakesDetections(head.detector, second, head.as_they_come)
            remote = RemoteEngine(module, request, slots, name, infer.timeout_s, detections)
            remotes.append(stack.enter_context(closing(remote)))
        try:
            for remote in remotes:
                remote.wait_until_ready(look)
        except (ModelError, UnsupportedError) as error:
            if isinstance(error, NoBoxesError):
                raise
            say("asking the other engines whether they can run it")
            able = others_that_run(requests[0], infer.engine, look)
            raise _with_others(error, able) from None
        yield tuple(Device(remote, resolved.batch_size, say) for remote in remotes)


def devices_of(infer: InferSection) -> tuple[str, ...]:
    """Return the devices of a job; of all GPUs, those that are there now.

    If there is none, the first one is returned: the engine knows best what is missing.
    """
    if not infer.all_devices:
        return infer.devices
    kind = infer.first_device.partition(":")[0]
    return tuple(f"{kind}:{index}" for index in range(max(1, visible_gpus())))


def describe(devices: Sequence[Device]) -> EngineInfo:
    """Return what runs on all devices together; streams are those of each."""
    return together([device.info for device in devices])


def together(infos: Sequence[EngineInfo]) -> EngineInfo:
    """Return what runs on several devices as one."""
    if len(infos) == 1:
        return infos[0]
    return replace(
        infos[0],
        device=f"{len(infos)} devices: {', '.join(info.device for info in infos)}",
        threads=sum(info.threads for info in infos),
        streams=max(info.streams for info in infos),
        load_s=max(info.load_s for info in infos),
        proof="; ".join(dict.fromkeys(info.proof for info in infos)),
        note="; ".join(dict.fromkeys(info.note for info in infos if info.note)),
    )


def lanes(devices: Sequence[Device]) -> list[str]:
    """Return a name for each stream of each device, in the order of the pipeline's lanes."""
    return [
        f"{device.name} stream {stream}" if device.name else f"engine stream {stream}"
        for device in devices
        for stream in range(device.clock.lanes)
    ]


def _request(resolved: Resolved, device: str, cores: int, devices: int) -> EngineRequest:
    infer = resolved.job.infer
    threads = cores if infer.threads == "auto" else infer.threads
    return EngineRequest(
        model=resolved.model.path,
        preprocessing=resolved.network_input,
        outputs=resolved.head.names,
        batch_size=resolved.batch_size,
        device=device,
        precision=resolved.precision,
        threads=max(1, threads // devices),
        streams=None if infer.streams == "auto" else infer.streams,
        widths=resolved.head.widths,
        extract=resolved.network.has_others(rows=resolved.head.detector is None),
        rows=resolved.head.detector is None,
    )


def _with_others(error: UsageError, able: Sequence[str]) -> UsageError:
    """Return an error of a model with the names of the engines that are able to run it."""
    if not able:
        return error
    remedy = f"{' and '.join(able)} can run it: infer.engine: {able[0]}"
    return type(error)(error.problem, "; or ".join(filter(None, (remedy, error.remedy))))
