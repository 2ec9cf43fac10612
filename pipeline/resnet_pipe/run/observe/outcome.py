"""run.json: what a run did, what ran it, and where the time went. Stable; see docs/run-json.md."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from resnet_pipe.errors import ExitCode
from resnet_pipe.infer import engine as engines
from resnet_pipe.infer.engine import EngineInfo
from resnet_pipe.job.outputs import outputs_of
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger.record import Canary
from resnet_pipe.ledger.standing import Standing
from resnet_pipe.machine import description
from resnet_pipe.machine.memory import peak_rss_kb
from resnet_pipe.reader.source import FrameCounts
from resnet_pipe.run.engines.device import DeviceUse
from resnet_pipe.run.observe.clock import STAGES, StageClock, added_up, bottleneck
from resnet_pipe.run.plan import Plan

SCHEMA_VERSION = 1


@dataclass
class SourceCounts:
    """Sources of committed chunks.

    Attributes:
        done: gave all their rows.
        partial: gave the rows before their damage, or lack a file of their own.
        failed: gave none.
        noted: how many of all these have notes.
    """

    done: int = 0
    partial: int = 0
    failed: int = 0
    noted: int = 0


@dataclass
class Effort:
    """What a chunk runner has needed so far; None, 0 or empty if nothing ran. Only its threads change it.

    Attributes:
        clocks: of the stages, but for infer, which each device has its own for.
        devices: what each has done; empty until the end.
        run_seconds: from engine ready to last commit.
        first_batch_s: the part of these in which the engine waited for the first batch.
        warmup_s: loading the network and its first forward pass.
        items: that the engine has seen.
        sources: that it has seen to their end; of one that is read in spans, the share that it has.
        workers_replaced: how often one died or was killed for hanging.
        worker_rss_kb: highest resident memory of each, KiB.
        peak_vram_mb: highest memory of the GPUs that the engines have used, MiB; None if not measured.
        canary: of all devices together; None if no items were computed again.
        no_canary: why not, if that was wanted; of several devices, for any of them.
    """

    engine: EngineInfo | None = None
    clocks: dict[str, StageClock] = field(default_factory=lambda: {stage: StageClock() for stage in STAGES})
    devices: tuple[DeviceUse, ...] = ()
    run_seconds: float = 0.0
    first_batch_s: float = 0.0
    warmup_s: float = 0.0
    items: int = 0
    sources: float = 0.0
    frames: FrameCounts = field(default_factory=FrameCounts)
    batch_size: int = 0
    workers: int = 0
    workers_replaced: int = 0
    worker_rss_kb: dict[int, int] = field(default_factory=dict)
    peak_vram_mb: float | None = None
    canary: Canary | None = None
    no_canary: str = ""

    @property
    def all_clocks(self) -> dict[str, StageClock]:
        """Return the clocks of all stages."""
        return {**self.clocks, "infer": added_up(use.clock for use in self.devices)}

    @property
    def infer_parts(self) -> dict[str, float]:
        """Return the seconds of the parts of the infer stage, of a network that finds objects; else none."""
        names = dict.fromkeys(name for use in self.devices for name in use.parts)
        return {name: sum(use.parts.get(name, 0.0) for use in self.devices) for name in names}

    @property
    def items_per_second(self) -> float:
        """Return the rate while the engine was ready; 0 if nothing ran."""
        return self.items / self.run_seconds if self.run_seconds else 0.0


@dataclass(frozen=True)
class Outcome:
    """Everything known at the end of a run. What ran is None, 0 or empty if nothing had to.

    Attributes:
        started_at: UTC.
        seconds: all of it, from start to end.
        standing: failures in the results, of whichever run; None if the ledger could not be read.
        failures: the file that lists those of this run.
        unfinished: a note on new results that are not in place yet; None if there are none.
        own_rss_kb: highest resident memory of the process itself, KiB.
        report: the page that tells all this; None if there is none.
        no_report: why there is none, if one was wanted.
    """

    resolved: Resolved
    plan: Plan
    counts: SourceCounts
    effort: Effort
    started_at: datetime
    seconds: float
    standing: Standing | None
    exit_code: ExitCode
    failures: str
    unfinished: str | None = None
    own_rss_kb: int = field(default_factory=peak_rss_kb)
    report: Path | None = None
    no_report: str = "see the warning"

    @property
    def remaining(self) -> int:
        """Return how many of the planned sources are left for the next run."""
        return self.plan.planned - self.counts.done - self.counts.partial - self.counts.failed

    @property
    def bottleneck(self) -> str | None:
        """Return the busiest stage, or None if nothing ran."""
        return bottleneck(self.effort.all_clocks, self.effort.run_seconds) if self.effort.items else None

    def video(self) -> dict[str, Any] | None:
        """Return what run.json says of videos; None if there were none."""
        if not self.resolved.job.reader.description.has_frames:
            return None
        factor = self.effort.frames.seconds / self.effort.run_seconds if self.effort.run_seconds else 0.0
        return {
            "frames_decoded": self.effort.frames.decoded,
            "frames_used": self.effort.frames.used,
            "seconds": round(self.effort.frames.seconds, 3),
            "real_time_factor": round(factor, 2),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the contents of run.json."""
        effort, sidecar = self.effort, self.resolved.model.sidecar
        clocks = effort.all_clocks
        rss_kb = self.own_rss_kb + sum(use.peak_rss_kb for use in effort.devices)
        rss_kb += sum(effort.worker_rss_kb.values())
        return {
            "schema_version": SCHEMA_VERSION,
            "job": self.resolved.job.name,
            "fingerprint": self.resolved.digest,
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 3),
            "run_seconds": round(effort.run_seconds, 3),
            "first_batch_s": round(effort.first_batch_s, 3),
            "sources": {
                "planned": self.plan.planned,
                "skipped": self.plan.skipped,
                "done": self.counts.done,
                "partial": self.counts.partial,
                "failed": self.counts.failed,
            },
            "remaining": self.remaining,
            "passed_over": self.plan.passed_over.to_json(),
            "noted": self.counts.noted,
            "standing": asdict(self.standing) if self.standing else None,
            "items": effort.items,
            "video": self.video(),
            "items_per_second": round(effort.items_per_second, 2),
            "stages": {stage: clocks[stage].summary() for stage in STAGES},
            "infer_parts_s": {name: round(seconds, 4) for name, seconds in effort.infer_parts.items()},
            "warmup_s": round(effort.warmup_s, 3),
            "bottleneck": self.bottleneck,
            "workers": effort.workers,
            "workers_replaced": effort.workers_replaced,
            "batch_size": effort.batch_size,
            "engine": asdict(effort.engine) if effort.engine else None,
            "devices": [use.to_json(effort.run_seconds) for use in effort.devices],
            "canary": effort.canary._asdict() if effort.canary else None,
            "no_canary": effort.no_canary or None,
            "choice": self.resolved.choice.model_dump() if self.resolved.choice else None,
            "model": {
                "name": self.resolved.model.name,
                "sha256": self.resolved.model.sha256,
                "depth": sidecar.depth if sidecar else None,
                "params": sidecar.params if sidecar else None,
                "flops": 2 * sidecar.macs if sidecar else None,
                "weights": self.resolved.metadata["weights"],
                "outputs": outputs_of(self.resolved.job, self.resolved.head),
            },
            "peak_rss_mb": round(rss_kb / 1024, 1),
            "peak_vram_mb": effort.peak_vram_mb,
            "environment": description.describe(engines.distributions()),
            "exit_code": int(self.exit_code),
        }
