"""What the benchmarks share: run a program, run programs in turns, take medians, save the figures."""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine

from resnet_pipe.infer.engine import ENGINES
from resnet_pipe.process import child
from resnet_pipe.study import figures

RESULTS = Path(__file__).resolve().parent / "results"
TIMEOUT_S = 900.0
"""No program takes as long as this, unless it hangs."""
SLOW = {"mlx": "takes seconds per image on a CPU; measured only if --engines names it"}
"""Engines that are left out unless they are asked for, and why."""


class ProgramError(Exception):
    """A program did not end as it should; the text says why, in a line."""


@dataclass(frozen=True)
class Measurement:
    """One run of one program.

    Attributes:
        rate: images a second, after its model is loaded.
        report: everything the program said.
    """

    rate: float
    report: Mapping[str, Any] = field(default_factory=dict)


Program = Callable[[], Measurement]


@dataclass(frozen=True)
class Sitting:
    """What programs did that ran in turns.

    Attributes:
        runs: of each program that ran to its end every time.
        failed: why each of the others did not.
    """

    runs: Mapping[str, list[Measurement]]
    failed: Mapping[str, str]

    @property
    def median(self) -> dict[str, float]:
        """The median of the rates of each program, images a second."""
        return {name: statistics.median(rates) for name, rates in self.rates.items()}

    @property
    def rates(self) -> dict[str, list[float]]:
        """All rates of each program, images a second."""
        return {name: [run.rate for run in runs] for name, runs in self.runs.items()}


def script(name: str, *arguments: object, python: str = sys.executable) -> Measurement:
    """Run a module of this package that prints its images and seconds as JSON.

    Raises:
        ProgramError: it failed.
    """
    printed = output([python, "-m", f"benchmarks.{name}", *map(str, arguments)])
    report = json.loads(printed.splitlines()[-1])  # what libraries print comes before it
    return Measurement(report["images"] / report["seconds"], report)


def resnet_pipe(job: Path, *overrides: str, limit_s: float = TIMEOUT_S) -> Measurement:
    """Run a job from nothing.

    Raises:
        ProgramError: it failed, or took longer than the limit.
    """
    command = [sys.executable, "-m", "resnet_pipe", "run", str(job), "--fresh", "--quiet", "--json"]
    report = json.loads(output([*command, *set_flags(overrides)], limit_s))
    return Measurement(report["items"] / report["run_seconds"], report)


def set_flags(overrides: Iterable[str]) -> list[str]:
    """Return the flags of a command that override values of its job."""
    return [part for override in overrides for part in ("--set", override)]


def alternate(programs: Mapping[str, Program], repeats: int) -> Sitting:
    """Run every program `repeats` times, in turns, so that a drifting machine favours none.

    A program that fails is left out from then on, which is said and remembered.
    """
    runs: dict[str, list[Measurement]] = {name: [] for name in programs}
    failed: dict[str, str] = {}
    for repeat in range(repeats):
        for name in [name for name in programs if name not in failed]:
            started = time.perf_counter()
            try:
                runs[name].append(programs[name]())
            except ProgramError as error:
                failed[name] = str(error)
                print(f"{repeat + 1}/{repeats} {name}: LEFT OUT: {error}", flush=True)
                continue
            took = time.perf_counter() - started
            print(
                f"{repeat + 1}/{repeats} {name}: {figures.rate(runs[name][-1].rate)} images/s ({took:.0f} s)",
                flush=True,
            )
    return Sitting({name: several for name, several in runs.items() if name not in failed}, failed)


def left_out(sitting: Sitting, engines: Collection[str]) -> dict[str, str]:
    """Return why programs and engines were not measured, and print it.

    Args:
        sitting: some of whose programs may have failed.
        engines: that were asked for.
    """
    others = {engine: SLOW.get(engine, "not requested") for engine in ENGINES if engine not in engines}
    reasons = {**sitting.failed, **others}
    for name, reason in reasons.items():
        print(f"left out: {name}: {reason}")
    return reasons


def compare(name: str, programs: Mapping[str, Program], repeats: int, **about: object) -> dict[str, float]:
    """Run programs in turns, print and save the figures, and return the medians, images a second.

    A program that fails ends the benchmark.

    Args:
        name: of the result.
        programs: by name.
        repeats: of each.
        about: what else the result says.
    """
    sitting = alternate(programs, repeats)
    if sitting.failed:
        sys.exit("a program failed; nothing was saved")
    for program, rate in sitting.median.items():
        print(f"{program:<20}{rate:8.2f} images/s")
    save(name, {**about, "median": sitting.median, "rates": sitting.rates})
    return sitting.median


def save(name: str, result: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Write a result with the machine it was measured on, as JSON, into a folder."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"machine": machine.describe(), **result}, indent=1) + "\n")
    print(f"wrote {path}")
    return path


def parser(text: str | None, repeats: int = 5) -> argparse.ArgumentParser:
    """Return a parser that shows a module's text, and has --repeats."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("--repeats", type=int, default=repeats)
    return made


def add_engines(made: argparse.ArgumentParser) -> None:
    """Add --engines: all but the slow ones, if it is not given."""
    usual = [engine for engine in ENGINES if engine not in SLOW]
    made.add_argument("--engines", nargs="*", choices=ENGINES, default=usual)


def versions(python: str) -> dict[str, str]:
    """Return the versions of the libraries that a Python has."""
    found: dict[str, str] = json.loads(output([python, "-m", "benchmarks.machine"]))["versions"]
    return found


def output(command: list[str], limit_s: float = TIMEOUT_S) -> str:
    """Run a program and return what it prints to standard output.

    Raises:
        ProgramError: it failed, crashed or took longer than the limit.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise ProgramError(f"did not end within {limit_s:.0f} s") from None
    if done.returncode < 0:
        raise ProgramError(": ".join(filter(None, [child.ending(done.returncode), _reason(done.stderr)])))
    if done.returncode != 0:
        raise ProgramError(_reason(done.stderr) or f"exit code {done.returncode}")
    return done.stdout


def brief(text: str) -> str:
    """Return what a library says on one line that is not too long, without directories, to be saved."""
    return re.sub(r"/\S*/", "", " ".join(text.split()))[-300:]


def _reason(stderr: str) -> str:
    """Return why a program failed: of a traceback the last line."""
    lines = stderr.strip().splitlines()
    return brief(" ".join(lines[-1:] if "Traceback" in stderr else lines))
