"""What the system, or a container, allows this process, against what a run takes by default."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.doctor.examination import Finding
from resnet_pipe.infer.engine import DEFAULT
from resnet_pipe.machine import processor
from resnet_pipe.machine.limits import ROOT, available_bytes, available_cores, physical_bytes
from resnet_pipe.reader.images.section import ImagesSection
from resnet_pipe.run.workers.count import needs
from resnet_pipe.run.workers.slots import SlotShape

_GIB = 2**30
_NETWORK_BYTES = 103_000_000
_SLOTS = SlotShape(workers=1, per_worker=3, batch_size=8, size=(224, 224))
"""ResNet-50, and the slots of a worker with the batch size that engines have on a CPU."""
_CHECK = "limits"


@dataclass(frozen=True)
class Limits:
    """What this process may use of the machine: cores, bytes of memory, instructions under Linux's names."""

    cores: int
    machine_cores: int
    memory: int
    machine_memory: int
    features: frozenset[str]

    @classmethod
    def read(cls, root: Path = ROOT) -> Limits:
        """Ask the system; `root` is the directory with `proc` and `sys`."""
        return cls(
            cores=available_cores(root),
            machine_cores=os.cpu_count() or 1,
            memory=available_bytes(root),
            machine_memory=physical_bytes(),
            features=processor.features(root / "proc/cpuinfo"),
        )


def check(limits: Limits | None = None) -> Iterator[Finding]:
    """Compare the limits, None for those of this process, with what a run takes."""
    found = limits or Limits.read()
    yield _processor(found)
    yield _cores(found)
    yield _memory(found)
    yield _slots()


def _processor(found: Limits) -> Finding:
    """Return which instructions for networks there are."""
    names = {
        "AVX2": {"avx2"},
        "AVX-512": {"avx512f"},
        "VNNI (int8)": processor.VNNI,
        "AVX-512 bf16": {"avx512_bf16"},
        "AMX bf16": {"amx_bf16"},
        "AMX int8": {"amx_int8"},
        "ASIMD": {"asimd"},
        "bf16": {"bf16"},
        "int8 (i8mm)": {"i8mm"},
    }
    if not found.features:
        return Finding(_CHECK, "OK", "processor: the system does not report its instruction sets")
    had = [name for name, flags in names.items() if flags & found.features]
    text = f"processor: {', '.join(had) or 'no vector instructions for networks'}"
    if "AVX2" in had or "ASIMD" in had:
        lacks = "" if "AMX bf16" in had or "ASIMD" in had else "; no AMX, so bf16 is no faster than fp32"
        return Finding(_CHECK, "OK", text + lacks)
    remedy = "use another machine; for a virtual one, pass the host's processor through (QEMU: -cpu host)"
    return Finding(_CHECK, "WARN", f"{text}: no AVX2, so networks run several times slower", remedy)


def _cores(found: Limits) -> Finding:
    text = f"{found.cores} cores for workers and engine threads"
    if found.cores < found.machine_cores:
        text += f", of {found.machine_cores}: limited by the CPU quota or this process's affinity"
    return Finding(_CHECK, "OK", text)


def _memory(found: Limits) -> Finding:
    """Return whether the workers and the engine of a run with ResNet-50 fit into memory."""
    needed = needs(DEFAULT, ImagesSection.description.worker_bytes, _NETWORK_BYTES, _SLOTS)
    text = f"memory {found.memory / _GIB:.1f} GiB"
    if found.memory < found.machine_memory:
        text += f" (limited by a control group; the machine has {found.machine_memory / _GIB:.1f})"
    least = needed.run + needed.worker
    remedy = f"docker run --memory={-(-(needed.run + found.cores * needed.worker) // _GIB)}g ..."
    if found.memory < least:
        text += f"; ResNet-50 takes about {least / _GIB:.1f} with one worker, so runs may be killed (SIGKILL)"
        return Finding(_CHECK, "WARN", text, remedy)
    workers = needed.workers(found.cores, found.memory)
    if workers < found.cores:
        text += f"; enough for ResNet-50 with {workers} workers, so runs will not start {found.cores}"
        return Finding(_CHECK, "WARN", text, remedy)
    return Finding(_CHECK, "OK", f"{text}: enough for ResNet-50 with one worker per core")


def _slots() -> Finding:
    """Return whether batches can be shared among processes, as `run.workers.slots` does it."""
    if not hasattr(os, "memfd_create"):
        text = "batches are shared in unnamed temporary files (this system has no memfd)"
        return Finding(_CHECK, "OK", text)
    try:
        os.close(os.memfd_create("resnet-pipe doctor"))
    except OSError as error:
        text = f"batches cannot be shared: memfd_create is refused ({error.strerror})"
        return Finding(_CHECK, "FAIL", text, "allow memfd_create, as Docker's default seccomp profile does")
    return Finding(_CHECK, "OK", "batches are shared in anonymous memory (memfd), not in /dev/shm")
