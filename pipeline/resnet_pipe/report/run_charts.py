"""The charts of a run over time: items per second, and waiting batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.report import charts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WINDOWS = 30
"""Windows side by side in a run: enough to show its course, too few to show single batches."""
_COUNTS = 3
"""Batches that end in a window, on average, at least; fewer in a run of only a few batches."""
_LEAST = 4
"""With fewer batches in total, there is no chart."""
_NICE = (0.1, 0.2, 0.3, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 60, 120, 180, 300, 600, 900, 1200, 1800)
"""Possible lengths of a window, seconds."""
_POINTS = 300
_UNITS = ((7200, 3600, "hours"), (120, 60, "minutes"), (0, 1, "seconds"))
"""For each unit of an axis: from how many seconds on it is used, its seconds, and its name."""

Numbers = NDArray[np.float64]


def _window(batches: int, end: float) -> float:
    """Return the seconds of a window that suits a run of at least one batch that took `end` seconds."""
    wanted = max(end / _WINDOWS, min(_COUNTS * end / batches, end / 3))
    return next((nice for nice in _NICE if nice >= wanted), wanted)


def _rates(at: Sequence[float], total: Sequence[float] | Numbers, centers: Numbers, window: float) -> Numbers:
    """Return how fast a total that is known at moments, and linear in between, grows in windows.

    The windows overlap. At both ends they are shorter, where part of one would be outside the run.
    """
    first = np.maximum(centers - window / 2, 0)
    last = np.minimum(centers + window / 2, centers[-1])
    rates: Numbers = (np.interp(last, at, total) - np.interp(first, at, total)) / (last - first)
    return rates


def pictures(timeline: dict[str, Any] | None, run: dict[str, Any], unit: str) -> dict[str, Any]:
    """Return the charts of a run, for its page; None for charts that cannot be drawn.

    `timeline` is of history.json, `run` is run.json, and `unit` what an item is called, in the plural.
    """
    seconds, items = (timeline["seconds"], timeline["items"]) if timeline else ([], [])
    grown = np.flatnonzero(np.diff([0, *items]) > 0)
    if len(grown) < _LEAST:
        return {"timeline_chart": None, "queues_chart": None, "window": None}
    end = max(run["run_seconds"], seconds[-1])
    window = _window(len(grown), end)
    centers = np.linspace(0, end, _POINTS)
    # A batch is counted when it is done, but since the one before, or the beginning, it was being computed.
    at = [min(run["first_batch_s"], seconds[grown[0]]), *(seconds[index] for index in grown), end]
    rates = _rates(at, [0, *(items[index] for index in grown), items[-1]], centers, window)
    scale, name = next((scale, name) for least, scale, name in _UNITS if end >= least)

    def over_time(axes: Axes, label: str) -> None:
        axes.set_xlim(0, end / scale)
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        axes.set_xlabel(f"{name} since the engine was ready")
        axes.set_ylabel(label)

    def throughput(axes: Axes, scheme: charts.Scheme) -> None:
        color = charts.STAGE_COLORS["infer"]
        axes.fill_between(centers / scale, rates, color=color, alpha=0.15, linewidth=0)
        axes.plot(centers / scale, rates, color=color, linewidth=1.6)
        axes.axhline(run["items_per_second"], color=scheme.muted, linewidth=1, linestyle=(0, (4, 3)))
        over_time(axes, f"{unit} per second")

    def queues(axes: Axes, scheme: charts.Scheme) -> None:
        lasted = np.diff([*seconds, end])
        for key, label, stage in (
            ("waiting_for_engine", "for the engine", "infer"),
            ("waiting_for_writer", "for the writer", "writer"),
        ):
            batch_seconds = np.cumsum([0, *np.multiply(timeline[key] if timeline else [], lasted)])
            waiting = _rates([*seconds, end], batch_seconds, centers, window)
            axes.plot(centers / scale, waiting, label=label, color=charts.STAGE_COLORS[stage])
        over_time(axes, "batches waiting")
        charts.legend(axes, scheme)

    return {
        "timeline_chart": charts.picture(throughput, f"{unit} per second over the run", height=2.3),
        "queues_chart": charts.picture(queues, "Batches waiting, over the run", height=2.3),
        "window": f"{window / 60:g} min" if window >= 60 else f"{window:.2g} s",
    }
