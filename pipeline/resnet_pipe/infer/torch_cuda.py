"""CUDA in torch: which device, and a forward pass that is recorded once and replayed."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray

from resnet_pipe.errors import DeviceError
from resnet_pipe.infer.placement import check_exists, index_of
from resnet_pipe.infer.torch_network import TorchNetwork


def select(device: str, precision: str) -> tuple[torch.device, str]:
    """Return the device for `cuda` or `cuda:N`, and its full name; a `DeviceError` says why there is none."""
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
    check_exists(device, count)
    index = index_of(device)
    major, minor = torch.cuda.get_device_capability(index)
    if precision == "bf16" and major < 8:
        raise DeviceError(
            f"{device} does not support bf16: its architecture is {major}.{minor}, and bf16 came with 8.0",
            "infer.precision: fp16",
        )
    return torch.device("cuda", index), f"cuda:{index} (architecture {major}.{minor})"


class Replay:
    """A forward pass of a whole batch as a CUDA graph on a stream of its own, for one thread at a time.

    One launch instead of one for each operation. All its memory is taken when it is made, for batches of
    `shape`, (batch_size, H, W, 3). Float32 is float32: TF32 is off. cuDNN chooses by rule and not by a
    measurement, so that each run gives the same bits.

    Raises:
        RuntimeError: it cannot run there; torch.OutOfMemoryError if it is too large.
    """

    def __init__(self, network: TorchNetwork, device: torch.device, shape: tuple[int, ...]) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._staged = torch.zeros(shape, dtype=torch.uint8, pin_memory=True)
        self._pixels = torch.zeros(shape, dtype=torch.uint8, device=device)
        torch.set_float32_matmul_precision("highest")
        exact = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        with torch.inference_mode(), torch.cuda.device(device), exact:
            self._stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(self._stream):
                network(self._pixels)  # what the libraries set up on the first call cannot be recorded
            self._stream.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                self._outputs = network(self._pixels)
            self._results = {
                name: torch.zeros(output.shape, dtype=torch.float32, pin_memory=True)
                for name, output in self._outputs.items()
            }

    def run(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Execute the network on a batch, uint8, shape (n, H, W, 3), contiguous.

        Rows beyond the batch hold old pixels, and their results are dropped.
        """
        count = len(batch)
        self._staged.numpy()[:count] = batch
        with torch.inference_mode(), torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            self._pixels[:count].copy_(self._staged[:count], non_blocking=True)
            self._graph.replay()
            for name, result in self._results.items():
                result.copy_(self._outputs[name], non_blocking=True)
            self._stream.synchronize()
        return {name: result.numpy()[:count].copy() for name, result in self._results.items()}
