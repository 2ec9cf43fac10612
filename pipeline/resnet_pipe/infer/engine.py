"""The contract of an engine, and the registry of the engines there are."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.machine import processor
from resnet_pipe.machine.nvidia import visible_gpus
from resnet_pipe.preprocess.network_input import NetworkInput, Pixels

if TYPE_CHECKING:
    from resnet_pipe.model.network import Network

ENGINES = {
    "opencv": "resnet_pipe.infer.opencv",
    "openvino": "resnet_pipe.infer.openvino",
    "onnxruntime": "resnet_pipe.infer.onnxruntime",
    "torch": "resnet_pipe.infer.torch",
    "mlx": "resnet_pipe.infer.mlx",
}
"""name -> module. Another engine is a line here and a module; see `EngineModule`."""
DEFAULT = "opencv"
"""What a job has that names no engine, and what others are compared with."""
Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""What a network computes in."""
_USUAL = 224 * 224
"""Pixels of an item with which the batch sizes of engines were measured."""
SATURATION_REMEDY = (
    "convert the model again with `resnet-pipe convert --quantize`, which uses 7-bit weights if they are "
    "accurate enough; or use infer.engine: onnxruntime, which sums exactly"
)


@dataclass(frozen=True)
class EngineDescription:
    """What an engine says of itself, which its library need not be imported for.

    Attributes:
        library: the module that it imports.
        distributions: of the package index that have this library; the first is the one to install.
        extra: of resnet-pipe that installs it; empty if it is always there.
        saturates: whether its int8 sums are wrong on a processor without VNNI; see `saturation()`.
        compiles_for: kinds of device for which it compiles a network for minutes, so only when asked to.
        any_size: whether it takes batches of other sizes than the first; see `NetworkInput.other`.
        run_bytes: of the run and the engine's process, beside what that takes for its network.
    """

    library: str
    distributions: tuple[str, ...]
    extra: str
    int8: bool = False
    saturates: bool = False
    compiles_for: tuple[str, ...] = ()
    any_size: bool = False
    run_bytes: int = 384 << 20


@dataclass(frozen=True)
class EngineInfo:
    """What actually runs, as opposed to what was requested.

    Attributes:
        version: of its library.
        device: `cpu`, or `cuda:N (architecture M.m)`.
        threads: of the CPU, over all streams; 0 where it does not apply.
        load_s: seconds to read the file and build the network, before the first forward pass.
        proof: how the device was established, in words.
        note: what the user should know about the choice, such as why auto did not take CUDA.
    """

    name: str
    version: str
    device: str
    precision: str
    threads: int
    streams: int
    load_s: float
    proof: str
    note: str = ""


@dataclass(frozen=True)
class EngineRequest:
    """What to load and how to run it.

    Attributes:
        outputs: names of those wanted, in this order.
        batch_size: the largest batch that infer() will be given.
        device: auto, or one of a kind that the engine has, such as cpu, cuda or cuda:N.
        threads: CPU threads to use, over all streams.
        streams: forward passes at the same time; None for what suits the engine.
        widths: required of the outputs, in their order; None: any, as where there is none for an output.
        extract: remove other outputs before a library loads the network: it may not support them.
        rows: whether each output is one row of numbers per item. Otherwise it comes in its own shape.
        as_written: execute every node as it stands in the file, so that a quantised network computes in
            float32 between its roundings; only onnxruntime on the CPU has it.
    """

    model: Path
    preprocessing: NetworkInput
    outputs: tuple[str, ...]
    batch_size: int
    device: str
    precision: str
    threads: int
    streams: int | None = None
    widths: tuple[int | None, ...] = ()
    extract: bool = False
    as_written: bool = False
    rows: bool = True


class Engine(Protocol):
    """A loaded network, whose `infer` as many threads as it has streams may call at the same time."""

    streams: int

    def infer(self, batch: Pixels) -> dict[str, NDArray[np.float32]]:
        """Execute the network; return by output name float32, as `batches.rows_of` makes it.

        A batch has shape (n, H, W, 3), RGB, 1 <= n <= batch_size. H and W are those of the request; if it has
        an `other` size, any with no more pixels. A shorter one must not make the engine rebuild its network:
        where another size would, pad, then cut. After the call, the batch may be overwritten, and the outputs
        are the caller's.

        Raises:
            EngineError: the network could not be executed on this batch.
        """

    def shrink(self, batch_size: int) -> None:
        """Use at most `batch_size` from now on, because a larger batch did not fit into memory.

        May be called while other threads are in `infer`.
        """

    def describe(self) -> EngineInfo:
        """Return what really runs."""


class EngineModule(Protocol):
    """A module of the registry. Importing it imports no library; a function may raise `MissingExtraError`."""

    DESCRIPTION: EngineDescription

    def devices(self) -> Mapping[str, tuple[str, ...]]:
        """Return the kinds of device that it has, each with the precisions it can have on this machine.

        Of the precisions, the first is what `auto` takes: the library's own choice. Whether a GPU is there
        shows only when a network is loaded.
        """

    def batch_size(self, device: str) -> int:
        """Return the batch size with which it is fastest on a device or for auto; loads nothing."""

    def load(self, request: EngineRequest) -> Engine:
        """Load a network and prove, with one forward pass, that it runs.

        For `auto`, on a GPU if it really runs there, otherwise on the CPU; `EngineInfo.note` says why.

        Raises:
            ModelError: it cannot run this model.
            DeviceError: the device or the precision is not to be had.
        """


def _module(name: str) -> EngineModule:
    return cast(EngineModule, importlib.import_module(ENGINES[name]))


def description(name: str) -> EngineDescription:
    """Return what an engine says of itself."""
    return _module(name).DESCRIPTION


def distributions() -> tuple[str, ...]:
    """Return the distributions that the libraries of all engines come in."""
    return tuple(one for name in ENGINES for one in description(name).distributions)


def devices(name: str) -> Mapping[str, tuple[str, ...]]:
    """Return the devices and precisions of an engine; see `EngineModule.devices`."""
    return _module(name).devices()


def precisions(devices: Mapping[str, tuple[str, ...]], device: str) -> tuple[str, ...]:
    """Return the precisions an engine has on a device, the one that `auto` takes first; none without it.

    The device is one as in a job: auto, cpu, cuda:1 ...; for auto, a GPU counts where there may be one.
    """
    kind = device.partition(":")[0]
    kinds = [name for name in devices if _may_be_here(name)] if kind == "auto" else [kind]
    return tuple(dict.fromkeys(precision for name in kinds for precision in devices.get(name, ())))


def _may_be_here(kind: str) -> bool:
    if kind == "mps":
        return sys.platform == "darwin"
    return kind == "cpu" or visible_gpus() > 0


def of_any_size() -> list[str]:
    """Return the names of the engines that take batches of several sizes."""
    return [name for name in ENGINES if description(name).any_size]


def saturation(name: str, network: Network) -> str | None:
    """Return why an engine must not run an int8 model on this processor; None if it may.

    What decides is in the weights, not in the sidecar, which an old model lacks and which anybody can write.
    """
    if not description(name).saturates or not network.full_range or not processor.saturates():
        return None
    return (
        f"the int8 model has 8-bit weights, and this processor has no VNNI: engine {name} would add "
        "products in 16 bits, which saturates"
    )


def batch_size(name: str, device: str) -> int:
    """Return the batch size with which an engine is fastest; see `EngineModule.batch_size`."""
    return _module(name).batch_size(device)


def fitting(size: int, taken: NetworkInput) -> int:
    """Return the batch size that an engine is fastest with; if items have many sizes, one that suits them.

    Those are large, and a batch ends where the next item has another size: it has as many pixels.
    """
    return size if taken.other is None else max(1, size * _USUAL // math.prod(taken.size))


def load(name: str, request: EngineRequest) -> Engine:
    """Load a network into an engine; see `EngineModule.load`."""
    return _module(name).load(request)


def one_line(said: object) -> str:
    """Return what a library says, on one line, and without its middle if it is long: causes come last."""
    text = " ".join(str(said).split())
    return text if len(text) <= 300 else f"{text[:120]} ... {text[-180:]}"
