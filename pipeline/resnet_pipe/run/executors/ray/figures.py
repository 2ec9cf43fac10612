"""What the actors of a run have needed, as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from resnet_pipe.run import canary
from resnet_pipe.run.engines import device
from resnet_pipe.run.observe.clock import added_up
from resnet_pipe.run.observe.outcome import Effort


def together(efforts: Sequence[tuple[str, Effort]], total: Effort) -> None:
    """Add to a run's effort what its chunk runners have needed, each with the name of its node."""
    several = [effort for _, effort in efforts]
    for stage in total.clocks:
        total.clocks[stage] = added_up(effort.clocks[stage] for effort in several)
    total.devices = tuple(replace(use, node=node) for node, effort in efforts for use in effort.devices)
    infos = [effort.engine for effort in several if effort.engine is not None]
    total.engine = device.together(infos) if infos else None
    total.warmup_s = max((effort.warmup_s for effort in several), default=0.0)
    total.first_batch_s = max((effort.first_batch_s for effort in several), default=0.0)
    total.workers = sum(effort.workers for effort in several)
    total.workers_replaced = sum(effort.workers_replaced for effort in several)
    peaks = [peak for effort in several for peak in effort.worker_rss_kb.values()]
    total.worker_rss_kb = dict(enumerate(peaks))
    measured = [effort.peak_vram_mb for effort in several if effort.peak_vram_mb is not None]
    total.peak_vram_mb = max(measured, default=None)
    total.canary = canary.together(effort.canary for effort in several)
    total.no_canary = "; ".join(dict.fromkeys(effort.no_canary for effort in several if effort.no_canary))
    for effort in several:
        total.frames.add(effort.frames)
