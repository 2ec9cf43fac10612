"""A depth study to look at: depth.csv, depth.html and depth.png.

The last two raise a MissingExtraError where the extra `report` is not installed.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_pipe.errors import MissingExtraError, RunError
from resnet_pipe.report import charts
from resnet_pipe.report.charts import picture
from resnet_pipe.report.depth_table import parts_of
from resnet_pipe.report.page import render
from resnet_pipe.store import atomic
from resnet_pipe.study.figures import Entry, Study, rate
from resnet_pipe.study.findings import engines, findings, of_engine
from resnet_pipe.writer.tables.csv import to_cell

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
_RESNET = "ResNet-{}"
"""Under a column, where there is no room for the name of the whole network."""


def write(study: Study, folder: Path, say: Callable[[str], None]) -> None:
    """Write depth.json, depth.csv, depth.html and depth.png into a folder, made if it is missing.

    Without the extra `report`, the last two are missing, and the user is told.

    Raises:
        RunError: they cannot be written.
    """
    contents: dict[str, Callable[[], bytes]] = {
        "depth.json": lambda: (study.model_dump_json(indent=1) + "\n").encode(),
        "depth.csv": lambda: to_csv(study).encode(),
    }
    if study.entries:
        contents |= {"depth.html": lambda: to_html(study).encode(), "depth.png": lambda: to_png(study)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            atomic.write_bytes(folder / name, content())
            say(f"wrote {folder / name}")
    except MissingExtraError as error:
        say(f"no depth.html and no depth.png: {error}")
    except OSError as error:
        text = f"cannot write into {folder}: {error.strerror}"
        raise RunError(text, "free some space there, or choose another --out") from None


def to_csv(study: Study) -> str:
    """Return the entries of a study as CSV, a row for each depth and engine."""
    rows = [_flat(entry.model_dump()) for entry in study.entries]
    text = io.StringIO()
    if rows:
        names = dict.fromkeys(name for row in rows for name in row)  # an engine may lack a part
        writer = csv.DictWriter(text, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def to_html(study: Study) -> str:
    """Return the study as a page that needs nothing but itself."""
    return render(
        "depth.html",
        {
            "study": study,
            "made_at": study.made_at.replace("T", " ").replace("+00:00", " UTC"),
            "findings": findings(study),
            "parts": parts_of(study),
            "rate": rate,
            "vram": any(entry.peak_vram_mb for entry in study.entries),
            "at": study.size,
            "parts_charts": [
                (engine, picture(partial(_parts, study, engine), f"Time of each part by depth in {engine}"))
                for engine in engines(study)
                if parts_of(study)
            ],
            "stage_charts": [
                (engine, picture(partial(_stages, study, engine), f"Time of each stage by depth in {engine}"))
                for engine in engines(study)
            ],
            "rate_chart": picture(partial(_rates, study), "Images per second against multiply-accumulates"),
            "batch_charts": [
                picture(partial(_batches, study, engine), f"Batch sizes in {engine}", height=3.0)
                for engine in dict.fromkeys(point.engine for point in study.batch_sizes)
            ],
            "memory_chart": picture(partial(_memory, study), "Peak memory by depth", height=2.8),
        },
    )


def to_png(study: Study) -> bytes:
    """Return the study as a picture for a slide, 16:9, 2000 pixels wide."""
    engine = engines(study)[0]
    draws = {
        f"Time of each stage, by depth, in {engine}": partial(_stages, study, engine),
        "Throughput against network size": partial(_rates, study),
    }
    if study.batch_sizes:
        draws["Latency against batch size"] = partial(_batches, study, study.batch_sizes[0].engine)
    if parts_of(study):
        draws[f"Time of each part of infer, by depth, in {engine}"] = partial(_parts, study, engine)
    draws["Peak memory, by depth"] = partial(_memory, study)
    drawn = charts.figure(draws, charts.LIGHT, 13.33, 7.5, columns=2)  # inches: slides are 16:9
    drawn.suptitle(findings(study)[0], fontsize=13, color=charts.LIGHT.text, wrap=True)
    content = io.BytesIO()
    drawn.savefig(content, format="png", dpi=150, facecolor="white")
    return content.getvalue()


def _stages(study: Study, engine: str, axes: Axes, scheme: charts.Scheme) -> None:
    """Draw the time of each stage, by depth."""
    entries = of_engine(study, engine)
    busy = {stage: [entry.stages[stage].busy_ms for entry in entries] for stage in charts.STAGE_COLORS}
    tops = _stacked(axes, entries, busy, list(charts.STAGE_COLORS.values()))
    for index, (entry, top) in enumerate(zip(entries, tops, strict=True)):
        note = f"{top:.1f} ms\ninfer {entry.stages['infer'].busy_ms:.1f}"
        charts.note(axes, scheme, note, (index, top), ((0, 3), "center", "baseline"))
    axes.set_ylabel(f"busy ms per image, {engine}")
    _by_depth(study, axes)
    charts.legend(axes, scheme)


def _parts(study: Study, engine: str, axes: Axes, scheme: charts.Scheme) -> None:
    """Draw the time of each part of the infer stage, by depth, of networks that find objects."""
    entries = of_engine(study, engine)
    taken = {part: [entry.parts.get(part, 0.0) for entry in entries] for part in parts_of(study)}
    tops = _stacked(axes, entries, taken, charts.COLORS)
    for index, top in enumerate(tops):
        charts.note(axes, scheme, f"{top:.1f} ms", (index, top), ((0, 3), "center", "baseline"))
    axes.set_ylabel(f"ms of infer per image, {engine}")
    _by_depth(study, axes)
    charts.legend(axes, scheme, columns=len(taken))


def _stacked(
    axes: Axes, entries: Sequence[Entry], values: Mapping[str, Sequence[float]], colors: Sequence[str]
) -> list[float]:
    """Draw a column for each entry, of values by name; return how high each is."""
    names = [_RESNET.format(entry.network.depth) for entry in entries]
    below = [0.0] * len(entries)
    for (name, heights), color in zip(values.items(), itertools.cycle(colors), strict=False):
        axes.bar(names, heights, bottom=below, color=color, label=name, width=0.62)
        below = [low + height for low, height in zip(below, heights, strict=True)]
    return below


def _by_depth(study: Study, axes: Axes) -> None:
    """Leave room above the columns, and say what they are of, if that is not just a ResNet."""
    axes.margins(y=0.2)
    if study.family != "resnet":
        axes.set_xlabel(f"{study.networks.called} with a ...")


def _rates(study: Study, axes: Axes, scheme: charts.Scheme) -> None:
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
            label = f"{entry.network.depth}: {rate(y)}"
            charts.note(axes, scheme, label, (x, y), _CORNERS[min(index, 2)])
    axes.set_xlabel(f"{_macs(study)} (labels: depth: images/s)")
    axes.set_ylabel("images/s, end to end")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.14, y=0.15)
    charts.legend(axes, scheme)


def _batches(study: Study, engine: str, axes: Axes, scheme: charts.Scheme) -> None:
    """Draw the time of a batch against its size."""
    points = [point for point in study.batch_sizes if point.engine == engine]
    for depth, color in zip(sorted({point.depth for point in points}), charts.COLORS, strict=False):
        mine = sorted((p for p in points if p.depth == depth), key=lambda point: point.batch_size)
        sizes, times = [p.batch_size for p in mine], [p.latency.p50 for p in mine]
        axes.plot(sizes, times, color=color, marker="o", markersize=5, label=_RESNET.format(depth))
        for size, time, point in zip(sizes, times, mine, strict=True):
            corner = _ABOVE if depth >= 50 else _BELOW  # ResNet-34 and 50 are close to each other
            charts.note(axes, scheme, f"{_few(point.images_per_s)}/s", (size, time), corner)
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


def _memory(study: Study, axes: Axes, scheme: charts.Scheme) -> None:
    """Draw the peak memory, by depth."""
    names = engines(study)
    depths = sorted({entry.network.depth for entry in study.entries})
    width = 0.8 / max(1, len(names))
    for index, (engine, color) in enumerate(zip(names, charts.COLORS * 2, strict=False)):
        entries = of_engine(study, engine)
        at = [depths.index(entry.network.depth) + (index - (len(names) - 1) / 2) * width for entry in entries]
        bars = axes.bar(at, [entry.peak_rss_mb for entry in entries], width * 0.9, color=color, label=engine)
        axes.bar_label(bars, [_megabytes(entry) for entry in entries], fontsize=8, color=scheme.text)
    axes.set_xticks(range(len(depths)), [_RESNET.format(depth) for depth in depths])
    axes.set_ylabel("peak memory, MB")
    _by_depth(study, axes)
    charts.legend(axes, scheme)


def _macs(study: Study) -> str:
    """Return what the axis of multiply-accumulates shows."""
    size = " of {} x {}".format(*study.size) if study.size else ""
    return f"10⁹ multiply-accumulates per image{size}"


def _few(images_per_s: float) -> str:
    return f"{images_per_s:.0f}" if images_per_s >= 10 else f"{images_per_s:.1f}"


def _megabytes(entry: Entry) -> str:
    own = f"{entry.peak_rss_mb:.0f}"
    return own if entry.peak_vram_mb is None else f"{own}\nGPU {entry.peak_vram_mb:.0f}"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested figures as cells side by side: `stages.infer.busy_ms`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, tuple):
            flat[f"{prefix}{name}"] = " x ".join(map(str, value))
        else:
            flat[f"{prefix}{name}"] = to_cell(value) if isinstance(value, str) else value
    return flat
