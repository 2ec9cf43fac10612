"""PyTorch on the CPU, on CUDA or on Apple's GPU, with the weights of the ONNX file."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import DeviceError, EngineError, MissingExtraError, ModelError
from resnet_pipe.infer.batches import padded, rows_of, singly
from resnet_pipe.infer.engine import Engine, EngineDescription, EngineInfo, EngineRequest, one_line
from resnet_pipe.infer.first_passes import execute, trusted
from resnet_pipe.infer.placement import Streams, check_supported, existing, load_where_it_runs
from resnet_pipe.machine import processor
from resnet_pipe.preprocess.network_input import Pixels

if TYPE_CHECKING:
    import torch

    from resnet_pipe.infer.torch_network import TorchNetwork

DESCRIPTION = EngineDescription(
    library="torch",
    distributions=("torch",),
    extra="torch",
    any_size=True,
    run_bytes=1120 << 20,  # its libraries are large
)
MAX_STREAMS = 8
"""On the CPU. They share the weights; each has activations of its own."""
_GPU_STREAMS = {"cuda": 2, "mps": 1}
"""On CUDA, one copies while the other one computes."""


def devices() -> dict[str, tuple[str, ...]]:
    """Return the precisions by kind of device. The CPU has bf16 where it has instructions for it."""
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("torch", "torch", "engine torch")
    return {
        "cpu": ("fp32", "bf16") if processor.computes_bf16() else ("fp32",),
        "cuda": ("fp32", "fp16", "bf16"),
        "mps": ("fp32", "fp16"),
    }


def batch_size(device: str) -> int:
    """Return the batch size that is fastest: small where the caches of a core hold it, large on a GPU."""
    # The driver's own device file tells whether there may be a GPU without importing torch, which takes 2 s.
    may_have_one = Path("/dev/nvidiactl").exists() or sys.platform == "darwin"
    return 64 if device.startswith(("cuda", "mps")) or (device == "auto" and may_have_one) else 8


def load(request: EngineRequest) -> Engine:
    """Build the network of an ONNX file from torch's functions and run it once; see `EngineModule.load`."""
    # Huge pages, where Linux has them: with large images, torch maps new memory for each layer, and with
    # pages of 4 KiB a Faster R-CNN took 1.12 times as long. Torch reads this when it first allocates memory.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    gpu = "mps" if sys.platform == "darwin" else "cuda"
    return trusted(request, lambda wanted: load_where_it_runs(wanted, gpu, TorchEngine))


class TorchEngine:
    """One network in torch, which several threads share. The device normalises.

    On the CPU, each of few cores runs a stream of its own, without threads of torch's: those would be
    joined after every layer, so that a decoder that takes one core for a moment would hold up all of them.
    """

    def __init__(self, request: EngineRequest, note: str = "") -> None:
        check_supported("torch", request, devices(), note)
        import torch

        from resnet_pipe.infer.onnx_graph.graph import read
        from resnet_pipe.infer.torch_network import Eager, Replay, TorchNetwork

        self._request = request
        kind = request.device.partition(":")[0]
        self.streams = request.streams or _GPU_STREAMS.get(kind, min(request.threads, MAX_STREAMS))
        self._threads = max(1, request.threads // self.streams) if kind == "cpu" else 0
        device, self._device = _select(request)
        started = time.perf_counter()
        graph = read(request.model, request.outputs)
        dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[request.precision]
        shape = request.batch_size, *request.preprocessing.size, 3
        try:
            network = TorchNetwork(graph, request.preprocessing, device, dtype, self._threads)
            self._load_s = time.perf_counter() - started
            runners: list[TorchNetwork | Eager | Replay] = [network] * self.streams
            images = request.preprocessing.shape is None and request.preprocessing.other is None
            recorded = kind == "cuda" and images
            if recorded:
                runners = [Replay(network, device, shape) for _ in range(self.streams)]
            elif kind == "cuda":
                runners = [Eager(network, device) for _ in range(self.streams)]
            self.first = execute(request, runners[0].run, (RuntimeError, IndexError, ValueError))
            fixed, varies = not self.first.any_size, request.preprocessing.other is not None
            self._singly = varies and kind != "cuda" and not fixed
            self._size = request.batch_size if fixed or (varies and not self._singly) else 0
            """What a short batch is padded to: another size may give other bits."""
            self._shrinks = not fixed
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"{self._device} has too little memory for {self.streams} streams of {request.batch_size} "
                f"images: {one_line(error)}",
                f"infer.batch_size: {max(1, request.batch_size // 2)}, or infer.streams: 1",
            ) from None
        except (RuntimeError, IndexError, ValueError, TypeError, MemoryError) as error:
            version, words = torch.__version__, one_line(error)
            problem = f"torch {version} cannot run {request.model} on {self._device}: {words}"
            raise (ModelError if kind == "cpu" else DeviceError)(problem) from None
        self._proof = _prove(network, request.precision, kind, recorded)
        self._note = "; ".join(filter(None, [note, _slow_bf16(request)]))
        self._runners = Streams(runners)

    def infer(self, batch: Pixels) -> dict[str, NDArray[np.float32]]:
        """Execute the network; see `Engine.infer`."""
        try:
            whole = padded(np.require(batch, requirements="W"), self._size)
            with self._runners.one() as runner:
                outputs = singly(runner.run, whole) if self._singly else runner.run(whole)
        except (RuntimeError, MemoryError) as error:
            raise EngineError(f"torch failed on a batch of {len(batch)}: {one_line(error)}") from None
        return {name: rows_of(self._request, outputs[name], len(batch)) for name in self._request.outputs}

    def shrink(self, batch_size: int) -> None:
        """Use a smaller batch from now on; see `Engine.shrink`. What is not padded runs as it is."""
        if self._shrinks:
            self._size = min(self._size, batch_size)

    def describe(self) -> EngineInfo:
        """Return what really runs."""
        import torch

        return EngineInfo(
            name="torch",
            version=torch.__version__,
            device=self._device,
            precision=self._request.precision,
            threads=self._threads * self.streams,
            streams=self.streams,
            load_s=round(self._load_s, 3),
            proof=self._proof,
            note=self._note,
        )


def _select(request: EngineRequest) -> tuple[torch.device, str]:
    """Return the device and its full name; a `DeviceError` says why torch cannot run there."""
    import torch

    device = request.device
    if device == "mps" and not torch.backends.mps.is_available():
        on_a_mac = sys.platform == "darwin"
        reason = "needs macOS 14 on Apple silicon" if on_a_mac else f"is Apple's GPU; this is {sys.platform}"
        raise DeviceError(f"device mps {reason}", "infer.device: cpu")
    if not device.startswith("cuda"):
        return torch.device(device), device
    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        raise DeviceError(
            f"this torch {torch.__version__} was built without CUDA",
            "install a torch that was built with CUDA, or use device: cpu",
        )
    with warnings.catch_warnings(record=True) as caught:  # what is wrong with the driver comes as a warning
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        reason = "; ".join(" ".join(str(warning.message).split())[:300] for warning in caught)
        raise DeviceError(
            f"torch finds no NVIDIA driver or GPU{': ' if reason else ''}{reason}",
            "check that nvidia-smi lists a GPU (in a container: run it with --gpus all), or use device: cpu",
            "cuda",
        )
    index = existing(device, count)
    major, minor = torch.cuda.get_device_capability(index)
    if request.precision == "bf16" and major < 8:
        raise DeviceError(
            f"{device} does not support bf16: its architecture is {major}.{minor}, and bf16 came with 8.0",
            "infer.precision: fp16",
        )
    return torch.device("cuda", index), f"cuda:{index} (architecture {major}.{minor})"


def _prove(network: TorchNetwork, precision: str, kind: str, recorded: bool) -> str:
    import torch

    proof = f"a forward pass ran there: {network.convolutions} convolutions in {precision}"
    if network.fused:
        proof += f", {network.fused} of them fused by oneDNN with what follows"
    if kind == "cpu":
        proof += f"; {torch.backends.cpu.get_cpu_capability()}"
    return proof if kind != "cuda" else f"{proof}{', recorded as a CUDA graph' * recorded}; TF32 is off"


def _slow_bf16(request: EngineRequest) -> str:
    on_x86 = request.device == "cpu" and processor.is_x86()
    if request.precision == "bf16" and on_x86 and not processor.multiplies_bf16_tiles():
        return "this CPU has bf16 but no AMX; where that was measured, fp32 was 1.4 times as fast"
    return ""
