"""How many workers a run has: those that have something to do and, unless the job says so, fit in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.infer import engine as engines
from resnet_pipe.machine.limits import available_bytes
from resnet_pipe.reader.reader import Reader
from resnet_pipe.reader.section import ReaderDescription
from resnet_pipe.run.plan import Plan
from resnet_pipe.run.workers.slots import SlotShape

NETWORK_FACTOR = 4
"""What an engine takes for a network on the CPU, by the size of its file.

Measured with batches of 8, two streams, ResNet-50 (97 MiB) and ResNet-152 (229 MiB), in MiB, when the engine
was in the run's own process: opencv 656 and 1087, openvino 629 and 1046, onnxruntime 624 and 1008, torch 1196
and 1491. With eight streams, onnxruntime took 709 and 1132, and torch 1576 for ResNet-50. That the engine has
a process of its own takes 25 to 61 MiB more, with torch 220.
"""


def busy(wanted: int, plan: Plan, reader: Reader, batch_size: int) -> int:
    """Return how many of the workers wanted would have something to do; at least one."""
    batches = -(-plan.planned * reader.expected_items // batch_size)
    if batches < wanted and any(map(reader.may_split, plan.sources())):
        batches = wanted  # whatever was expected of it
    return max(1, min(wanted, batches))


@dataclass(frozen=True)
class Needs:
    """The memory that a run with its engine takes, and each worker with its slots, in bytes: an estimate.

    It is from measurements, and no enforced limit. What the run and its engine both have in memory, such as
    libraries, is counted once. Of several devices, only one engine is counted.
    """

    run: int
    worker: int

    def workers(self, wanted: int, available: int) -> int:
        """Return how many of the workers wanted fit in the available bytes next to the run; at least one."""
        return max(1, min(wanted, (available - self.run) // self.worker))


def needs(engine: str, reader: ReaderDescription, network_bytes: int, slots: SlotShape) -> Needs:
    """Estimate the memory of a run, from the bytes of the network's file and the slots of one worker."""
    run = engines.description(engine).run_bytes
    return Needs(run + NETWORK_FACTOR * network_bytes, reader.worker_bytes + slots.total_bytes)


def fitting(
    wanted: int,
    engine: str,
    reader: ReaderDescription,
    model: Path,
    slots: SlotShape,
    say: Callable[[str], None],
) -> int:
    """Return how many of the workers wanted there is memory for, and say so if that is not all of them.

    The model is an ONNX file; the slots are those of one worker.
    """
    available = available_bytes()
    workers = needs(engine, reader, model.stat().st_size, slots).workers(wanted, available)
    if workers < wanted:
        say(f"{workers} workers instead of {wanted}: memory is limited to {available / 2**30:.1f} GiB")
    return workers
