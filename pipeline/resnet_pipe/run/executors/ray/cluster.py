"""A Ray cluster as its driver sees it: the connection, what its nodes have room for, how actors are made."""

from __future__ import annotations

import logging
import math
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from resnet_pipe.errors import MissingExtraError, UsageError
from resnet_pipe.job.cluster import RaySection
from resnet_pipe.run.executors.ray.actor import Actor

_THREADS = 4
"""Of an actor, for the driver's calls: one may wait for messages while others come."""

_CONNECT_S = 10.0
_LOOK_S = 0.2


class Slot(NamedTuple):
    """Room for one actor: its number on a node, whose id is Ray's, and what it takes there."""

    node: str
    number: int
    cpus: int
    gpus: float


@contextmanager
def connected(address: str, look: Callable[[], object]) -> Iterator[None]:
    """Be connected with a cluster while the block runs; a connection that this process has is used, and kept.

    Until it is there, `look` is called several times a second; what it raises ends the waiting.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: there is no such cluster, or it cannot be used from here.
    """
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "ray", "run.executor: ray") from None
    if ray.is_initialized():
        yield
        return
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # what goes wrong is in exceptions as well
    try:
        _connect(address, look)
        yield
    finally:
        ray.shutdown()
        logger.setLevel(level)


def _connect(address: str, look: Callable[[], object]) -> None:
    import ray

    problems: list[Exception] = []

    def connect() -> None:
        try:
            if address != "auto":  # Ray would try for a minute and more
                host, _, port = address.rpartition(":")
                socket.create_connection((host, int(port)), _CONNECT_S).close()
            ray.init(address, log_to_driver=False, configure_logging=False)
        except Exception as error:
            problems.append(error)

    # In the main thread, Ray would put its own handler of SIGTERM into the place of ours.
    thread = threading.Thread(target=connect, name="connect", daemon=True)
    thread.start()
    while thread.is_alive():
        look()
        thread.join(_LOOK_S)
    if problems:
        where = "on this machine" if address == "auto" else f"at {address}"
        raise UsageError(
            f"cannot use a Ray cluster {where}: {' '.join(str(problems[0]).split())}",
            "make this machine a node of one: `ray start --head`, or `ray start --address=HOST:PORT`",
        )


@dataclass(frozen=True)
class Room:
    """What a cluster has room for, if each worker takes so many cores and GPUs."""

    section: RaySection
    gpus: float

    def slots(self) -> list[Slot]:
        """Return the room for workers on nodes that are there and not leaving.

        All nodes have one before any has a second one.
        """
        import ray

        leaving = draining()
        nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]
        found = [slot for node in nodes for slot in self._on(node["NodeID"], node["Resources"])]
        return sorted(found, key=lambda slot: slot.number)

    @property
    def most(self) -> float:
        """How many workers the job wants at most, be there room for more or not."""
        return math.inf if self.section.workers == "auto" else self.section.workers

    def describe(self) -> str:
        """Return what a worker takes, in words."""
        cores = self.section.cpus_per_worker or 1
        taken = f"{cores} core{'' if cores == 1 else 's'}"
        return f"{taken} and {self.gpus:g} GPU{'' if self.gpus == 1 else 's'}" if self.gpus else taken

    def _on(self, node: str, resources: dict[str, float]) -> Iterator[Slot]:
        cores, gpus = int(resources.get("CPU", 0)), resources.get("GPU", 0.0)
        wanted = self.section.cpus_per_worker
        if self.gpus:
            count = int(gpus / self.gpus + 1e-9)
            if wanted:
                count = min(count, cores // wanted)
        else:
            count = cores // wanted if wanted else min(1, cores)
        for number in range(count):
            yield Slot(node, number, wanted or max(1, cores // count), self.gpus)


def draining() -> set[str]:
    """Return the ids of the nodes that are to leave the cluster; none if Ray does not say."""
    with suppress(Exception):  # this has no public name
        import ray

        return set(ray._private.state.state.get_draining_nodes())
    return set()


def make_actor(slot: Slot) -> Any:  # noqa: ANN401 - Ray's handle has no type of its own
    """Have an actor made in a slot; returns at once, whether there is room now or not."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    options = ray.remote(
        num_cpus=slot.cpus,
        num_gpus=slot.gpus,
        max_restarts=0,
        max_task_retries=0,
        max_concurrency=_THREADS,
        scheduling_strategy=NodeAffinitySchedulingStrategy(slot.node, soft=False),
    )
    return options(Actor).remote()
