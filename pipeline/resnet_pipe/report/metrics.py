"""Metrics of the last run in Prometheus' text format, for node_exporter's textfile collector.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from resnet_pipe.store import atomic

_PAUSED = "paused"
_SUCCESS = "last_success_timestamp_seconds"
_STANDING = "standing_failures"


def write(path: Path, run: dict[str, Any], ended_at: float, tag: str = "") -> None:
    """Write the metrics of a run, readable by everyone; keep what a run that failed does not know.

    A division of a job adds its tag to the name, and as a label to every figure: a collector that reads
    the files of all divisions refuses two equal ones. `ended_at` is in seconds since 1970.
    """
    outdated = list(_outdated(path, tag)) if run["exit_code"] in (0, 3) else []
    own = _of_division(path, tag)
    success, standing = _known(own)
    if run["exit_code"] in (0, 3):
        success = ended_at
    standing = run["standing"] or standing
    _replace(own, tag, _lines(run, _labels(run["job"], tag), ended_at, success, standing))
    for other in outdated:
        other.unlink(missing_ok=True)


def show_pause(path: Path, job: str, tag: str, paused: bool) -> None:
    """Say whether the run that goes on is paused; what the file says of the last run stays."""
    own = _of_division(path, tag)
    try:
        text = _read(own)
    except (OSError, ValueError):
        text = ""
    about = re.compile(rf"(# (HELP|TYPE) )?resnet_pipe_{_PAUSED}\b")
    others = (line for line in text.split("\n") if line and not about.match(line))
    _replace(own, tag, [*others, *_pause(_labels(job, tag), paused)])


def _of_division(path: Path, tag: str) -> Path:
    return path.with_stem(f"{path.stem}-{tag}") if tag else path


def _labels(job: str, tag: str) -> str:
    return f'job="{_escape(job)}"' + (f',shard="{tag}"' if tag else "")


def _replace(path: Path, tag: str, lines: Iterable[str]) -> None:
    with atomic.replacing(path, tag) as temporary:
        temporary.write_bytes(("\n".join(lines) + "\n").encode())
        temporary.chmod(0o644)


def _pause(labels: str, paused: bool) -> Iterator[str]:
    meaning = "1 while a run begins nothing because of run.pause_file, else 0."
    return _gauge(_PAUSED, meaning, {labels: int(paused)})


def _outdated(path: Path, tag: str) -> Iterator[Path]:
    """Yield the files of divisions that no longer run: of another N, or all for a whole job."""
    of_a_division = re.compile(re.escape(path.stem) + r"-\d+of(\d+)" + re.escape(path.suffix))
    for other in path.parent.iterdir():
        match = of_a_division.fullmatch(other.name)
        if match and match[1] != tag.partition("of")[2]:
            yield other


def _lines(
    run: dict[str, Any], labels: str, ended_at: float, success: float | None, standing: dict[str, int]
) -> Iterator[str]:
    done, partial, failed = (run["sources"][how] for how in ("done", "partial", "failed"))
    canary = run["canary"] or {}
    figures = [
        (_SUCCESS, "When a run last ended with exit code 0 or 3, seconds since 1970.", success),
        ("last_run_timestamp_seconds", "When the last run ended, seconds since 1970.", ended_at),
        ("duration_seconds", "How long the last run took in total.", run["seconds"]),
        ("items", "Items that went through the network in the last run.", run["items"]),
        ("sources_done", "Sources that gave all their rows in the last run.", done),
        ("sources_partial", "Sources that gave some of their rows or files in the last run.", partial),
        ("sources_failed", "Sources that failed in the last run.", failed),
        (
            "canary_cosine",
            "Smallest cosine similarity to float32 of items that were computed again.",
            canary.get("cosine_min"),
        ),
        (
            "canary_matched",
            "Share of the boxes found in such items that were the same.",
            canary.get("matched"),
        ),
        ("exit_code", "Exit code of the last run.", run["exit_code"]),
    ]
    for name, meaning, value in figures:
        if value is not None:
            yield from _gauge(name, meaning, {labels: value})
    if standing:
        meaning = "Outstanding failures in the results, from any run: failed and partial sources."
        counts = {f'{labels},status="{status}"': count for status, count in standing.items()}
        yield from _gauge(_STANDING, meaning, counts)
    busy = {f'{labels},stage="{stage}"': times["busy_s"] for stage, times in run["stages"].items()}
    yield from _pause(labels, False)
    yield from _gauge("stage_seconds", "Seconds that a stage was busy in the last run.", busy)


def _gauge(name: str, meaning: str, values: Mapping[str, float]) -> Iterator[str]:
    """Yield the lines of one figure, which has a value for each set of labels."""
    yield f"# HELP resnet_pipe_{name} {meaning}"
    yield f"# TYPE resnet_pipe_{name} gauge"
    for labels, value in values.items():
        yield f"resnet_pipe_{name}{{{labels}}} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _read(path: Path) -> str:
    """Return the text of a metrics file as it is: other ends of lines than a newline may be in a name."""
    return path.read_bytes().decode()


def _known(path: Path) -> tuple[float | None, dict[str, int]]:
    """Return the last success and the standing failures in a metrics file; nothing where it is not text."""
    try:
        text = _read(path)
    except (OSError, ValueError):
        return None, {}
    success = re.search(rf"^resnet_pipe_{_SUCCESS}{{.*}} (\d+(?:\.\d+)?)$", text, re.MULTILINE)
    standing = re.findall(rf'^resnet_pipe_{_STANDING}{{.*status="(\w+)"}} (\d+)$', text, re.MULTILINE)
    return float(success[1]) if success else None, {status: int(count) for status, count in standing}
