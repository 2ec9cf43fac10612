"""What the benchmarks share: run a program, alternate programs, take medians, name the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


@dataclass(frozen=True)
class Measurement:
    """One run of one program.

    Attributes:
        rate: images a second, after its model is loaded.
        peak_rss_mb: highest resident memory of it and of its workers; 0 if it does not say.
    """

    rate: float
    peak_rss_mb: float = 0.0


def script(name: str, *arguments: object) -> Measurement:
    """Run a script of this directory that prints its images and seconds as JSON."""
    result = _output([sys.executable, str(HERE / name), *map(str, arguments)])
    return Measurement(result["images"] / result["seconds"])


def resnet_pipe(job: Path, *overrides: str) -> Measurement:
    """Run a job from nothing."""
    flags = [part for override in overrides for part in ("--set", override)]
    command = [sys.executable, "-m", "resnet_pipe", "run", str(job), "--fresh", "--quiet", "--json", *flags]
    result = _output(command)
    return Measurement(result["items_per_second"], result["peak_rss_mb"])


def alternate(
    programs: Mapping[str, Callable[[], Measurement]], repeats: int
) -> dict[str, list[Measurement]]:
    """Run every program `repeats` times, in turns, so that a drifting machine favours none."""
    results: dict[str, list[Measurement]] = {name: [] for name in programs}
    for repeat in range(repeats):
        for name, program in programs.items():
            results[name].append(program())
            print(f"{repeat + 1}/{repeats} {name}: {results[name][-1].rate:.1f} images/s", flush=True)
    return results


def median_rate(measurements: list[Measurement]) -> float:
    """Return the median of the rates."""
    return statistics.median(measurement.rate for measurement in measurements)


def machine() -> dict[str, str]:
    """Name the machine and the versions."""
    libraries = ("numpy", "opencv-python-headless", "pillow", "simplejpeg", "pyarrow")
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        **{library: metadata.version(library) for library in libraries},
    }


def save(name: str, result: Mapping[str, Any]) -> None:
    """Write a result with the machine it was measured on, as JSON, into results/."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n")
    print(f"wrote {path}")


def _output(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
