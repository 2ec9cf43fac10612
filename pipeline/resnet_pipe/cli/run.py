"""run and report: process what is new, and look at what happened."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from resnet_pipe.cli.options import set_option
from resnet_pipe.cli.output import to_output
from resnet_pipe.cli.terminal import on_signals, say, show
from resnet_pipe.errors import ExitCode
from resnet_pipe.store.store import Output

if TYPE_CHECKING:
    from resnet_pipe.job.resolve import Resolved
    from resnet_pipe.run.observe.events import Listener
    from resnet_pipe.run.observe.outcome import Outcome
    from resnet_pipe.run.plan import Division, Rules
    from resnet_pipe.run.prepared import Fresh


def _division(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Division | None:
    if value is None:
        return None
    from resnet_pipe.run.plan import Division

    index, slash, count = value.partition("/")
    if not slash or not index.isdecimal() or not count.isdecimal() or not 1 <= int(index) <= int(count):
        raise click.BadParameter("expected I/N with I from 1 to N, such as 1/4")
    return Division(int(index), int(count))


@click.command(short_help="Process what is new, write the results, and report.")
@click.argument("job", type=click.Path(path_type=Path))
@set_option("infer.batch_size=32")
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
    "--divide",
    "--shard",
    "division",
    callback=_division,
    metavar="I/N",
    help="Process only division I of N of the sources; the divisions may run at the same time, on several"
    " machines. --shard is the same.",
)
@click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    help="Who runs the chunks: this machine, or a Ray cluster. The same as --set run.executor=...",
)
@click.option(
    "--until",
    metavar="TIME",
    help="Begin no chunk that would not be committed by then, such as 06:00. The same as --set run.until=...",
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
    division: Division | None,
    executor: str | None,
    until: str | None,
    quiet: bool,
    as_json: bool,
) -> NoReturn:
    """Run the job file JOB: process what is new, write the results, and report.

    For the exit codes, see `resnet-pipe --help`.
    """
    from resnet_pipe.cli.display import Display
    from resnet_pipe.job import job as jobs
    from resnet_pipe.report import notification
    from resnet_pipe.run import notice, preparation
    from resnet_pipe.run import run as runs
    from resnet_pipe.run.observe.summary import summary, warning
    from resnet_pipe.run.plan import Rules
    from resnet_pipe.run.prepared import Fresh

    began_at = time.time()
    if now and not fresh:
        raise click.UsageError("--now only works together with --fresh")

    if executor is not None:
        overrides = (*overrides, f"run.executor={executor}")
    if until is not None:
        overrides = (*overrides, f"run.until={json.dumps(until)}")
    loaded = jobs.load(job, overrides, "--set")
    rules = Rules(retry_failed, prune, division)
    replaced = Fresh.NOW if now else Fresh.AT_THE_END if fresh else Fresh.NO

    def resolved() -> Resolved:
        return preparation.resolved(loaded, fresh, (lambda _text: None) if quiet else say)

    if dry_run:
        notification.prove(loaded.job.run.notify)
        _print_plan(resolved(), rules, replaced)
        sys.exit(ExitCode.DONE)

    with ExitStack() as until_all_is_told:
        display = until_all_is_told.enter_context(
            closing(Display(loaded.job.reader.description.source, quiet))
        )

        def execute(listener: Listener) -> Outcome:
            ready = resolved()
            stop = until_all_is_told.enter_context(on_signals())  # none of them loses what is told
            outcome = runs.run(ready, rules, replaced, stop, began_at, listener)
            display.close()
            if outcome.plan.warning:
                say(f"warning: {outcome.plan.warning}")
            if as_json:
                show(json.dumps(outcome.to_json(), indent=1))
            elif not quiet:
                show(summary(outcome))
            elif outcome.counts.failed or outcome.counts.partial:
                say(warning(outcome))
            return outcome

        outcome = notice.with_notice(loaded.job, division, display, execute)
    sys.exit(outcome.exit_code)


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


@click.command(short_help="Make the report of the last run again.")
@click.argument("output", callback=to_output)
@click.option("--open", "opens", is_flag=True, help="Open it in a browser.")
def report(output: Output, opens: bool) -> None:
    """Regenerate the report of the last run in OUTPUT, and print its path.

    In a bucket, it is put beside what else that run has left, and its address is printed.
    """
    from resnet_pipe.ledger import standing
    from resnet_pipe.ledger.mirror import on_this_machine
    from resnet_pipe.report import run_report
    from resnet_pipe.run.observe.run_folder import RUNS, newest_run_folder
    from resnet_pipe.store.disk import Disk

    with on_this_machine(output, (RUNS, standing.NAME)) as directory:
        path = run_report.write(newest_run_folder(directory), Disk(directory))
        if isinstance(output, Path):
            show(str(path))
        else:
            name = str(path.relative_to(directory))
            output.put(name, path)
            show(f"{output}/{name}")
        if opens:
            click.launch(str(path), wait=not isinstance(output, Path))
