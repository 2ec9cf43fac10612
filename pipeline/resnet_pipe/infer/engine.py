"""The contract of an engine, and the registry of the engines there are."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.model import Preprocessing

ENGINES = {"opencv": "resnet_pipe.infer.opencv"}
"""name -> module. The module has load()."""


@dataclass(frozen=True)
class EngineInfo:
    """What really runs, as opposed to what was asked for.

    Attributes:
        name: of the engine.
        version: of its library.
        device: `cpu`, or `cuda:N (name of the GPU)`.
        precision: `fp32` or `fp16`.
        threads: of the CPU; 0 where it does not apply.
        proof: how the device was established, in words.
        note: what the user should know about the choice, such as why auto did not take CUDA.
    """

    name: str
    version: str
    device: str
    precision: str
    threads: int
    proof: str
    note: str = ""


@dataclass(frozen=True)
class EngineRequest:
    """What to load and how to run it.

    Attributes:
        model: the ONNX file.
        preprocessing: gives the size and the normalisation of the input.
        outputs: names of the outputs wanted, in this order.
        batch_size: the largest batch that infer() will be given.
        device: auto, cpu, cuda or cuda:N.
        precision: fp32 or fp16.
        threads: CPU threads to use.
    """

    model: Path
    preprocessing: Preprocessing
    outputs: tuple[str, ...]
    batch_size: int
    device: str
    precision: str
    threads: int


class Engine(Protocol):
    """A loaded network. Used from one thread."""

    def infer(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Execute the network.

        Args:
            batch: uint8, shape (n, crop, crop, 3), RGB, 1 <= n <= batch_size. A shorter batch must
                not make the engine rebuild its network. It may be overwritten after the call.

        Returns:
            output name to float32, shape (n, width), owned by the caller.

        Raises:
            EngineError: the network could not be executed on this batch.
        """

    def shrink(self, batch_size: int) -> None:
        """Use at most `batch_size` from now on, because a larger batch did not fit into memory."""

    def describe(self) -> EngineInfo:
        """Return what really runs."""


def load(name: str, request: EngineRequest) -> Engine:
    """Load a network into an engine and prove, with one forward pass, that it runs.

    Raises:
        ModelError: the engine cannot run this model.
        DeviceError: the device or the precision is not to be had.
        MissingExtraError: the engine's library is not installed.
    """
    return cast(Engine, importlib.import_module(ENGINES[name]).load(request))
