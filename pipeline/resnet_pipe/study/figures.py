"""The figures of a depth study: depth.json, and how they come from the run.json of each run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, mode
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resnet_pipe.errors import UsageError
from resnet_pipe.study.family import FAMILIES, Family, Kind

_SLOW = 5.0
"""Images per second of which one digit after the point would be too few to compare."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(_Section):
    """A figure measured several times."""

    median: float
    low: float
    high: float


class StageTime(_Section):
    """Milliseconds of one stage for each item, added up over all who work on it."""

    busy_ms: float
    wait_ms: float


class Latency(_Section):
    """Milliseconds of one forward pass of a whole batch."""

    p50: float
    p95: float
    p99: float


class Depth(_Section):
    """What a depth is made of."""

    depth: int
    params: int
    gmacs: float = Field(description="10^9 multiply-accumulates for one image")
    gmacs_at: tuple[int, int] | None = Field(
        default=None,
        description="height and width of that image, the largest of the model's own, if it takes many sizes",
    )
    file_mb: float


class Setting(_Section):
    """What executed a depth."""

    engine: str
    version: str
    device: str
    precision: str
    batch_size: int
    threads: int
    streams: int


class Entry(_Section):
    """One depth on one engine. Of several runs, each figure is the median."""

    network: Depth
    setting: Setting
    images_per_s: Spread
    stages: dict[str, StageTime]
    parts: dict[str, float] = Field(
        default={}, description="of a network that finds objects: milliseconds of `infer` by part, per image"
    )
    latency: Latency
    load_s: float = Field(description="reading the file and building the network")
    warmup_s: float = Field(description="the first forward pass")
    gflops: float | None = Field(
        description="10^9 floating-point operations a second while the network runs; null if it takes many"
        " sizes, as each image has its own number"
    )
    gflops_share: float | None = Field(description="of the best depth of this engine, 0 to 1; null likewise")
    peak_rss_mb: float
    peak_vram_mb: float | None
    bottleneck: str


class Failed(_Section):
    """A depth that could not be measured."""

    depth: int
    engine: str
    batch_size: int | None
    reason: str


class Point(_Section):
    """One batch size of one depth on one engine."""

    depth: int
    engine: str
    batch_size: int
    images_per_s: float
    latency: Latency


class Study(_Section):
    """The contents of depth.json. Fields are added, never renamed."""

    schema_version: Literal[1] = 1
    family: Kind = Field(default="resnet", description="what all the networks are")
    job: str
    made_at: str = Field(description="UTC, ISO 8601")
    machine: dict[str, str]
    sources: int
    items: int = Field(description="that each run put through the network")
    repeats: int
    entries: list[Entry]
    batch_sizes: list[Point]
    failed: list[Failed]

    @property
    def networks(self) -> Family:
        """Return what all the networks are."""
        return FAMILIES[self.family]

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return the name of each network that takes many sizes -> height and width of its largest image."""
        networks = [entry.network for entry in self.entries]
        return {self.name(each): each.gmacs_at for each in networks if each.gmacs_at}

    @property
    def size(self) -> tuple[int, int] | None:
        """Return that of all networks; None if they take one size each, or differ in it."""
        sizes = {*self.sizes.values()}
        return sizes.pop() if len(sizes) == 1 else None

    def name(self, network: Depth | Point | Failed) -> str:
        """Return the name of a network, for people."""
        return self.networks.name(network.depth)


def read(path: Path) -> Study:
    """Read depth.json; a `UsageError` if it is unreadable, no depth study, or of another schema version."""
    remedy = "give a depth.json written by `resnet-pipe depth`"
    try:
        return Study.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy) from None
    except ValidationError as error:
        first: Any = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        if place == "schema_version":
            found = f"its schema_version is {first['input']}, and this resnet-pipe reads 1"
            raise UsageError(f"{path}: {found}", "use the version of resnet-pipe that wrote it") from None
        raise UsageError(f"{path} is not a depth study: {place}: {first['msg']}", remedy) from None


def entry(network: Depth, runs: Sequence[Mapping[str, Any]]) -> Entry:
    """Return the figures of one depth on one engine, from the run.json of each repeat."""
    engine = runs[0]["engine"]
    rates = [run["items_per_second"] for run in runs]
    vram = [run["peak_vram_mb"] for run in runs if run["peak_vram_mb"] is not None]
    return Entry(
        network=network,
        setting=Setting(
            batch_size=runs[0]["batch_size"],
            **{name: engine[name] for name in ("device", "precision", "threads", "streams", "version")},
            engine=engine["name"],
        ),
        images_per_s=Spread(median=median(rates), low=min(rates), high=max(rates)),
        stages={
            stage: StageTime(
                busy_ms=median(_per_item(run, stage, "busy_s") for run in runs),
                wait_ms=median(_per_item(run, stage, "wait_in_s", "wait_out_s") for run in runs),
            )
            for stage in runs[0]["stages"]
        },
        parts={part: median(_part(run, part) for run in runs) for part in runs[0]["infer_parts_s"]},
        latency=latency(runs),
        load_s=median(run["engine"]["load_s"] for run in runs),
        warmup_s=median(run["warmup_s"] - run["engine"]["load_s"] for run in runs),
        gflops=median(_gflops(network, run) for run in runs) if network.gmacs_at is None else None,
        gflops_share=None,
        peak_rss_mb=median(run["peak_rss_mb"] for run in runs),
        peak_vram_mb=median(vram) if vram else None,
        bottleneck=mode(run["bottleneck"] for run in runs),
    )


def latency(runs: Sequence[Mapping[str, Any]]) -> Latency:
    """Return the latency of a forward pass: of each percentile, the median of all runs."""
    stages = [run["stages"]["infer"] for run in runs]
    return Latency(
        **{name: median(stage[f"{name}_ms"] for stage in stages) for name in ("p50", "p95", "p99")}
    )


def with_shares(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries, each with its share of the GFLOP/s of the best depth of its engine."""
    best: dict[str, float] = {}
    for each in entries:
        best[each.setting.engine] = max(best.get(each.setting.engine, 0.0), each.gflops or 0.0)
    return [
        each.model_copy(update={"gflops_share": each.gflops / best[each.setting.engine]})
        if each.gflops
        else each
        for each in entries
    ]


def rate(images_per_s: float) -> str:
    """Return images per second in words: a network that finds objects may take seconds for one."""
    if images_per_s >= _SLOW:
        return f"{images_per_s:.1f}"
    return f"{images_per_s:.2f}" if images_per_s >= 0.1 else f"{images_per_s:.4f}"


def turning_point(entries: Sequence[Entry]) -> int | None:
    """Return the first depth that the network limits after one that it does not, of an engine, by depth."""
    for before, after in itertools.pairwise(entries):
        if before.bottleneck != "infer" and after.bottleneck == "infer":
            return after.network.depth
    return None


def _per_item(run: Mapping[str, Any], stage: str, *names: str) -> float:
    """Return milliseconds; a run that counts has items."""
    return float(1000 * sum(run["stages"][stage][name] for name in names) / run["items"])


def _part(run: Mapping[str, Any], part: str) -> float:
    """Return milliseconds of a part of the infer stage for each item."""
    return float(1000 * run["infer_parts_s"].get(part, 0.0) / run["items"])


def _gflops(network: Depth, run: Mapping[str, Any]) -> float:
    """Two operations for each multiply-accumulate, over the time in which the streams were at work."""
    infer = run["stages"]["infer"]
    seconds = infer["busy_s"] / infer["lanes"]
    return float(2 * network.gmacs * infer["items"] / seconds) if seconds else 0.0
