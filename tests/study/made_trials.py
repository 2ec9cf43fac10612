"""Trials that never ran: what a machine of known speed would have said."""

from __future__ import annotations

from typing import Any

from resnet_pipe.study.trial import Trial

BESIDE_S = 2.0
"""What every run takes beside its items."""
CHUNK_BYTES, ITEM_BYTES = 1000, 40
"""Of the results."""


def made_trial(
    items: int,
    rate: float,
    *,
    beside_s: float = BESIDE_S,
    failed: int = 0,
    reading: float = 0.5,
    chunks: int = 1,
    engine: str = "opencv",
) -> Trial:
    """Return a trial of so many items, at so many a second.

    Args:
        items: that went through the network.
        rate: of them, a second.
        beside_s: what the run took beside that.
        failed: sources that gave no item.
        reading: the share of reading in the work of all stages.
        chunks: that were committed.
        engine: that ran.
    """
    busy = items / rate
    work = {"reader": reading, "preprocess": 0.0, "infer": 1 - reading, "writer": 0.0}
    stages = {name: {"busy_s": busy * share, "lanes": 1} for name, share in work.items()}
    result: dict[str, Any] = {
        "items": items,
        "run_seconds": 1 + busy,
        "first_batch_s": 1,
        "stages": stages,
        "bottleneck": "infer",
        "sources": {"done": items, "partial": 0, "failed": failed},
        "engine": {"name": engine, "precision": "fp32", "streams": 1},
        "devices": [{"device": "cpu"}],
        "batch_size": 4,
        "workers": 1,
        "peak_rss_mb": 100.0,
    }
    return Trial(result, beside_s + busy, chunks, CHUNK_BYTES * chunks + ITEM_BYTES * items)
