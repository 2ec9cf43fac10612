"""Loading the network on every device of a run, and what runs then, as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

from resnet_pipe.errors import ModelError
from resnet_pipe.infer import engine as engines
from resnet_pipe.infer.engine import EngineInfo, EngineRequest
from resnet_pipe.infer.probe import others_that_run
from resnet_pipe.infer.section import InferSection
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.machine.nvidia import visible_gpus
from resnet_pipe.run.engines.device import Device
from resnet_pipe.run.engines.remote_engine import RemoteEngine
from resnet_pipe.run.workers.slots import Slots


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
        remotes: dict[str, RemoteEngine] = {}
        for index, request in enumerate(requests):
            name = f"device {index} ({request.device})" if len(requests) > 1 else ""
            remote = RemoteEngine(engines.ENGINES[infer.engine], request, slots, name, infer.timeout_s)
            remotes[name] = stack.enter_context(closing(remote))
        try:
            for remote in remotes.values():
                remote.wait_until_ready(look)
        except ModelError as error:
            raise _with_others(error, requests[0], infer.engine) from None
        yield tuple(Device(remote, name, resolved.batch_size, say) for name, remote in remotes.items())


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
    infos = [device.info for device in devices]
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
        preprocessing=resolved.preprocessing.network_input,
        outputs=resolved.head.names,
        batch_size=resolved.batch_size,
        device=device,
        precision=resolved.precision,
        threads=max(1, threads // devices),
        streams=None if infer.streams == "auto" else infer.streams,
        widths=resolved.head.widths,
        extract=resolved.network.has_odd_outputs,
    )


def _with_others(error: ModelError, request: EngineRequest, engine: str) -> ModelError:
    """Return an error of a model with the names of the installed engines that can run it."""
    able = others_that_run(request, engine)
    if not able:
        return error
    remedy = f"{' and '.join(able)} can run it: infer.engine: {able[0]}"
    return ModelError(error.problem, "; or ".join(filter(None, (remedy, error.remedy))))
