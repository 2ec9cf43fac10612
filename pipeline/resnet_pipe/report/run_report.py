"""The report of a run, report.html: what happened, where the time went, what it looks like."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import ExitCode, RunError
from resnet_pipe.ledger.standing import NAME as FAILURES
from resnet_pipe.ledger.standing import Standing
from resnet_pipe.report import charts
from resnet_pipe.report.page import render
from resnet_pipe.store import atomic
from resnet_pipe.store.store import Store
from resnet_pipe.study.agreement import digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "report.html"
SHOWN_FAILURES = 100

_WINDOWS = 30
"""Windows side by side in a run: enough to show its course, too few to show single batches."""
_COUNTS = 3
"""Batches that end in a window, on average, at least; fewer in a run of only a few batches."""
_LEAST = 4
"""With fewer batches in total, there is no chart."""
_NICE = (0.1, 0.2, 0.3, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 60, 120, 180, 300, 600, 900, 1200, 1800)
"""Possible lengths of a window, seconds."""
_UNITS = ((7200, 3600, "hours"), (120, 60, "minutes"), (0, 1, "seconds"))
"""For each unit of an axis: from how many seconds on it is used, its seconds, and its name."""

Numbers = NDArray[np.float64]


def write(folder: Path, store: Store) -> Path:
    """Make the report of a run from what it has left in its folder, and return its path.

    The folder has run.json, job.yaml and, if the network had anything to do, history.json; the store of the
    results has failures.jsonl.

    Raises:
        MissingExtraError: the extra `report` is not installed.
        RunError: the run has left no run.json, or it cannot be read.
    """
    run = _read(folder / "run.json")
    if run is None:
        raise RunError(f"{folder} has no run.json: that run was killed", "run the job again")
    history = _read(folder / "history.json") or {"timeline": None, "slowest": [], "samples": []}
    failures, count = _failures(store)
    job = folder / "job.yaml"
    unit = "frames" if run["video"] else "images"
    table = stages(run)
    page = render(
        "run.html",
        {
            "run": run,
            "started": run["started_at"].replace("T", " ").replace("+00:00", " UTC"),
            "output": str(store.root),
            "outcome": _outcome(run),
            "unit": unit,
            "findings": [*findings(run, table), *_standing(run)],
            "stages": table,
            "parts": parts(run),
            "devices": devices(run),
            "stages_chart": _stages_chart(table) if run["items"] else None,
            **_charts_over_time(history["timeline"], run, unit),
            "samples": history["samples"],
            "slowest": history["slowest"],
            "failures": failures,
            "failure_count": count,
            "facts": _facts(run),
            "job": job.read_text(encoding="utf-8") if job.is_file() else "",
        },
    )
    path = folder / NAME
    atomic.write_bytes(path, page.encode(errors="backslashreplace"))
    return path


def stages(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the stage table of a run.json: its figures, the share of the run, and busy ms per item."""
    return [
        {
            **stage,
            "name": name,
            "share": _share(run, stage["busy_s"], stage["lanes"]),
            "ms_per_item": 1000 * stage["busy_s"] / stage["items"] if stage["items"] else 0.0,
        }
        for name, stage in run["stages"].items()
    ]


def parts(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is known of the parts of infer of a run.json, as of `stages`; nothing for most networks."""
    infer = run["stages"].get("infer", {})
    if not infer.get("items"):
        return []
    return [
        {
            "name": name,
            "busy_s": seconds,
            "share": _share(run, seconds, infer["lanes"]),
            "ms_per_item": 1000 * seconds / infer["items"],
        }
        for name, seconds in run.get("infer_parts_s", {}).items()  # runs of earlier versions have none
    ]


def devices(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the device table of a run.json: its figures, and the share of the run; empty for one device."""
    used = run.get("devices", [])  # runs of earlier versions have none
    if len(used) < 2:
        return []
    return [{**use, "share": _share(run, use["busy_s"], use["streams"])} for use in used]


def _share(run: dict[str, Any], busy_s: float, lanes: int) -> float:
    return busy_s / (run["run_seconds"] * lanes) if run["run_seconds"] else 0.0


def findings(run: dict[str, Any], table: list[dict[str, Any]]) -> list[str]:
    """Say in sentences what the figures of a run and its stage table mean."""
    if not run["items"]:
        return ["Nothing went through the network."]
    limit = next(stage for stage in table if stage["name"] == run["bottleneck"])
    engine, model = run["engine"], run["model"]
    said = [
        f"{model['name']} ran in {engine['name']} {engine['version']} on {engine['device']} in"
        f" {engine['precision']}: {engine['proof']}.",
        f"The bottleneck is {limit['name']}: busy {min(limit['share'], 1):.0%} of the run,"
        f" {limit['ms_per_item']:.1f} ms per item.",
    ]
    if model["weights"].lower().startswith("random weights"):
        said.append(f"The model has {model['weights']}.")
    if canary := run.get("canary"):  # runs of earlier versions have none
        agrees = []
        if canary.get("matched") is not None:
            agrees.append(f"{canary['matched']:.1%} of the boxes were the same")
        if canary["cosine_min"] is not None:
            agrees.append(f"a cosine similarity of {digits(canary['cosine_min'])} at least")
        if canary["top1"] is not None:
            agrees.append(f"the same best class for {canary['top1']:.0%}")
        said.append(
            f"{canary['items']} {'item was' if canary['items'] == 1 else 'items were'} computed again with"
            f" {canary['reference']}: {', and '.join(agrees)}."
        )
    elif run.get("no_canary"):
        said.append(f"Nothing was compared with float32: {run['no_canary']}.")
    if run["video"]:
        video = run["video"]
        said.append(
            f"{video['frames_decoded']} frames were decoded and {video['frames_used']} used:"
            f" {video['real_time_factor']:.1f} seconds of video per second."
        )
    return said


def _standing(run: dict[str, Any]) -> list[str]:
    """Say what is wrong in the results although this run may have gone well."""
    if not run.get("standing"):  # runs of earlier versions have none
        return []
    now = run["sources"]["failed"] + run["sources"]["partial"]
    earlier = Standing(**run["standing"]).of_earlier_runs(now)
    return [f"Failures in the results: {earlier}."] if earlier else []


def _stages_chart(table: list[dict[str, Any]]) -> charts.Picture:
    times = {stage["name"]: stage["ms_per_item"] for stage in table}

    def draw(axes: Axes, scheme: charts.Scheme) -> None:
        bars = axes.barh([*times], [*times.values()], color=[charts.STAGE_COLORS[name] for name in times])
        axes.bar_label(bars, [f" {ms:.2f} ms" for ms in times.values()], color=scheme.text, fontsize=9)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.margins(x=0.15)
        axes.set_xlabel("busy milliseconds per item, over all workers of the stage")
        axes.tick_params(axis="y", labelcolor=scheme.text)

    words = ", ".join(f"{name} {ms:.2f} ms" for name, ms in times.items())
    return charts.picture(draw, f"Busy time per item: {words}", height=2.0)


def _rates(at: Sequence[float], total: Sequence[float] | Numbers, centers: Numbers, window: float) -> Numbers:
    """Return how fast a total that is known at moments, and linear in between, grows in windows.

    The windows overlap. At both ends they are shorter, where part of one would be outside the run.
    """
    first = np.maximum(centers - window / 2, 0)
    last = np.minimum(centers + window / 2, centers[-1])
    rates: Numbers = (np.interp(last, at, total) - np.interp(first, at, total)) / (last - first)
    return rates


def _charts_over_time(timeline: dict[str, Any] | None, run: dict[str, Any], unit: str) -> dict[str, Any]:
    """Return the charts of a run, for its page; None for charts that cannot be drawn.

    `timeline` is of history.json, `run` is run.json, and `unit` what an item is called, in the plural.
    """
    seconds, items = (timeline["seconds"], timeline["items"]) if timeline else ([], [])
    grown = np.flatnonzero(np.diff([0, *items]) > 0)
    if timeline is None or len(grown) < _LEAST:
        return {"timeline_chart": None, "queues_chart": None, "window": None}
    end = max(run["run_seconds"], seconds[-1])
    wanted = max(end / _WINDOWS, min(_COUNTS * end / len(grown), end / 3))
    window = next((nice for nice in _NICE if nice >= wanted), wanted)
    centers = np.linspace(0, end, 300)
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
            batch_seconds = np.cumsum([0, *np.multiply(timeline[key], lasted)])
            waiting = _rates([*seconds, end], batch_seconds, centers, window)
            axes.plot(centers / scale, waiting, label=label, color=charts.STAGE_COLORS[stage])
        over_time(axes, "batches waiting")
        charts.legend(axes, scheme)

    return {
        "timeline_chart": charts.picture(throughput, f"{unit} per second over the run", height=2.3),
        "queues_chart": charts.picture(queues, "Batches waiting, over the run", height=2.3),
        "window": f"{window / 60:g} min" if window >= 60 else f"{window:.2g} s",
    }


def _facts(run: dict[str, Any]) -> list[tuple[str, str]]:
    engine, model = run["engine"], run["model"]
    facts = [("model", f"{model['name']}, {model['weights']}"), ("model SHA-256", model["sha256"])]
    if engine:
        facts += [
            ("engine", f"{engine['name']} {engine['version']}, {engine['device']}, {engine['precision']}"),
            ("proof", engine["proof"]),
            ("note", engine["note"]),
            ("threads, streams", f"{engine['threads']}, {engine['streams']}"),
            ("batch size", str(run["batch_size"])),
            ("workers", f"{run['workers']}, {run['workers_replaced']} replaced"),
            ("engine start", f"{run['warmup_s']:.2f} s"),
        ]
    facts += [(name.replace("_", " "), str(value)) for name, value in run.get("environment", {}).items()]
    facts.append(("fingerprint", run["fingerprint"]))
    return [(name, value) for name, value in facts if value]


def _outcome(run: dict[str, Any]) -> str:
    meaning, left = ExitCode(run["exit_code"]).meaning, run.get("remaining", 0)
    return f"{meaning}; {left} source{'' if left == 1 else 's'} left" if left else meaning


def _failures(store: Store) -> tuple[list[dict[str, Any]], int]:
    """Return the first failures that stand, and how many there are."""
    if not store.look(FAILURES):
        return [], 0
    with (store.gather([FAILURES]) / FAILURES).open(encoding="utf-8") as file:
        first = [json.loads(line) for line in islice(file, SHOWN_FAILURES)]
        return first, len(first) + sum(1 for _ in file)


def _read(path: Path) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}", "run the job again") from None
