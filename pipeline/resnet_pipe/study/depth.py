"""The depth study: the same sources through networks of several depths, each run in its own process."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from resnet_pipe.errors import ExitCode, ModelError, ResnetPipeError, StoppedError, UsageError
from resnet_pipe.infer import engine as engines
from resnet_pipe.job import job as jobs
from resnet_pipe.job.job import Job
from resnet_pipe.machine import description
from resnet_pipe.model.depths import DEPTHS
from resnet_pipe.model.model import open_model
from resnet_pipe.run.stop import Stop
from resnet_pipe.study.family import FAMILIES, Family, Kind, kind_for
from resnet_pipe.study.figures import Depth, Failed, Point, Study, entry, latency, rate, with_shares
from resnet_pipe.study.trial import TrialError, Trials, open_trials

_LIMIT_S = 3600.0
"""A run that takes longer counts as a failure of its depth."""


@dataclass(frozen=True)
class DepthOptions:
    """What is studied: these engines, or the job's own; without batch sizes, no curves of them.

    Each depth runs `repeats` times on each engine, over `items` images or frames: the job's sources are read
    several times over if they are fewer.
    """

    engines: Sequence[str]
    repeats: int
    batch_sizes: Sequence[int]
    items: int


@dataclass(frozen=True)
class Networks:
    """The networks of a study by depth, all of one kind, and of those that could not be converted, why."""

    kind: Kind
    known: dict[int, Depth]
    failed: dict[int, str]


def load(path: Path, overrides: Sequence[str]) -> Job:
    """Read and check a job for a study, whatever its model is, and whether that is there.

    Raises:
        DocumentError: the job is wrong.
        UsageError: no network of a depth study gives what it asks for, or takes such images.
    """
    # Each run has a model of its own in its place: for now it need only be a file, such as the job itself.
    any_file = f"infer.model={json.dumps(str(path.absolute()))}"
    job = jobs.load(path, (*overrides, any_file), "--set").job
    if FAMILIES[kind_for(job.fields)].one_size and job.preprocess.fit == "shortest":
        raise UsageError(
            "the networks that are measured take images of one size, and fit: shortest makes many",
            "take fit, and the keys that go with it, out of the job: each network brings its own",
        )
    return job


def prepare(kind: Kind, depths: Sequence[int], weights: str, say: Callable[[str], None]) -> Networks:
    """Convert the networks that have not been converted yet; for timing, any `weights` will do.

    Raises:
        UsageError: there is no ResNet of such a depth.
        ResnetPipeError: none of them could be converted.
    """
    networks = Networks(kind, {}, {})
    for depth in set(depths).difference(DEPTHS):  # before the first conversion, which takes minutes
        remedy = f"--depths {','.join(map(str, DEPTHS))}, or some of them"
        raise UsageError(f"there is no ResNet-{depth}", remedy)
    for depth in depths:
        try:
            networks.known[depth] = _prepare(FAMILIES[kind], depth, weights, say)
        except ResnetPipeError as error:
            say(f"{FAMILIES[kind].name(depth)}: {error}")
            networks.failed[depth] = error.problem
            if networks.failed.keys() == set(depths):
                raise
    return networks


class _Spec(NamedTuple):
    """What one run measures; the job's own batch size if there is none."""

    depth: int
    engine: str
    batch_size: int | None = None

    def describe(self, family: Family) -> str:
        """Return it in words."""
        batches = f", batches of {self.batch_size}" if self.batch_size else ""
        return f"{family.name(self.depth)}, {self.engine}{batches}"


def study(
    job: Job, networks: Networks, options: DepthOptions, stop: Stop, say: Callable[[str], None]
) -> tuple[Study, ExitCode]:
    """Measure every depth on every engine; return the figures, and the exit code.

    That is 3 if a depth failed, and 130 or 143 if it was stopped before its time. The job gives
    the sources, the preprocessing mode, the writer and the engine; its model does not matter.

    Raises:
        RunError: there are no sources.
        StoppedError: a signal came before anything was measured.
    """
    wanted = tuple(dict.fromkeys(options.engines)) or (job.infer.engine,)
    failed = {_Spec(depth, engine): networks.failed[depth] for depth in networks.failed for engine in wanted}
    measuring = _Measuring(networks, wanted, options, say, failed)
    with open_trials(job, stop) as trials:
        try:
            measuring.run(trials)
            code = ExitCode.SOME_FAILED if failed else ExitCode.DONE
        except StoppedError as error:
            if not measuring.runs:
                raise
            code = error.exit_code
    return measuring.figures(trials), code


@dataclass
class _Measuring:
    networks: Networks
    engines: tuple[str, ...]
    options: DepthOptions
    say: Callable[[str], None]
    failed: dict[_Spec, str]
    runs: dict[_Spec, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def run(self, trials: Trials) -> None:
        order, family = list(self._order()), FAMILIES[self.networks.kind]
        for number, spec in enumerate(order, 1):
            if spec in self.failed:
                continue
            model = str(family.path(spec.depth))
            changes: dict[str, object] = {"infer.model": model, "infer.engine": spec.engine}
            if spec.batch_size is not None:
                changes["infer.batch_size"] = spec.batch_size
            try:
                run = trials.run(self.options.items, changes, _LIMIT_S)
            except TrialError as error:
                self.failed[spec] = str(error)
                self.runs.pop(spec, None)
                outcome = f"failed: {error}"
            else:
                self.runs[spec].append(run)
                outcome = f"{rate(run['items_per_second'])} images/s"
            self.say(f"{number}/{len(order)} {spec.describe(family)}: {outcome}")

    def figures(self, trials: Trials) -> Study:
        """Return the measurements so far."""
        measured = sorted(self.runs, key=lambda spec: (self.engines.index(spec.engine), spec.depth))
        plain = [spec for spec in measured if spec.batch_size is None]
        return Study(
            family=self.networks.kind,
            job=trials.job.name,
            made_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            machine=description.describe(engines.distributions()),
            sources=trials.sample.found,
            items=self.options.items,
            repeats=self.options.repeats,
            entries=with_shares([entry(self.networks.known[spec.depth], self.runs[spec]) for spec in plain]),
            batch_sizes=[
                Point(
                    **spec._asdict(),
                    images_per_s=max(run["items_per_second"] for run in self.runs[spec]),
                    latency=latency(self.runs[spec]),
                )
                for spec in measured
                if spec not in plain
            ],
            failed=[Failed(**spec._asdict(), reason=reason) for spec, reason in self.failed.items()],
        )

    def _order(self) -> Iterator[_Spec]:
        """Yield the runs, each round the other way round: a machine that slows down slows down all."""
        specs = [_Spec(depth, engine) for depth in self.networks.known for engine in self.engines]
        for repeat in range(self.options.repeats):
            yield from specs[:: -1 if repeat % 2 else 1]
        for size in self.options.batch_sizes:
            yield from (spec._replace(batch_size=size) for spec in specs)


def _prepare(family: Family, depth: int, weights: str, say: Callable[[str], None]) -> Depth:
    """Convert a network unless that has been done, and return its figures."""
    path, name = family.path(depth), family.model(depth)
    if not path.is_file():
        from resnet_pipe.convert.conversion import convert

        convert(name, weights=weights, say=say)
    sidecar = open_model(path).sidecar
    if sidecar is None:
        raise ModelError(f"{path} has no sidecar", f"convert it again: resnet-pipe convert {name}")
    if (sidecar.detection and sidecar.detection.kind) != family.finds:  # somebody has called another one so
        raise ModelError(f"{path} is no {family.called}", f"convert it again: resnet-pipe convert {name}")
    megabytes, varies = path.stat().st_size / 1e6, sidecar.preprocessing.varies
    return Depth(
        depth=depth,
        params=sidecar.params,
        gmacs=sidecar.macs / 1e9,
        gmacs_at=sidecar.preprocessing.size if varies else None,
        file_mb=megabytes,
    )
