"""The report of a run, report.html: what happened, where the time went, what it looks like."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_pipe.errors import ExitCode, RunError
from resnet_pipe.ledger.standing import Standing
from resnet_pipe.report import charts, run_charts
from resnet_pipe.report.page import render
from resnet_pipe.store import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "report.html"
SHOWN_FAILURES = 100


def write(folder: Path, output: Path) -> Path:
    """Make the report of a run from what it has left in its folder, and return its path.

    The folder has run.json, job.yaml and, if the network had anything to do, history.json; the output
    directory has failures.jsonl.

    Raises:
        MissingExtraError: the extra `report` is not installed.
        RunError: the run has left no run.json, or it cannot be read.
    """
    run = _read(folder / "run.json")
    if run is None:
        raise RunError(f"{folder} has no run.json: that run was killed", "run the job again")
    history = _read(folder / "history.json") or {"timeline": None, "slowest": [], "samples": []}
    failures, count = _failures(output / "failures.jsonl")
    job = folder / "job.yaml"
    unit = "frames" if run["video"] else "images"
    table = stages(run)
    page = render(
        "run.html",
        {
            "run": run,
            "started": run["started_at"].replace("T", " ").replace("+00:00", " UTC"),
            "output": str(output),
            "outcome": ExitCode(run["exit_code"]).meaning,
            "unit": unit,
            "findings": [*findings(run, table), *_standing(run)],
            "stages": table,
            "devices": devices(run),
            "stages_chart": _stages_chart(table) if run["items"] else None,
            **run_charts.pictures(history["timeline"], run, unit),
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
    seconds = run["run_seconds"]
    return [
        {
            **stage,
            "name": name,
            "share": stage["busy_s"] / (seconds * stage["lanes"]) if seconds else 0.0,
            "ms_per_item": 1000 * stage["busy_s"] / stage["items"] if stage["items"] else 0.0,
        }
        for name, stage in run["stages"].items()
    ]


def devices(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the device table of a run.json: its figures, and the share of the run; empty for one device."""
    seconds, used = run["run_seconds"], run.get("devices", [])  # runs of earlier versions have none
    shares = [use["busy_s"] / (seconds * use["streams"]) if seconds else 0.0 for use in used]
    table = [{**use, "share": share} for use, share in zip(used, shares, strict=True)]
    return table if len(table) > 1 else []


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


def _failures(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the first failures that stand, and how many there are."""
    try:
        with path.open(encoding="utf-8") as file:
            first = [json.loads(line) for line in islice(file, SHOWN_FAILURES)]
            return first, len(first) + sum(1 for _ in file)
    except FileNotFoundError:
        return [], 0


def _read(path: Path) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}", "run the job again") from None
