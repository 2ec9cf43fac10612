"""The first passes of a network: what it takes and gives, and whether a batch comes out like single items.

Some libraries execute some graphs wrong from the second item of a batch on. No engine is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import ModelError
from resnet_pipe.infer.batches import Forward, check_outputs, check_sizes
from resnet_pipe.infer.engine import Engine, EngineInfo, EngineRequest
from resnet_pipe.preprocess.network_input import Pixels

TOLERANCES = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 5e-2, "int8": 5e-2}
"""By precision: the largest relative difference that another order of the same sums explains."""
_BLOCKS = 8
"""Noise has so many blocks of one colour in each direction: an image, and not a grey haze."""
_DARKEST = 64
_MOST = 0.9
"""Of boxes, so many must agree: which of two near-equal ones comes first can depend on the last bit."""
_LISTED = 1000
"""A network that lists no more boxes than this may have chosen them, and may list them in another order."""

Rows = Mapping[str, NDArray[np.float32]]
"""What a network gave for one item, by name."""


@dataclass(frozen=True)
class FirstPasses:
    """What they have shown.

    Attributes:
        any_size: whether the network can be given a short batch as it is; False if that was not tried.
        wrong: how a batch comes out wrong, in words; empty if it does not.
    """

    any_size: bool
    wrong: str = ""


class Tried(Engine, Protocol):
    """An engine that says what the first passes of its network have shown."""

    first: FirstPasses


def execute(
    request: EngineRequest,
    forward: Forward,
    errors: type[Exception] | tuple[type[Exception], ...],
    *,
    short: bool = True,
) -> FirstPasses:
    """Execute a network on a batch of the size of the request, and on one item of it alone.

    That item is the second and the last one of the batch. Without `short`, or where the network takes one
    size of batches only, it is executed as the first one of another batch instead.

    Args:
        request: what has been loaded.
        forward: executes it; if that cannot be, its library raises one of `errors`.
        errors: those that say that a short batch, or another size of images, is not taken.
        short: whether to try a batch of one item.

    Raises:
        ModelError: as of `check_outputs` and `check_sizes`.
    """
    batch = noise(request)
    outputs = forward(batch)
    shapes = {name: values.shape for name, values in outputs.items()}
    check_outputs(request, shapes)
    second, last = (_row(request, outputs, row) for row in (min(1, request.batch_size - 1), -1))
    check_sizes(request, forward, errors, shapes)
    if request.batch_size == 1:
        return FirstPasses(any_size=True)
    alone = _alone(request, batch[-1:], forward, errors) if short else None
    expected = alone or _row(request, forward(_moved(batch)), 0)
    wrong = _wrong(request, second, expected, "second") or _wrong(request, last, expected, "last")
    return FirstPasses(alone is not None, wrong)


def _alone(
    request: EngineRequest,
    item: Pixels,
    forward: Forward,
    errors: type[Exception] | tuple[type[Exception], ...],
) -> Rows | None:
    """Return what a network gives for an item alone; None if it cannot be given just one."""
    try:
        outputs = forward(item)
    except errors:
        return None
    return _row(request, outputs, 0) if all(len(outputs[name]) == 1 for name in request.outputs) else None


def noise(request: EngineRequest) -> Pixels:
    """Return a whole batch of images of coloured blocks, some darker; the second one is the last, too.

    For a second network, its items are noise.
    """
    taken, rng = request.preprocessing, np.random.default_rng(0)
    if taken.shape is not None:
        parts = rng.random((request.batch_size, *taken.shape), np.float32)
        parts[1:2] = parts[-1]
        return parts
    lightest = rng.integers(_DARKEST, 256, (request.batch_size, 1, 1, 1))
    blocks = rng.integers(0, lightest, (request.batch_size, _BLOCKS, _BLOCKS, 3))
    blocks[1:2] = blocks[-1]
    height, width = (np.arange(length) * _BLOCKS // length for length in taken.size)
    small = blocks.astype(np.float32 if taken.floats else np.uint8)
    return np.ascontiguousarray(small[:, height][:, :, width])


def _moved(batch: Pixels) -> Pixels:
    """Return a batch of other images behind the last one of this."""
    others: Pixels = 255 - batch
    others[0] = batch[-1]
    return others


def _row(request: EngineRequest, outputs: Mapping[str, NDArray[np.generic]], row: int) -> Rows:
    """Return a copy: the next pass may overwrite the outputs."""
    return {name: np.array(outputs[name][row], np.float32) for name in request.outputs}


def _wrong(request: EngineRequest, found: Rows, expected: Rows, which: str) -> str:
    """Return in words what differs too much; empty if nothing does."""
    least = TOLERANCES[request.precision]
    of_images = request.preprocessing.shape is None
    for name, values in expected.items():
        if request.rows or (of_images and values.ndim == 1):  # as of features beside maps
            difference = float(_apart(found[name].ravel(), values.ravel(), np.abs(values).max()).max())
        else:
            difference = _of_boxes(found[name], values, least)
        if not difference <= least:
            where = f"as the {which} of {request.batch_size}"
            return (
                "batches come out wrong here, so items are executed one at a time:"
                f" {where}, an item differs by {difference:.1e} in output {name!r} from"
                f" itself alone or first (at most {least:g} in {request.precision})"
            )
    return ""


def _of_boxes(found: NDArray[np.float32], expected: NDArray[np.float32], least: float) -> float:
    """Return the difference that no more than a tenth of the boxes of an item exceed.

    The longer one of the two axes is that of the boxes. Each of their numbers is compared relative to the
    largest of its kind, or to 1: coordinates go up to hundreds, scores to 1.
    """
    length = len(expected) if expected.ndim > 1 else 1
    ours, theirs = (values.reshape(length, -1) for values in (found, expected))
    if theirs.shape[0] < theirs.shape[1]:
        ours, theirs = ours.T, theirs.T
    largest = np.maximum(1, np.abs(theirs).max(axis=0))
    difference = float(np.quantile(_apart(ours, theirs, largest).max(axis=1), _MOST, method="lower"))
    if difference <= least or len(theirs) > _LISTED:
        return difference
    nearest = np.zeros((len(ours), len(theirs)))
    for one, other, size in zip(ours.T, theirs.T, largest, strict=True):
        np.maximum(nearest, _apart(one[:, None], other[None], size), out=nearest)
    return float(np.quantile(nearest.min(axis=1), _MOST, method="lower"))


def _apart(
    found: NDArray[np.float32], expected: NDArray[np.float32], largest: NDArray[np.float32] | np.float32
) -> NDArray[np.float64]:
    """Return relative differences; 0 of equal values that are not finite, else infinite for such."""
    with np.errstate(all="ignore"):
        difference = np.abs(found.astype(np.float64) - expected) / largest
    difference[np.isnan(difference)] = np.inf
    difference[(found == expected) | (np.isnan(found) & np.isnan(expected))] = 0.0
    return difference


def trusted(request: EngineRequest, make: Callable[[EngineRequest], Tried]) -> Engine:
    """Load a network, and return what executes one item at a time if its batches come out wrong."""
    engine = make(request)
    wrong = engine.first.wrong
    if not wrong:
        return engine
    if not engine.first.any_size:  # each item would be padded to a whole batch
        with suppress(ModelError):  # a network that takes no other number
            engine = make(replace(request, batch_size=1))
    return OneAtATime(engine, wrong)


class OneAtATime:
    """An engine that executes the items of a batch one after the other, for the reason given."""

    def __init__(self, engine: Engine, wrong: str) -> None:
        self._engine = engine
        self._wrong = wrong
        self.streams = engine.streams

    def infer(self, batch: Pixels) -> dict[str, NDArray[np.float32]]:
        """Execute the network; see `Engine.infer`."""
        parts = [self._engine.infer(batch[row : row + 1]) for row in range(len(batch))]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def shrink(self, batch_size: int) -> None:
        """Do nothing: one item is the smallest batch."""

    def describe(self) -> EngineInfo:
        """Return what really runs."""
        info = self._engine.describe()
        return replace(info, note="; ".join(filter(None, (info.note, self._wrong))))
