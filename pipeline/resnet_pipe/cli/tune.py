"""tune: the fastest setting of a job."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import click

from resnet_pipe.cli.terminal import say, show


@click.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override one value of the job, such as infer.model=resnet50. Repeatable; the value is YAML.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    default=120,
    show_default=True,
    help="Time limit. More time means more settings, larger samples and more certainty.",
)
@click.option(
    "--allow",
    "allowed",
    multiple=True,
    type=click.Choice(["engine", "precision"]),
    help="Also choose among the installed engines, or among the precisions (which changes the results a"
    " little). Repeatable.",
)
@click.option("--write", is_flag=True, help="Write the chosen setting into JOB; nothing else in it changes.")
@click.option("--quiet", is_flag=True, help="Do not show progress.")
@click.option("--json", "as_json", is_flag=True, help="Print all measurements as JSON instead of the table.")
def tune(
    job: Path,
    overrides: tuple[str, ...],
    seconds: float,
    allowed: tuple[str, ...],
    write: bool,
    quiet: bool,
    as_json: bool,
) -> NoReturn:
    """Find the fastest batch size, streams, threads and workers of JOB on this machine.

    Each setting is tried on a sample of the job's own input, in a temporary directory: its output is not
    touched. The job stays as it is unless another setting is repeatedly at least 3 % faster.
    Ctrl-C ends the search and prints what it has found.
    """
    from resnet_pipe.cli.display import TrialDisplay
    from resnet_pipe.cli.signals import on_signals
    from resnet_pipe.job import document, revision
    from resnet_pipe.job import job as jobs
    from resnet_pipe.run import preparation
    from resnet_pipe.study import tuning

    loaded = jobs.load(job, overrides)
    if write:
        revision.check_writable(job)
    resolved = preparation.resolved(loaded, False, (lambda _text: None) if quiet else say)
    options = tuning.TuneOptions(seconds, "engine" in allowed, "precision" in allowed)
    with on_signals() as stop, closing(TrialDisplay(seconds, quiet)) as display:
        tuned = tuning.tune(resolved.job, loaded.job, options, stop, display.tick, display.trial)
    show(json.dumps(tuned.to_json(), indent=1) if as_json else tuned.summary())
    if tuned.changes and not as_json:
        show("\n" + revision.sections(document.read(job), tuned.changes))
    if tuned.changes and write:
        revision.revise(job, tuned.changes)
        say(f"wrote this to {job}")
    elif tuned.changes and not as_json:
        say(f"paste this into {job}, or use --write")
    sys.exit(tuned.exit_code)
