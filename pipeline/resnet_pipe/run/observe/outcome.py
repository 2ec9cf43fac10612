"""run.json: what a run did, what ran it, and where the time went. Stable; see docs/run-json.md."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from resnet_pipe.errors import ExitCode
from resnet_pipe.infer.engine import EngineInfo
from resnet_pipe.job.outputs import outputs_of
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger.standing import Standing
from resnet_pipe.machine import description
from resnet_pipe.reader.source import Tally
from resnet_pipe.run.engines.device import DeviceUse
from resnet_pipe.run.observe.clock import STAGES, StageClock, bottleneck
from resnet_pipe.run.plan import Plan

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Outcome:
    """Everything known at the end of a run. What ran is None, 0 or empty if nothing had to.

    Attributes:
        started_at: UTC.
        seconds: all of it, from start to end.
        run_seconds: from engine ready to last commit.
        first_batch_s: the part of these in which the engine waited for the first batch.
        warmup_s: loading the network and its first forward pass.
        done: sources that gave all their rows.
        partial: sources that gave only those before their damage.
        failed: sources that gave none.
        noted: how many of all these have notes.
        standing: failures in the results, of whichever run; None if the ledger could not be read.
        items: that the engine has seen.
        frames: of videos: decoded, used, and the seconds they cover.
        workers_replaced: how often one died or was killed for hanging.
        own_rss_kb: highest resident memory of the process itself, KiB.
        worker_rss_kb: highest resident memory of each, KiB.
        peak_vram_mb: highest memory of the GPUs that the engines have used, MiB; None if not measured.
        failures: the file that lists those of this run.
        unfinished: a note on new results that are not in place yet; None if there are none.
        report: the page that tells all this; None if there is none.
        no_report: why there is none, if one was wanted.
    """

    resolved: Resolved
    plan: Plan
    engine: EngineInfo | None
    clocks: dict[str, StageClock]
    started_at: datetime
    seconds: float
    run_seconds: float
    first_batch_s: float
    warmup_s: float
    done: int
    partial: int
    failed: int
    noted: int
    standing: Standing | None
    items: int
    frames: Tally
    batch_size: int
    workers: int
    workers_replaced: int
    devices: tuple[DeviceUse, ...]
    own_rss_kb: int
    worker_rss_kb: dict[int, int]
    peak_vram_mb: float | None
    exit_code: ExitCode
    failures: Path
    unfinished: str | None = None
    report: Path | None = None
    no_report: str = "see the warning"

    @property
    def bottleneck(self) -> str | None:
        """Return the busiest stage, or None if nothing ran."""
        return bottleneck(self.clocks, self.run_seconds) if self.items else None

    @property
    def _rss_kb(self) -> int:
        """The highest resident memory of all processes."""
        engines = sum(use.peak_rss_kb for use in self.devices)
        return self.own_rss_kb + engines + sum(self.worker_rss_kb.values())

    def video(self) -> dict[str, Any] | None:
        """Return what run.json says of videos; None if there were none."""
        if self.resolved.job.reader.kind != "video":
            return None
        factor = self.frames.seconds / self.run_seconds if self.run_seconds else 0.0
        return {
            "frames_decoded": self.frames.decoded,
            "frames_used": self.frames.used,
            "seconds": round(self.frames.seconds, 3),
            "real_time_factor": round(factor, 2),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the contents of run.json."""
        sidecar = self.resolved.model.sidecar
        return {
            "schema_version": SCHEMA_VERSION,
            "job": self.resolved.job.name,
            "fingerprint": self.resolved.digest,
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 3),
            "run_seconds": round(self.run_seconds, 3),
            "first_batch_s": round(self.first_batch_s, 3),
            "sources": {
                "planned": self.plan.planned,
                "skipped": self.plan.skipped,
                "done": self.done,
                "partial": self.partial,
                "failed": self.failed,
            },
            "passed_over": self.plan.passed_over.to_json(),
            "noted": self.noted,
            "standing": asdict(self.standing) if self.standing else None,
            "items": self.items,
            "video": self.video(),
            "items_per_second": round(self.items / self.run_seconds, 2) if self.run_seconds else 0.0,
            "stages": {stage: self.clocks[stage].summary() for stage in STAGES},
            "warmup_s": round(self.warmup_s, 3),
            "bottleneck": self.bottleneck,
            "workers": self.workers,
            "workers_replaced": self.workers_replaced,
            "batch_size": self.batch_size,
            "engine": asdict(self.engine) if self.engine else None,
            "devices": [use.to_json(self.run_seconds) for use in self.devices],
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
            "peak_rss_mb": round(self._rss_kb / 1024, 1),
            "peak_vram_mb": self.peak_vram_mb,
            "environment": description.describe(),
            "exit_code": int(self.exit_code),
        }
