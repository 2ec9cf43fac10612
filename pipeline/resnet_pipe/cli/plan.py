"""plan: know before a run how long it will take, what it will need and what it will cost."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import click

from resnet_pipe.cli.options import FiniteRange, check_engines, set_option
from resnet_pipe.cli.terminal import on_signals, say, show
from resnet_pipe.errors import UsageError


def _names(_context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    if value is None:
        return ()
    names = tuple(dict.fromkeys(part.strip() for part in value.split(",")))
    if "" in names or not value.isprintable():
        raise click.BadParameter("expected names with commas between them", param=parameter)
    return names


def _engines(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = _names(context, parameter, value)
    check_engines(names, "all")
    return names


@click.command(short_help="Know before a run how long it will take.")
@click.argument("job", type=click.Path(path_type=Path))
@set_option("infer.batch_size=32")
@click.option(
    "--models",
    callback=_names,
    metavar="NAME,NAME,...",
    help="Forecast the job with each of these models, such as resnet18,resnet50.",
)
@click.option(
    "--engines", callback=_engines, metavar="NAME,NAME,...", help="With each of these engines; or all."
)
@click.option(
    "--seconds",
    type=FiniteRange(min=1),
    default=60,
    show_default=True,
    help="Time limit. More time means narrower intervals.",
)
@click.option(
    "--until",
    metavar="TIME",
    help="Will it have ended by then, such as 06:00? Default: run.until of the job.",
)
@click.option(
    "--price", type=FiniteRange(0, 1e9), help="What an hour of this machine costs: then costs are shown."
)
@click.option("--fresh", is_flag=True, help="Forecast `run --fresh`: everything is processed again.")
@click.option("--quiet", is_flag=True, help="Do not show progress.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def plan(
    job: Path,
    overrides: tuple[str, ...],
    models: tuple[str, ...],
    engines: tuple[str, ...],
    seconds: float,
    until: str | None,
    price: float | None,
    fresh: bool,
    quiet: bool,
    as_json: bool,
) -> NoReturn:
    """Know before a run of JOB how long it will take, what it will need and what it will cost.

    What is new is tried on a sample, by short runs in a temporary directory: the job's output is not touched.
    Each figure is an interval, in which it is in nine cases of ten.
    """
    from resnet_pipe.cli import planned_text
    from resnet_pipe.cli.display import TrialDisplay
    from resnet_pipe.job import job as jobs
    from resnet_pipe.run import preparation
    from resnet_pipe.study import candidate, planned, to_do
    from resnet_pipe.study.planning import Planning

    asked_at = time.time()
    if until is not None:
        overrides = (*overrides, f"run.until={json.dumps(until)}")
    loaded = jobs.load(job, overrides, "--set")
    if loaded.job.run.executor != "local":
        raise UsageError(
            "a run on a cluster cannot be forecast: its trials would run on this machine alone",
            "--set run.executor=local forecasts a run on this machine",
        )
    tell = (lambda _text: None) if quiet else say
    own = preparation.resolved(loaded, fresh, tell)
    several = [*models, *engines]
    variants = candidate.Variants(job, overrides, own, fresh, tell)
    candidates = variants.candidates(models, engines) if several else candidate.as_it_is(own)
    with on_signals() as stop, closing(TrialDisplay(seconds, quiet)) as display:
        new = to_do.look(own, fresh, stop)
        if len(new):
            planning = Planning(candidates, new, seconds, stop, display.tick, display.trial)
            planning.run(own.job)
            found = planned.planned(own.job, planning, price, asked_at)
        else:
            found = planned.nothing_new(own.job, new, price, asked_at)
    if new.plan.warning:
        say(f"warning: {new.plan.warning}")
    show(json.dumps(found.to_json(), indent=1) if as_json else planned_text.summary(found))
    sys.exit(found.exit_code)
