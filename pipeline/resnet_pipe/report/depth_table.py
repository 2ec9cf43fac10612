"""A depth study for a terminal: what each network took, by stage and by part, and what that says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from resnet_pipe.report.charts import STAGE_COLORS
from resnet_pipe.study.figures import Entry, Study, rate
from resnet_pipe.study.findings import findings


class _Column(NamedTuple):
    title: str
    width: int
    cell: Callable[[Entry], str]


def table(study: Study) -> str:
    """Return the study for a terminal."""
    names = [study.name(entry.network) for entry in study.entries]
    names += [study.name(failed) for failed in study.failed]
    width = max([10, *map(len, names)]) + 1
    lines = list(_rows(study, width, _columns(study), "bottleneck"))
    lines += [
        f"{study.name(failed):<{width}}{failed.engine:<13}failed: {failed.reason}" for failed in study.failed
    ]
    lines.append("stages: busy ms per image; p50: ms per batch; MB: peak memory")
    parts = parts_of(study)
    if parts:
        shown = [_Column(part, max(9, len(part) + 2), _part(part)) for part in parts]
        lines += ["", *_rows(study, width, shown, "")]
        lines.append("parts of infer: ms per image; queue: until the network is free")
    return "\n".join([*lines, "", *findings(study)])


def parts_of(study: Study) -> list[str]:
    """Return the parts of the infer stage, of networks that find objects, in the order of the work."""
    return list(dict.fromkeys(part for entry in study.entries for part in entry.parts))


def _rows(study: Study, width: int, columns: Sequence[_Column], last: str) -> Iterator[str]:
    titles = "".join(f"{column.title:>{column.width}}" for column in columns)
    yield f"{'model':<{width}}{'engine':<13}{titles}  {last}".rstrip()
    for entry in study.entries:
        cells = "".join(f"{column.cell(entry):>{column.width}}" for column in columns)
        end = f"  {entry.bottleneck}" if last else ""
        yield f"{study.name(entry.network):<{width}}{entry.setting.engine:<13}{cells}{end}"


def _columns(study: Study) -> list[_Column]:
    """Return what the table says; operations and memory of a GPU only where they are known."""
    titles = ("read", 8), ("prep", 7), ("infer", 9), ("write", 8)
    columns = [
        _Column("images/s", 9, lambda entry: rate(entry.images_per_s.median)),
        _Column("spread", 15, _spread),
        *(_Column(*title, _stage(stage)) for title, stage in zip(titles, STAGE_COLORS, strict=True)),
        _Column("p50", 9, lambda entry: f"{entry.latency.p50:.1f}"),
    ]
    if any(entry.gflops for entry in study.entries):
        columns.append(_Column("GFLOP/s", 9, lambda entry: f"{entry.gflops or 0:.0f}"))
        columns.append(_Column("share", 7, lambda entry: f"{entry.gflops_share or 0:.0%}"))
    columns.append(_Column("MB", 7, lambda entry: f"{entry.peak_rss_mb:.0f}"))
    if any(entry.peak_vram_mb for entry in study.entries):
        columns.append(_Column("GPU MB", 8, lambda entry: f"{entry.peak_vram_mb or 0:.0f}"))
    return columns


def _spread(entry: Entry) -> str:
    return f"{rate(entry.images_per_s.low)}-{rate(entry.images_per_s.high)}"


def _stage(stage: str) -> Callable[[Entry], str]:
    return lambda entry: f"{entry.stages[stage].busy_ms:.2f}"


def _part(part: str) -> Callable[[Entry], str]:
    return lambda entry: f"{entry.parts.get(part, 0):.1f}"
