"""What it takes to process chunks: time in each stage, processes, devices, memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from resnet_pipe.infer.engine import EngineInfo
from resnet_pipe.reader.source import FrameCounts
from resnet_pipe.run.engines.device import DeviceUse
from resnet_pipe.run.observe.clock import STAGES, StageClock, added_up


@dataclass
class Effort:
    """What a chunk runner has needed so far; None, 0 or empty if nothing ran. Only its threads change it.

    Attributes:
        clocks: of the stages, but for infer, which each device has its own for.
        devices: what each has done; empty until the end.
        run_seconds: from engine ready to last commit.
        first_batch_s: the part of these in which the engine waited for the first batch.
        warmup_s: loading the network and its first forward pass.
        workers_replaced: how often one died or was killed for hanging.
        worker_rss_kb: highest resident memory of each, KiB.
        peak_vram_mb: highest memory of the GPUs that the engines have used, MiB; None if not measured.
    """

    engine: EngineInfo | None = None
    clocks: dict[str, StageClock] = field(default_factory=lambda: {stage: StageClock() for stage in STAGES})
    devices: tuple[DeviceUse, ...] = ()
    run_seconds: float = 0.0
    first_batch_s: float = 0.0
    warmup_s: float = 0.0
    items: int = 0
    frames: FrameCounts = field(default_factory=FrameCounts)
    batch_size: int = 0
    workers: int = 0
    workers_replaced: int = 0
    worker_rss_kb: dict[int, int] = field(default_factory=dict)
    peak_vram_mb: float | None = None

    @property
    def all_clocks(self) -> dict[str, StageClock]:
        """Return the clocks of all stages."""
        return {**self.clocks, "infer": added_up(use.clock for use in self.devices)}

    @property
    def items_per_second(self) -> float:
        """Return the rate while the engine was ready; 0 if nothing ran."""
        return self.items / self.run_seconds if self.run_seconds else 0.0
