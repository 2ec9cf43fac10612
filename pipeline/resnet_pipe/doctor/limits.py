"""What the system, or a container, allows this process, against what a run takes by default."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.doctor.finding import Finding
from resnet_pipe.infer.engine import DEFAULT
from resnet_pipe.machine import control_groups, processor
from resnet_pipe.machine.cores import available_cores
from resnet_pipe.machine.memory import available_bytes, physical_bytes
from resnet_pipe.reader.images.section import ImagesSection
from resnet_pipe.run.workers.count import needs
from resnet_pipe.run.workers.slots import SlotShape

_GIB = 2**30
_NETWORK_BYTES = 103_000_000
_SLOTS = SlotShape(workers=1, per_worker=3, batch_size=8, size=(224, 224))
"""ResNet-50, and the slots of a worker with the batch size that engines have on a CPU."""
_SHM = "/dev/shm"  # noqa: S108 - nothing is written there
_SHM_BYTES = 64 << 20
"""What Docker gives a container."""
_RUN_FILES = 64
"""Open files, beside one for each worker. Measured: 13 with two workers, 19 with eight (opencv, two writers);
18 with two (onnxruntime); a worker itself has 23. The rest is for the libraries of a GPU: not measured."""
_CHECK = "limits"


@dataclass(frozen=True)
class Limits:
    """What there is.

    Attributes:
        cores: that this process may use.
        machine_cores: of the machine.
        memory: bytes that this process may have.
        machine_memory: bytes of the machine.
        shm: bytes of /dev/shm; None where there is none.
        open_files: at the same time; None without a limit.
        features: of the processor, under Linux's names.
    """

    cores: int
    machine_cores: int
    memory: int
    machine_memory: int
    shm: int | None
    open_files: int | None
    features: frozenset[str]

    @classmethod
    def read(cls, root: Path = control_groups.ROOT) -> Limits:
        """Ask the system.

        Args:
            root: the directory with `proc`, `sys` and `dev`.
        """
        shm, (open_files, _) = root / _SHM.lstrip("/"), resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls(
            cores=available_cores(root),
            machine_cores=os.cpu_count() or 1,
            memory=available_bytes(root),
            machine_memory=physical_bytes(),
            shm=shutil.disk_usage(shm).total if shm.is_dir() else None,
            open_files=None if open_files == resource.RLIM_INFINITY else open_files,
            features=processor.features(root / "proc/cpuinfo"),
        )


def check(limits: Limits | None = None) -> Iterator[Finding]:
    """Compare the limits with what a run takes.

    Args:
        limits: None for those of this process.
    """
    found = limits or Limits.read()
    yield _processor(found)
    yield _cores(found)
    yield _memory(found)
    yield _slots()
    if found.shm is not None:
        yield _shm(found.shm)
    yield _open_files(found)


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
    needed = needs(DEFAULT, ImagesSection.description, _NETWORK_BYTES, _SLOTS)
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
        return Finding(
            _CHECK, "OK", "batches are shared in unnamed temporary files (this system has no memfd)"
        )
    try:
        os.close(os.memfd_create("resnet-pipe doctor"))
    except OSError as error:
        text = f"batches cannot be shared: memfd_create is refused ({error.strerror})"
        return Finding(_CHECK, "FAIL", text, "allow memfd_create, as Docker's default seccomp profile does")
    return Finding(_CHECK, "OK", f"batches are shared in anonymous memory (memfd), not in {_SHM}")


def _shm(size: int) -> Finding:
    """Return whether /dev/shm is large enough for what uses it. Nothing of resnet-pipe is in it."""
    text = f"{_SHM} has {size / 2**20:.0f} MiB"
    if size < _SHM_BYTES:
        text += ": too small for PyTorch's DataLoader, Ray or NCCL; resnet-pipe itself does not use it"
        return Finding(_CHECK, "WARN", text, "docker run --shm-size=1g ...")
    return Finding(_CHECK, "OK", f"{text}; resnet-pipe does not use it")


def _open_files(found: Limits) -> Finding:
    if found.open_files is None:
        return Finding(_CHECK, "OK", "open files: no limit")
    needed = _RUN_FILES + found.cores
    text = f"open files: {found.open_files}; a run with {found.cores} workers needs at most {needed}"
    if found.open_files < needed:
        return Finding(_CHECK, "WARN", text, "ulimit -n 1024, or LimitNOFILE=1024 for a service")
    return Finding(_CHECK, "OK", text)
