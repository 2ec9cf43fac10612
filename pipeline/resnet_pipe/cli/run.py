"""run and report: process what is new, and look at what happened."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from resnet_pipe.cli.terminal import say, show
from resnet_pipe.errors import ExitCode

if TYPE_CHECKING:
    from resnet_pipe.job.resolve import Resolved
    from resnet_pipe.run.plan import Part, Rules
    from resnet_pipe.run.preparation import Fresh


def _part(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Part | None:
    if value is None:
        return None
    from resnet_pipe.run.plan import Part

    index, slash, count = value.partition("/")
    if not slash or not index.isdecimal() or not count.isdecimal() or not 1 <= int(index) <= int(count):
        raise click.BadParameter("expected I/N with I from 1 to N, such as 1/4")
    return Part(int(index), int(count))


@click.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override one value of the job, such as infer.batch_size=32. Repeatable; the value is YAML.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be done, and stop.")
@click.option(
    "--retry-failed",
    is_flag=True,
    help="Process failed and partial sources again even if they have not changed.",
)
@click.option(
    "--prune",
    is_flag=True,
    help="Remove the rows of sources that have disappeared, unless more than run.max_disappeared have.",
)
@click.option(
    "--fresh",
    is_flag=True,
    help="Process everything again; existing results stay until the new ones are complete.",
)
@click.option(
    "--now",
    is_flag=True,
    help="With --fresh: delete the old results once the run has passed its checks; saves disk space.",
)
@click.option(
    "--shard",
    "part",
    callback=_part,
    metavar="I/N",
    help="Process only part I of N; parts may run at the same time, on several machines.",
)
@click.option("--quiet", is_flag=True, help="Print errors and warnings only, for cron.")
@click.option("--json", "as_json", is_flag=True, help="Print run.json at the end instead of the table.")
def run(
    job: Path,
    overrides: tuple[str, ...],
    dry_run: bool,
    retry_failed: bool,
    prune: bool,
    fresh: bool,
    now: bool,
    part: Part | None,
    quiet: bool,
    as_json: bool,
) -> NoReturn:
    """Run the job file JOB: process what is new, write the results, and report.

    Exits with 0, 3 (some sources failed), 1, 2, 11 or 130/143; see `resnet-pipe --help`.
    """
    from resnet_pipe.job import job as jobs
    from resnet_pipe.job.resolve import resolve
    from resnet_pipe.run.executors import local
    from resnet_pipe.run.observe.summary import summary, warning
    from resnet_pipe.run.plan import Rules
    from resnet_pipe.run.preparation import Fresh

    if now and not fresh:
        raise click.UsageError("--now only works together with --fresh")

    checked, doc = jobs.load(job, overrides)
    choice = None
    if checked.infer.engine == "auto":
        from resnet_pipe.study.choice import choose

        checked, choice = choose(checked, doc, fresh, _silent if quiet else say)
    resolved = resolve(checked, doc, choice)
    rules = Rules(retry_failed, prune, part)
    replaced = Fresh.NOW if now else Fresh.AT_THE_END if fresh else Fresh.NO
    if dry_run:
        _print_plan(resolved, rules, replaced)
        sys.exit(ExitCode.DONE)
    outcome = local.run(resolved, local.RunOptions(rules, replaced, quiet))
    if outcome.plan.warning:
        say(f"warning: {outcome.plan.warning}")
    if as_json:
        show(json.dumps(outcome.to_json(), indent=1))
    elif not quiet:
        show(summary(outcome))
    elif outcome.failed or outcome.partial:
        say(warning(outcome))
    sys.exit(outcome.exit_code)


def _silent(_text: str) -> None:
    """Say nothing."""


def _print_plan(resolved: Resolved, rules: Rules, fresh: Fresh) -> None:
    from resnet_pipe.job import outputs
    from resnet_pipe.run import preparation

    plan = preparation.inspect(resolved, rules, fresh)
    infer = resolved.job.infer
    failed = f", {plan.failed_before} failed before (unchanged)" if plan.failed_before else ""
    skipped = f"{plan.done_before} already done{failed}"
    show(f"sources  {plan.planned} to process, {skipped}, {plan.disappeared} disappeared")
    if plan.passed_over:
        show(f"         {plan.passed_over.describe()}")
    if plan.warning:
        say(f"warning: {plan.warning}")
    show(f"chunks   {plan.chunk_count}")
    show(f"model    {resolved.model.path}; {resolved.metadata['weights']}")
    show(f"outputs  {outputs.describe(resolved.job, resolved.head)}")
    engine = f"{infer.engine}, device {', '.join(infer.devices)}, {resolved.precision}"
    show(f"engine   {engine}, batches of {resolved.batch_size}")
    show(f"output   {resolved.job.output}")


@click.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--open", "opens", is_flag=True, help="Open it in a browser.")
def report(output: Path, opens: bool) -> None:
    """Regenerate the report of the last run in OUTPUT, and print its path."""
    from resnet_pipe.report import run_report
    from resnet_pipe.run.observe.run_folder import newest_run_folder

    path = run_report.write(newest_run_folder(output), output)
    show(str(path))
    if opens:
        click.launch(str(path))
