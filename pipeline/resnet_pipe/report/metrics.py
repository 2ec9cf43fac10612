"""Metrics of the last run in Prometheus' text format, for node_exporter's textfile collector.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resnet_pipe import atomic

_SUCCESS = "resnet_pipe_last_success_timestamp_seconds"

_HELP = {
    _SUCCESS: "When a run last ended with exit code 0 or 3, seconds since 1970.",
    "resnet_pipe_last_run_timestamp_seconds": "When the last run ended, seconds since 1970.",
    "resnet_pipe_duration_seconds": "How long the last run took, all of it.",
    "resnet_pipe_items": "Items that the network saw in the last run.",
    "resnet_pipe_sources_done": "Sources that gave all their rows in the last run.",
    "resnet_pipe_sources_partial": "Sources that gave some of their rows or files in the last run.",
    "resnet_pipe_sources_failed": "Sources that failed in the last run.",
    "resnet_pipe_exit_code": "Exit code of the last run.",
    "resnet_pipe_stage_seconds": "Seconds that a stage was at work in the last run.",
}


def write(path: Path, run: dict[str, Any], ended_at: float, tag: str = "") -> None:
    """Write the metrics of a run, readable by everyone; keep the time of the last success if it failed.

    Args:
        path: final path; its directory exists. A part of a divided job adds its tag to the name, and as a
            label to every figure: a collector that reads the files of all parts refuses two equal ones.
        run: contents of run.json.
        ended_at: seconds since 1970.
        tag: of the run, among those that share the directory.
    """
    if tag:
        path = path.with_stem(f"{path.stem}-{tag}")
    success = ended_at if run["exit_code"] in (0, 3) else _last_success(path)
    labels = f'job="{_escape(run["job"])}"' + (f',shard="{tag}"' if tag else "")
    lines = "\n".join(_lines(run, labels, ended_at, success)) + "\n"
    with atomic.replacing(path, tag) as temporary:
        temporary.write_text(lines, encoding="utf-8")
        temporary.chmod(0o644)


def _lines(run: dict[str, Any], labels: str, ended_at: float, success: float | None) -> Iterator[str]:
    values = {
        _SUCCESS: success,
        "resnet_pipe_last_run_timestamp_seconds": ended_at,
        "resnet_pipe_duration_seconds": run["seconds"],
        "resnet_pipe_items": run["items"],
        "resnet_pipe_sources_done": run["sources"]["done"],
        "resnet_pipe_sources_partial": run["sources"]["partial"],
        "resnet_pipe_sources_failed": run["sources"]["failed"],
        "resnet_pipe_exit_code": run["exit_code"],
    }
    for name, value in values.items():
        if value is not None:
            yield from _head(name)
            yield f"{name}{{{labels}}} {value}"
    yield from _head("resnet_pipe_stage_seconds")
    for stage, times in run["stages"].items():
        yield f'resnet_pipe_stage_seconds{{{labels},stage="{stage}"}} {times["busy_s"]}'


def _head(name: str) -> Iterator[str]:
    yield f"# HELP {name} {_HELP[name]}"
    yield f"# TYPE {name} gauge"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _last_success(path: Path) -> float | None:
    try:
        match = re.search(rf"^{_SUCCESS}{{.*}} (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        return float(match[1]) if match else None
    except (OSError, ValueError):
        return None
