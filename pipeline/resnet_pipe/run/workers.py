"""How many worker processes a run has where the job leaves it open: as many as there is memory for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.run.memory import available_bytes
from resnet_pipe.run.slots import SlotShape

WORKER_BYTES = {"images": 160 << 20, "video": 320 << 20}
"""Highest resident memory of a worker, by kind of reader."""
RUN_BYTES = 400 << 20
"""Of the run itself with an engine, beside what that takes for its network."""
NETWORK_FACTOR = 4
"""What an engine takes for a network, by the size of its file."""


@dataclass(frozen=True)
class Needs:
    """The memory that a run takes, bytes: what was measured, not a limit that is kept.

    Attributes:
        run: the run itself, with its engine.
        worker: each worker, with its slots.
    """

    run: int
    worker: int

    def workers(self, wanted: int, available: int) -> int:
        """Return how many of the workers wanted fit beside the run; at least one.

        Args:
            wanted: workers, if there is memory for them.
            available: memory that the run may have, bytes.
        """
        return max(1, min(wanted, (available - self.run) // self.worker))


def needs(kind: str, network_bytes: int, slots: SlotShape) -> Needs:
    """Estimate the memory that a run takes.

    Args:
        kind: of the reader.
        network_bytes: size of the ONNX file.
        slots: of one worker.
    """
    return Needs(RUN_BYTES + NETWORK_FACTOR * network_bytes, WORKER_BYTES[kind] + slots.total_bytes)


def fitting(wanted: int, kind: str, model: Path, slots: SlotShape, say: Callable[[str], None]) -> int:
    """Return how many of the workers wanted there is memory for, and say so if that is not all of them.

    Args:
        wanted: workers, if there is memory for them.
        kind: of the reader.
        model: the ONNX file.
        slots: of one worker.
        say: tells the user.
    """
    available = available_bytes()
    workers = needs(kind, model.stat().st_size, slots).workers(wanted, available)
    if workers < wanted:
        say(f"{workers} workers instead of {wanted}: memory is limited to {available / 2**30:.1f} GiB")
    return workers
