"""How many worker processes a run has where the job leaves it open: as many as there is memory for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.machine.memory import available_bytes
from resnet_pipe.run.workers.slots import SlotShape

WORKER_BYTES = {"images": 132 << 20, "video": 216 << 20}
"""Highest resident memory of a worker, by kind of reader.

Measured with batches of 8: 131 MiB with JPEGs of 4000 x 3000 pixels (52 with 500 x 375), and 214 MiB with
H.264 of 3840 x 2160 (107 with 1920 x 1080).
"""
RUN_BYTES = 384 << 20
"""Of the run and its engine's process, beside what that takes for its network; see `NETWORK_FACTOR`.

What both have in memory, such as libraries, is counted once. Of several devices, only one engine is counted.
"""
TORCH_BYTES = 1120 << 20
"""The same with torch, whose libraries are large."""
NETWORK_FACTOR = 4
"""What an engine takes for a network on the CPU, by the size of its file.

Measured with batches of 8, two streams, ResNet-50 (97 MiB) and ResNet-152 (229 MiB), in MiB, when the engine
was in the run's own process: opencv 656 and 1087, openvino 629 and 1046, onnxruntime 624 and 1008, torch 1196
and 1491. With eight streams, onnxruntime took 709 and 1132, and torch 1576 for ResNet-50. That the engine has
a process of its own takes 25 to 61 MiB more, with torch 220.
"""


@dataclass(frozen=True)
class Needs:
    """The memory that a run takes, in bytes: an estimate from measurements, not an enforced limit.

    Attributes:
        run: the run and its engine.
        worker: each worker, with its slots.
    """

    run: int
    worker: int

    def workers(self, wanted: int, available: int) -> int:
        """Return how many of the desired workers fit in memory next to the run; at least one.

        Args:
            wanted: workers, if there is memory for them.
            available: memory that the run may have, bytes.
        """
        return max(1, min(wanted, (available - self.run) // self.worker))


def needs(engine: str, kind: str, network_bytes: int, slots: SlotShape) -> Needs:
    """Estimate the memory that a run takes.

    Args:
        engine: its name.
        kind: of the reader.
        network_bytes: size of the ONNX file.
        slots: of one worker.
    """
    run = TORCH_BYTES if engine == "torch" else RUN_BYTES
    return Needs(run + NETWORK_FACTOR * network_bytes, WORKER_BYTES[kind] + slots.total_bytes)


def fitting(
    wanted: int, engine: str, kind: str, model: Path, slots: SlotShape, say: Callable[[str], None]
) -> int:
    """Return how many of the workers wanted there is memory for, and say so if that is not all of them.

    Args:
        wanted: workers, if there is memory for them.
        engine: its name.
        kind: of the reader.
        model: the ONNX file.
        slots: of one worker.
        say: tells the user.
    """
    available = available_bytes()
    workers = needs(engine, kind, model.stat().st_size, slots).workers(wanted, available)
    if workers < wanted:
        say(f"{workers} workers instead of {wanted}: memory is limited to {available / 2**30:.1f} GiB")
    return workers
