"""Items as engines take them, read by worker processes: a hostile file costs itself, not the command."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.ledger.record import Failure
from resnet_pipe.machine.limits import available_cores
from resnet_pipe.preprocess.geometry import Geometry
from resnet_pipe.preprocess.network_input import Pixels, Placement
from resnet_pipe.reader.listing import PassedOver
from resnet_pipe.reader.reader import Reader
from resnet_pipe.reader.source import Source
from resnet_pipe.run.workers.messages import ReadyBatch, Task
from resnet_pipe.run.workers.pool import WorkerPool
from resnet_pipe.run.workers.slots import SlotShape

LISTED = 10_000
"""Sources among which the sample is spread; a directory of millions is not listed to its end."""
PER_WORKER = 16
"""A process takes about as long to start as it takes to read this many images."""
TRIES = 4
"""Sources that are tried for each item wanted, before the rest is taken to be as bad as they were."""


class Item(NamedTuple):
    """An item as engines take it, shape (H, W, 3), RGB, and where its image lies in it."""

    pixels: Pixels
    placement: Placement


@dataclass(frozen=True)
class Items:
    """A sample of what a reader gives, ready for an engine: shape (n, H, W, 3), RGB.

    Where items have many sizes, it is several of these, with one item each. It was spread among as many
    sources as were `found`; the failures are of those that could not be read.

    Attributes:
        placements: where the image of each item lies in it, (n, 4): left, top, width, height, in pixels.
    """

    items: Pixels | Sequence[Pixels]
    placements: NDArray[np.int32]
    found: int
    passed_over: PassedOver
    failures: list[Failure] = field(default_factory=list)


def read_items(reader: Reader, geometry: Geometry, count: int, timeout_s: float) -> Items:
    """Read up to `count` items: of images one each, spread evenly; of videos the first ones of a few.

    Worker processes bring them to the size of the geometry; a source that takes longer than `timeout_s`
    fails. RunError if a directory cannot be listed, or the worker processes do not work at all.
    """
    passed_over = PassedOver()
    sources = list(islice(reader.list_sources(passed_over), LISTED))
    chosen = _spread(sources, count)
    workers = min(available_cores(), -(-min(len(chosen), count) // PER_WORKER))
    kind = np.float32 if geometry.floats else np.uint8
    if not workers:
        nothing = np.empty((0, *geometry.size, 3), kind)
        return Items(nothing, np.empty((0, 4), np.int32), len(sources), passed_over)
    shape = SlotShape(workers, 2, 1, geometry.size, geometry.floats)
    with closing(WorkerPool(reader, geometry, shape, timeout_s, traced=False)) as pool:
        items, failures = collect(pool, chosen, count)
    found = [items[place] for place in sorted(items)[:count]]
    read: Pixels | Sequence[Pixels] = [one.pixels[np.newaxis] for one in found]
    if not geometry.varies:
        read = np.array([one.pixels for one in found], kind).reshape(-1, *geometry.size, 3)
    placements = np.array([one.placement[2:] for one in found], np.int32).reshape(-1, 4)
    return Items(read, placements, len(sources), passed_over, failures)


def _spread(sources: list[Source], count: int) -> list[Source]:
    """Return those to try, ordered so that the first `count` lie as far apart as all of them."""
    tries = min(len(sources), TRIES * count)
    places = [index * len(sources) // tries for index in range(tries)]
    return [sources[place] for offset in range(TRIES) for place in places[offset::TRIES]]


def collect(
    pool: WorkerPool, sources: list[Source], count: int
) -> tuple[dict[tuple[int, int], Item], list[Failure]]:
    """Read sources until there are `count` items, through a pool with batches of one item.

    Returned are the items by position of the source and in it; and the failures.
    RunError if the worker processes do not work at all.
    """
    items: dict[tuple[int, int], Item] = {}
    failures: list[Failure] = []
    given = ended = 0
    while len(items) < count and (ended < given or given < len(sources)):
        # No source is begun that is not needed, unless one of those before it fails.
        while given < min(len(sources), count + len(failures)) and pool.wants_task():
            pool.submit(Task(given, (sources[given].key,), sources=1.0))
            given += 1
        for message in pool.poll(1.0):
            if not isinstance(message, ReadyBatch):
                continue  # only a task with `may_split` is split
            failures += message.failures
            ended += message.last
            if message.slot is not None:
                pixels = pool.slots.batch(message.slot, message.size)[0].copy()
                placement = message.rows[0].placement
                assert placement is not None  # noqa: S101 - a worker has prepared it
                items[message.task, message.number] = Item(pixels, placement)
                pool.release(message.slot)
    return items, failures
