"""How many workers a run has: those that have something to do and, unless the job says so, fit in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from resnet_pipe.infer import engine as engines
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.machine.limits import available_bytes
from resnet_pipe.run.workers.slots import SlotShape
from resnet_pipe.run.workload import Workload

NETWORK_FACTOR = 4
"""What an engine takes for a network on the CPU, by the size of its file.

Measured with batches of 8, two streams, ResNet-50 (97 MiB) and ResNet-152 (229 MiB), in MiB, when the engine
was in the run's own process: opencv 656 and 1087, openvino 629 and 1046, onnxruntime 624 and 1008, torch 1196
and 1491. With eight streams, onnxruntime took 709 and 1132, and torch 1576 for ResNet-50. That the engine has
a process of its own takes 25 to 61 MiB more, with torch 220.
"""

_CANARY_BYTES, _CANARY_FACTOR = 160 << 20, 3
"""What the canary's process takes beside its network, and for that, by the size of its file.

Measured, in MiB: ResNet-18 (45 MiB) 251 with onnxruntime, 179 with opencv; ResNet-50 (90 MiB) 350 and 300.
"""

PIXEL_BYTES = 340
"""What an engine takes on the CPU for each pixel of the batches that it has at the same time, beside that.

Only of images that have many sizes: those are large. Measured with ResNet-50, two streams and batches of one
image of 832 x 1344, in MiB: opencv 1015, onnxruntime 1097, openvino 730.
"""
_MOST_STREAMS = 8
"""No engine has more on the CPU, unless the job asks for them."""


def count(resolved: Resolved, workload: Workload, slots: SlotShape, say: Callable[[str], None]) -> int:
    """Return how many workers a run starts: not more than have something to do; at least one.

    Unless the job says how many it wants, there is one for each core, as far as there is memory for them: if
    there is not, `say` is told. The slots are those of one worker.
    """
    job, reader = resolved.job, resolved.job.reader.make_reader()
    wanted = workload.cores if job.run.workers == "auto" else job.run.workers
    batches = -(-workload.planned * reader.expected_items // slots.batch_size)
    if batches < wanted and workload.may_split:
        batches = wanted  # whatever was expected of it
    busy = max(1, min(wanted, batches))
    if job.run.workers != "auto":
        return busy
    available, network_bytes = available_bytes(), resolved.model.path.stat().st_size
    needed = needs(job.infer.engine, job.reader.worker_bytes, network_bytes, slots)
    if resolved.preprocessing.varies:
        streams = min(workload.cores, _MOST_STREAMS) if job.infer.streams == "auto" else job.infer.streams
        needed = replace(needed, run=needed.run + streams * PIXEL_BYTES * slots.batch_pixels)
    canary = _CANARY_BYTES + _CANARY_FACTOR * network_bytes if job.run.canary else 0
    workers = needed.workers(busy, available - canary)
    if workers < busy:
        say(f"{workers} workers instead of {busy}: memory is limited to {available / 2**30:.1f} GiB")
    return workers


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


def needs(engine: str, worker_bytes: int, network_bytes: int, slots: SlotShape) -> Needs:
    """Estimate the memory of a run: of a worker without its slots, of the network, and of those slots."""
    run = engines.description(engine).run_bytes
    return Needs(run + NETWORK_FACTOR * network_bytes, worker_bytes + slots.total_bytes)
