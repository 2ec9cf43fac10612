"""The charts of a depth study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnet_pipe.report import charts
from resnet_pipe.study.figures import Entry, Study
from resnet_pipe.study.findings import engines, of_engine

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CORNERS: tuple[charts.Corner, ...] = (
    ((-7, 0), "right", "center"),
    ((-5, -4), "right", "top"),
    ((6, 4), "left", "bottom"),
)
"""Where the number of the first, the second and all other points stands: ResNet-34 and 50 are neighbours."""
_ABOVE: charts.Corner = ((-4, 5), "right", "baseline")
_BELOW: charts.Corner = ((4, -11), "left", "baseline")


def stages(study: Study, engine: str, axes: Axes, scheme: charts.Scheme) -> None:
    """Draw the time of each stage, by depth."""
    entries = of_engine(study, engine)
    names = [f"ResNet-{entry.network.depth}" for entry in entries]
    below = [0.0] * len(entries)
    for stage, color in charts.STAGE_COLORS.items():
        values = [entry.stages[stage].busy_ms for entry in entries]
        axes.bar(names, values, bottom=below, color=color, label=stage, width=0.62)
        below = [low + value for low, value in zip(below, values, strict=True)]
    for index, entry in enumerate(entries):
        note = f"{below[index]:.1f} ms\ninfer {entry.stages['infer'].busy_ms:.1f}"
        charts.note(axes, scheme, note, (index, below[index]), ((0, 3), "center", "baseline"))
    axes.set_ylabel(f"busy ms per image, {engine}")
    axes.margins(y=0.2)
    charts.legend(axes, scheme)


def rates(study: Study, axes: Axes, scheme: charts.Scheme) -> None:
    """Draw images per second against the size of the network."""
    for engine, color in zip(engines(study), charts.COLORS * 2, strict=False):
        entries = of_engine(study, engine)
        gmacs = [entry.network.gmacs for entry in entries]
        measured = [entry.images_per_s for entry in entries]
        rates = [rate.median for rate in measured]
        spread = [
            [rate.median - rate.low for rate in measured],
            [rate.high - rate.median for rate in measured],
        ]
        axes.errorbar(gmacs, rates, spread, color=color, marker="o", markersize=5, capsize=3, label=engine)
        for index, (entry, x, y) in enumerate(zip(entries, gmacs, rates, strict=True)):
            # The curve falls and is hollow: left of its first point, and both of its sides, are free.
            label = f"{entry.network.depth}: {y:.1f}"
            charts.note(axes, scheme, label, (x, y), _CORNERS[min(index, 2)])
    axes.set_xlabel("10⁹ multiply-accumulates per image (labels: depth: images/s)")
    axes.set_ylabel("images/s, end to end")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.14, y=0.15)
    charts.legend(axes, scheme)


def batches(study: Study, engine: str, axes: Axes, scheme: charts.Scheme) -> None:
    """Draw the time of a batch against its size."""
    points = [point for point in study.batch_sizes if point.engine == engine]
    for depth, color in zip(sorted({point.depth for point in points}), charts.COLORS, strict=False):
        mine = sorted((p for p in points if p.depth == depth), key=lambda point: point.batch_size)
        sizes, times = [p.batch_size for p in mine], [p.latency.p50 for p in mine]
        axes.plot(sizes, times, color=color, marker="o", markersize=5, label=f"ResNet-{depth}")
        for size, time, point in zip(sizes, times, mine, strict=True):
            corner = _ABOVE if depth >= 50 else _BELOW  # ResNet-34 and 50 are close to each other
            charts.note(axes, scheme, f"{point.images_per_s:.0f}/s", (size, time), corner)
    sizes = sorted({point.batch_size for point in points})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_xlabel(f"batch size, {engine} (labels: images/s)")
    axes.set_ylabel("ms per batch, p50")
    axes.margins(x=0.1, y=0.15)
    charts.legend(axes, scheme, columns=5)


def memory(study: Study, axes: Axes, scheme: charts.Scheme) -> None:
    """Draw the peak memory, by depth."""
    names = engines(study)
    depths = sorted({entry.network.depth for entry in study.entries})
    width = 0.8 / max(1, len(names))
    for index, (engine, color) in enumerate(zip(names, charts.COLORS * 2, strict=False)):
        entries = of_engine(study, engine)
        at = [depths.index(entry.network.depth) + (index - (len(names) - 1) / 2) * width for entry in entries]
        bars = axes.bar(at, [entry.peak_rss_mb for entry in entries], width * 0.9, color=color, label=engine)
        axes.bar_label(bars, [_megabytes(entry) for entry in entries], fontsize=8, color=scheme.text)
    axes.set_xticks(range(len(depths)), [f"ResNet-{depth}" for depth in depths])
    axes.set_ylabel("peak memory, MB")
    axes.margins(y=0.2)
    charts.legend(axes, scheme)


def _megabytes(entry: Entry) -> str:
    own = f"{entry.peak_rss_mb:.0f}"
    return own if entry.peak_vram_mb is None else f"{own}\nGPU {entry.peak_vram_mb:.0f}"
