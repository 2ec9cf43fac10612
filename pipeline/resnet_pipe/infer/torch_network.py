"""A graph as torch functions, from uint8 pixels to float32 outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from resnet_pipe.infer import torch_onednn
from resnet_pipe.infer.onnx_graph import operations as op
from resnet_pipe.infer.onnx_graph.graph import Graph
from resnet_pipe.preprocess.network_input import NetworkInput, Pixels

Function = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class _Step:
    """A function of the values of some names, and the name of what it returns.

    No later step takes the `dead` ones, so that their memory can be used again.
    """

    run: Function
    inputs: tuple[str, ...]
    output: str
    dead: tuple[str, ...] = ()


class TorchNetwork:
    """A network on one device, which any number of threads may call.

    Convolutions compute in `dtype`, in NHWC where the device likes that best. Pooled features and classifiers
    are float32 at every precision: they take no time, and it is they that are kept. On the CPU, each forward
    pass has `threads`; 0 where that does not apply.
    """

    def __init__(
        self,
        graph: Graph,
        preprocessing: NetworkInput,
        device: torch.device,
        dtype: torch.dtype,
        threads: int,
    ) -> None:
        self._graph = graph
        self._device = device
        self._threads = threads
        self._dtype = dtype
        self._layout = torch.contiguous_format if device.type == "mps" else torch.channels_last
        self._as_is = preprocessing.shape is not None
        self._bgr = preprocessing.color == "bgr"
        # The channels of a row of pixels, one after the other: long rows are fast, three values are not.
        # Where images have many sizes, the largest is the widest; others take the beginning.
        width = preprocessing.size[1]
        mean, std = (np.tile(values, width) for values in (preprocessing.mean, preprocessing.std))
        self._scale, self._shift = self._float32(1 / (255 * std)), self._float32(-mean / std)
        self._constants = {name: self._float32(value) for name, value in graph.constants.items()}
        on_cpu = device.type == "cpu" and torch_onednn.available()
        self._fusions = torch_onednn.fusions(graph) if on_cpu else {}
        self._program = _free_early(self._steps(), keep={*graph.outputs, *graph.constants})
        self.convolutions = sum(isinstance(node.operation, op.Conv) for node in graph.nodes)
        self.fused = sum(len(fusion.absorbed) > 1 for fusion in self._fusions.values())
        """How many convolutions are executed together with what follows."""

    def __call__(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return all outputs, float32, shape (n, ...).

        The pixels are uint8 or float32, shape (n, H, W, 3), RGB, contiguous, on the network's device.
        """
        image = pixels if self._as_is else self._normalize(pixels)
        values = {**self._constants, self._graph.image: image}
        for step in self._program:
            values[step.output] = step.run(*(values[name] for name in step.inputs))
            for name in step.dead:
                del values[name]
        return {name: values[name].float() for name in self._graph.outputs}

    def run(self, batch: Pixels) -> dict[str, NDArray[np.float32]]:
        """Execute it, operation by operation, on a batch, shape (n, H, W, 3), contiguous."""
        if self._threads:
            torch.set_num_threads(self._threads)  # OpenMP keeps the number for each calling thread
        with torch.inference_mode():
            outputs = self(torch.from_numpy(batch).to(self._device))
            return {name: output.cpu().numpy() for name, output in outputs.items()}

    def _normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        count, height, width, channels = pixels.shape
        if self._bgr:
            pixels = pixels.flip(3)
        rows = pixels.view(count, height, width * channels).to(torch.float32)
        scale, shift = (values[: width * channels] for values in (self._scale, self._shift))
        image = torch.addcmul(shift, rows, scale).view(count, height, width, channels)
        return image.permute(0, 3, 1, 2).contiguous(memory_format=self._layout)

    def _float32(self, values: Any) -> torch.Tensor:  # noqa: ANN401 - an array of any dtype
        return torch.tensor(values, dtype=torch.float32, device=self._device)

    def _steps(self) -> list[_Step]:
        fused = self._fusions
        absorbed = {name for fusion in fused.values() for name in fusion.absorbed} - fused.keys()
        steps = []
        for node in self._graph.nodes:
            if node.output in fused and isinstance(node.operation, op.Conv):
                fusion = fused[node.output]
                run = torch_onednn.Convolution(node.operation, *self._weights(node.operation), fusion.relu)
                steps.append(_Step(run, fusion.inputs, fusion.absorbed[-1]))
            elif node.output not in absorbed:
                steps.append(_Step(self._function(node.operation), node.inputs, node.output))
        return steps

    def _weights(self, conv: op.Conv) -> tuple[torch.Tensor, torch.Tensor]:
        weight = self._float32(conv.weight).to(self._dtype).contiguous(memory_format=self._layout)
        return weight, self._float32(conv.bias).to(self._dtype)

    def _function(self, operation: op.Operation) -> Function:
        match operation:
            case op.Conv():
                return self._convolution(operation)
            case op.MaxPool(window):
                return partial(_max_pool, window)
            case op.AveragePool(window, count_pads):
                return lambda x: functional.avg_pool2d(
                    x, window.kernel, window.strides, window.pads[:2], window.ceil, count_pads
                )
            case op.Mean(axes, keep):
                return lambda x: x.mean(axes, keepdim=keep, dtype=torch.float32)
            case op.Linear():
                weight, bias = self._float32(operation.weight), self._float32(operation.bias)
                return lambda x: functional.linear(x.float(), weight, bias)
            case op.ScaleShift():
                scale, shift = (
                    self._float32(value).view(-1, 1, 1) for value in (operation.scale, operation.shift)
                )
                return lambda x: torch.addcmul(shift, x, scale).to(x.dtype)
            case op.Repeat((down, right)):
                return lambda x: functional.interpolate(x, scale_factor=(float(down), float(right)))
            case op.Clip(low, high):
                return lambda x: x.clamp(low, high)
            case op.Reshape(shape):
                return lambda x: x.reshape([n or x.shape[axis] for axis, n in enumerate(shape)])
            case op.Flatten(axis):
                return lambda x: x.reshape(int(np.prod(x.shape[:axis])), -1)
            case op.Softmax(axis, log):
                softmax = functional.log_softmax if log else functional.softmax
                return lambda x: softmax(x, axis, dtype=torch.float32)
            case op.Squeeze(axes):
                return lambda x: x.squeeze(axes)
            case op.Transpose(order):
                return lambda x: x.permute(order or [*range(x.ndim)][::-1])
            case op.Slice() | op.Unsqueeze():
                return lambda x: x[operation.of(x.ndim)]
            case op.Take(axis, places, alone):
                return partial(_take, axis, torch.tensor(places, device=self._device), alone)
            case op.Concat(axis):
                return lambda *values: torch.cat(values, axis)
            case op.Plain():
                return _PLAIN[operation]

    def _convolution(self, conv: op.Conv) -> Function:
        weight, bias = self._weights(conv)
        window = conv.window

        def run(x: torch.Tensor) -> torch.Tensor:
            x, pads = _padded(window, x.to(weight.dtype), 0)
            return functional.conv2d(x, weight, bias, window.strides, pads, window.dilations, conv.groups)

        return run


class Eager:
    """A network on a CUDA stream of its own, for one thread at a time, on batches of any size.

    It computes as `Replay` does, but launches each operation.
    """

    def __init__(self, network: TorchNetwork, device: torch.device) -> None:
        self._network = network
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        torch.backends.cudnn.allow_tf32 = False
        torch.cuda.synchronize(device)  # the weights are there, for a stream that is not theirs

    def run(self, batch: Pixels) -> dict[str, NDArray[np.float32]]:
        """Execute the network on a batch, shape (n, H, W, 3), contiguous."""
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            return self._network.run(batch)


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

    def run(self, batch: Pixels) -> dict[str, NDArray[np.float32]]:
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


_PLAIN: Mapping[op.Plain, Function] = {
    op.Plain.ADD: torch.add,
    op.Plain.SUBTRACT: torch.subtract,
    op.Plain.MULTIPLY: torch.multiply,
    op.Plain.DIVIDE: torch.divide,
    op.Plain.POWER: torch.pow,
    op.Plain.PRODUCT: lambda x, y: x.float() @ y.float(),
    op.Plain.IDENTITY: lambda x: x,
    op.Plain.RELU: torch.relu,
    op.Plain.SIGMOID: lambda x: x.float().sigmoid(),
    op.Plain.TANH: lambda x: x.float().tanh(),
    op.Plain.EXP: lambda x: x.float().exp(),
    op.Plain.ROOT: lambda x: x.float().sqrt(),
}


def _take(axis: int, places: torch.Tensor, alone: bool, x: torch.Tensor) -> torch.Tensor:
    taken = x.index_select(axis, places % x.shape[axis])
    return taken.squeeze(axis) if alone else taken


def _padded(window: op.Window, x: torch.Tensor, value: float) -> tuple[torch.Tensor, op.Pair]:
    """Return a value for torch's functions, and their pads: those know only equal ones on both sides."""
    top, left, bottom, right = window.pads
    if window.symmetric:
        return x, (top, left)
    return functional.pad(x, (left, right, top, bottom), value=value), (0, 0)


def _max_pool(window: op.Window, x: torch.Tensor) -> torch.Tensor:
    x, pads = _padded(window, x, -math.inf)
    return functional.max_pool2d(x, window.kernel, window.strides, pads, window.dilations, window.ceil)


def _free_early(steps: list[_Step], keep: set[str]) -> list[_Step]:
    freed, program = set(keep), []
    for step in reversed(steps):
        dead = tuple(name for name in {*step.inputs, step.output} if name not in freed)
        freed.update(dead)
        program.append(replace(step, dead=dead))
    return program[::-1]
