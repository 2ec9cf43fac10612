"""Runs and studies made by hand, with figures that are easy to compute in the head."""

from __future__ import annotations

from typing import Any

from resnet_pipe.study.figures import Depth, Entry, Latency, Point, Setting, Spread, StageTime, Study

NETWORK = Depth(depth=50, params=25_557_032, gmacs=4.0, file_mb=102.0)


def run(
    rate: float = 20.0,
    infer_s: float = 20.0,
    vram: float | None = None,
    bottleneck: str = "infer",
    **parts_s: float,
) -> dict[str, Any]:
    """Return a run.json of 200 images on two streams, of which the network took `infer_s` seconds.

    The parts are those of the infer stage, in seconds, of a network that finds objects.
    """

    def stage(busy: float, wait_in: float, wait_out: float, p50: float) -> dict[str, Any]:
        return {
            "busy_s": busy, "wait_in_s": wait_in, "wait_out_s": wait_out, "items": 200, "lanes": 2,
            "p50_ms": p50, "p95_ms": p50 + 10, "p99_ms": p50 + 20,
        }  # fmt: skip

    return {
        "items": 200,
        "items_per_second": rate,
        "run_seconds": 200 / rate,
        "stages": {
            "reader": stage(0.2, 1.0, 0.0, 8.0),
            "preprocess": stage(0.1, 0.0, 3.0, 4.0),
            "infer": stage(infer_s, 0.2, 0.2, 800.0),
            "writer": stage(0.02, 9.0, 0.0, 1.0),
        },
        "infer_parts_s": parts_s,
        "warmup_s": 0.75,
        "bottleneck": bottleneck,
        "batch_size": 8,
        "engine": {
            "name": "opencv", "version": "5.0.0", "device": "cpu", "precision": "fp32", "threads": 2,
            "streams": 2, "load_s": 0.5,
        },
        "peak_rss_mb": 600.0,
        "peak_vram_mb": vram,
    }  # fmt: skip


def entry(
    depth: int, rate: float, infer_ms: float, bottleneck: str = "infer", engine: str = "opencv"
) -> Entry:
    return Entry(
        network=Depth(depth=depth, params=1000, gmacs=depth / 10, file_mb=depth),
        setting=Setting(
            engine=engine, version="1", device="cpu", precision="fp32", batch_size=8, threads=2, streams=2
        ),
        images_per_s=Spread(median=rate, low=rate - 1, high=rate + 2),
        stages={
            "reader": StageTime(busy_ms=1.6, wait_ms=0),
            "preprocess": StageTime(busy_ms=0.7, wait_ms=0),
            "infer": StageTime(busy_ms=infer_ms, wait_ms=0),
            "writer": StageTime(busy_ms=0.1, wait_ms=0),
        },
        latency=Latency(p50=8 * infer_ms, p95=9 * infer_ms, p99=10 * infer_ms),
        load_s=0.5,
        warmup_s=0.25,
        gflops=depth * rate / 5,
        gflops_share=1.0,
        peak_rss_mb=500,
        peak_vram_mb=None,
        bottleneck=bottleneck,
    )


def finder(depth: int, rate: float, **parts: float) -> Entry:
    """Return what a Faster R-CNN took: milliseconds of its parts."""
    made = entry(depth, rate, sum(parts.values()))
    network = made.network.model_copy(update={"gmacs_at": (800, 1344)})
    return made.model_copy(update={"network": network, "parts": parts, "gflops": None, "gflops_share": None})


def study(*entries: Entry, points: tuple[Point, ...] = ()) -> Study:
    return Study(
        job="depth",
        made_at="2026-11-24T12:00:00+00:00",
        machine={"processor": "a processor", "cores": "2"},
        sources=200,
        items=200,
        repeats=3,
        entries=list(entries),
        batch_sizes=list(points),
        failed=[],
    )
