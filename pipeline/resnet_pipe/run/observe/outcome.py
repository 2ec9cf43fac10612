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
from resnet_pipe.run.observe.clock import STAGES, StageClock, bottleneck, utilisation
from resnet_pipe.run.plan import Plan

SCHEMA_VERSION = 1

ADVICE = {
    "reader": "to speed up decoding: more cores (run.workers), or preprocess.mode: fast",
    "preprocess": "to speed up resizing: more cores (run.workers), or preprocess.mode: fast",
    "infer": "to speed it up: a shallower model, a GPU (infer.device: cuda) or more cores",
    "writer": "to speed it up: fewer or cheaper writers (drawing labels costs most), or a faster disk",
}
"""What to change when a stage is the bottleneck."""


@dataclass(frozen=True)
class Outcome:
    """Everything known at the end of a run.

    Attributes:
        resolved: the job.
        plan: what there was to do.
        engine: what ran; None if nothing had to.
        clocks: of the stages.
        started_at: UTC.
        seconds: all of it, from start to end.
        run_seconds: from engine ready to last commit; 0 if nothing ran.
        first_batch_s: the part of these in which the engine waited for the first batch.
        warmup_s: loading the network and its first forward pass.
        done: sources that gave all their rows.
        partial: sources that gave only those before their damage.
        failed: sources that gave none.
        noted: how many of all these have notes.
        standing: failures in the results, of whichever run; None if the ledger could not be read.
        items: that the engine has seen.
        frames: of videos: decoded, used, and the seconds they cover.
        batch_size: items in a batch; 0 if nothing ran.
        workers: worker processes.
        workers_replaced: how often one died or was killed for hanging.
        devices: what each has done; empty if nothing ran.
        own_rss_kb: highest resident memory of the process itself, KiB.
        worker_rss_kb: highest resident memory of each, KiB.
        peak_vram_mb: highest memory of the GPUs that the engines have used, MiB; None if there was none or it
            could not be measured.
        exit_code: of the process.
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


_ITEMS = {"images": "images", "video": "frames"}


def summary(outcome: Outcome) -> str:
    """Return what a run tells its user at the end: what happened, the stage table, where the results are."""
    output = outcome.resolved.job.output
    plan = outcome.plan
    partial = f", {outcome.partial} partial" if outcome.partial else ""
    skipped = f", {plan.done_before} already done" if plan.done_before else ""
    skipped += f", {plan.failed_before} failed before (unchanged)" if plan.failed_before else ""
    lines = [f"{_sources(outcome.done)} done{partial}, {outcome.failed} failed{skipped}"]
    if outcome.engine is not None:
        engine, seconds = outcome.engine, outcome.run_seconds
        rate = outcome.items / seconds if seconds else 0.0
        what = _ITEMS[outcome.resolved.job.reader.kind]
        lines[0] += f"; {outcome.items} {what} in {seconds:.1f} s, {rate:.1f} {what}/s"
        video = outcome.video()
        if video is not None:
            lines.append(
                f"video: {video['frames_decoded']} frames decoded, {video['frames_used']} used;"
                f" {video['seconds']:.1f} s of video, {video['real_time_factor']:.1f} times real time"
            )
        lines.append(
            f"engine: {engine.name} {engine.version}, {engine.device}, {engine.precision} ({engine.proof})"
        )
        if len(outcome.devices) > 1:
            lines += [
                f"device {index} ({use.device}): {use.describe(what, seconds)}"
                for index, use in enumerate(outcome.devices)
            ]
        lines.append(f"model: {outcome.resolved.model.name}, {outcome.resolved.metadata['weights']}")
        lines += ["", table(outcome), ""]
    if outcome.noted:
        lines.append(f"notes: on {_sources(outcome.noted)}, see source_noted in the run's log.jsonl")
    lines.append(f"results: {output}")
    if outcome.report is not None:
        lines.append(f"report: {outcome.report}")
    elif outcome.resolved.job.run.report:
        lines.append(f"no report: {outcome.no_report}")
    now, earlier = outcome.failed + outcome.partial, _earlier_failures(outcome)
    if now and _is_apart(outcome):
        lines.append(f"failures of the new results: {outcome.failures}")
        now = 0
    if now or earlier:
        whose = f"{now} from this run, {earlier}" if now and earlier else earlier
        lines.append(f"failures: {whose}{whose and ': '}{output / 'failures.jsonl'}")
    if outcome.unfinished:
        lines.append(f"not finished: {outcome.unfinished}")
    return "\n".join(lines)


def warning(outcome: Outcome) -> str:
    """Return what must be said even in a quiet run, if sources failed in it."""
    partial = f", {outcome.partial} partial" if outcome.partial else ""
    earlier = _earlier_failures(outcome)
    failed = f"{_sources(outcome.failed)} failed{partial}{earlier and f' ({earlier})'}"
    return f"{failed}: {outcome.failures}"


def _earlier_failures(outcome: Outcome) -> str:
    if outcome.standing is None:
        return ""
    return outcome.standing.of_earlier_runs(0 if _is_apart(outcome) else outcome.failed + outcome.partial)


def _is_apart(outcome: Outcome) -> bool:
    """Tell whether what this run has done is not in the results, but in new ones that are not complete."""
    return outcome.failures.parent != outcome.resolved.job.output


def _sources(count: int) -> str:
    return f"{count} source{'' if count == 1 else 's'}"


def table(outcome: Outcome) -> str:
    """Return the stage table for a terminal, and one sentence that names the bottleneck."""
    total = sum(clock.busy_s for clock in outcome.clocks.values()) or 1.0
    lines = [f"{'stage':<11}{'busy':>9}{'share':>8}{'ms/item':>10}{'waiting':>10}"]
    for stage in STAGES:
        clock = outcome.clocks[stage]
        waiting = clock.wait_in_s + clock.wait_out_s
        per_item = 1000 * clock.busy_s / clock.items if clock.items else 0.0
        lines.append(
            f"{stage:<11}{clock.busy_s:>7.2f} s{clock.busy_s / total:>7.0%}{per_item:>10.2f}{waiting:>8.2f} s"
        )
    limit = outcome.bottleneck
    if limit is not None:
        busy = utilisation(outcome.clocks[limit], outcome.run_seconds)
        lines.append(f"bottleneck: {limit}, busy {min(busy, 1):.0%} of the run; {ADVICE[limit]}")
    return "\n".join(lines)
