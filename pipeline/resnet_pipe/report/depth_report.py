"""A depth study to look at: the table for a terminal, depth.csv, depth.html and depth.png.

The last two raise a MissingExtraError where the extra `report` is not installed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from resnet_pipe.errors import MissingExtraError, RunError
from resnet_pipe.report import charts
from resnet_pipe.report.charts import picture
from resnet_pipe.report.depth_charts import batches, memory, rates, stages
from resnet_pipe.report.page import render
from resnet_pipe.store import atomic
from resnet_pipe.study.figures import Study
from resnet_pipe.study.findings import engines, findings
from resnet_pipe.writer.tables.csv import to_cell

_SLIDE = (13.33, 7.5)
"""Inches: the size of a slide in the usual programs, 16:9."""


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


def table(study: Study) -> str:
    """Return the study for a terminal."""
    lines = [
        f"{'model':<11}{'engine':<13}{'images/s':>9}{'spread':>15}"
        f"{'read':>8}{'prep':>7}{'infer':>8}{'write':>8}"
        f"{'p50':>9}{'GFLOP/s':>9}{'share':>7}{'MB':>7}  bottleneck"
    ]
    for entry in study.entries:
        rate = entry.images_per_s
        read, prepare, infer, write = (entry.stages[stage].busy_ms for stage in charts.STAGE_COLORS)
        lines.append(
            f"{f'ResNet-{entry.network.depth}':<11}{entry.setting.engine:<13}"
            f"{rate.median:>9.1f}{f'{rate.low:.1f}-{rate.high:.1f}':>15}"
            f"{read:>8.2f}{prepare:>7.2f}{infer:>8.2f}{write:>8.2f}"
            f"{entry.latency.p50:>9.1f}{entry.gflops:>9.0f}{entry.gflops_share:>7.0%}{entry.peak_rss_mb:>7.0f}"
            f"  {entry.bottleneck}"
        )
    lines += [
        f"{f'ResNet-{failed.depth}':<11}{failed.engine:<13}failed: {failed.reason}" for failed in study.failed
    ]
    lines.append("stages: busy ms per image; p50: ms per batch; MB: peak memory")
    return "\n".join([*lines, "", *findings(study)])


def to_csv(study: Study) -> str:
    """Return the entries of a study as CSV, a row for each depth and engine."""
    rows = [_flat(entry.model_dump()) for entry in study.entries]
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
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
            "stage_charts": [
                (engine, picture(partial(stages, study, engine), f"Time of each stage by depth in {engine}"))
                for engine in engines(study)
            ],
            "rate_chart": picture(partial(rates, study), "Images per second against multiply-accumulates"),
            "batch_charts": [
                picture(partial(batches, study, engine), f"Batch sizes in {engine}", height=3.0)
                for engine in dict.fromkeys(point.engine for point in study.batch_sizes)
            ],
            "memory_chart": picture(partial(memory, study), "Peak memory by depth", height=2.8),
        },
    )


def to_png(study: Study) -> bytes:
    """Return the study as a picture for a slide, 16:9, 2000 pixels wide."""
    engine = engines(study)[0]
    draws = {
        f"Time of each stage, by depth, in {engine}": partial(stages, study, engine),
        "Throughput against network size": partial(rates, study),
    }
    if study.batch_sizes:
        draws["Latency against batch size"] = partial(batches, study, study.batch_sizes[0].engine)
    draws["Peak memory, by depth"] = partial(memory, study)
    drawn = charts.figure(draws, charts.LIGHT, *_SLIDE, columns=2)
    drawn.suptitle(findings(study)[0], fontsize=13, color=charts.LIGHT.text, wrap=True)
    content = io.BytesIO()
    drawn.savefig(content, format="png", dpi=150, facecolor="white")
    return content.getvalue()


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested figures as cells side by side: `stages.infer.busy_ms`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = to_cell(value) if isinstance(value, str) else value
    return flat
