"""check and doctor: is all well with a directory of results, and with this environment?"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import NoReturn, get_args

import click

from resnet_pipe.cli.output import to_output
from resnet_pipe.cli.terminal import show
from resnet_pipe.errors import CheckName
from resnet_pipe.store.store import Output


@click.command(short_help="Verify that results are complete and unchanged.")
@click.argument("output", metavar="OUT", callback=to_output)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def check(output: Output, as_json: bool) -> NoReturn:
    """Verify that the results in OUT, a job's writer.path, are complete, unchanged and without duplicates.

    Checks every record of the ledger and every file it names (SHA-256 and rows), looks for files that are in
    no record, and checks the fingerprint. Nothing is changed, and a run may be active at the same time.

    Exits with 0 if there are no problems, otherwise with 1, saying what to do about each.
    """
    from resnet_pipe.ledger.check.directory import check as check_directory
    from resnet_pipe.ledger.mirror import on_this_machine

    with on_this_machine(output) as directory:
        verdict = replace(check_directory(directory), output=output)
    show(json.dumps(verdict.to_json(), indent=1) if as_json else verdict.text())
    sys.exit(verdict.exit_code)


@click.command(short_help="Say what is wrong here, and how to fix it.")
@click.argument("checks", nargs=-1, metavar="[CHECK]...", type=click.Choice(get_args(CheckName)))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def doctor(checks: tuple[CheckName, ...], as_json: bool) -> NoReturn:
    """Check this environment, and say how to fix what is wrong.

    CHECK is one or more of: packages, cv2, cuda, engines, decoders, limits, models.
    Without it, all checks run, which takes several seconds.

    Exits with 0, or with 1 if anything FAILs, which means that some runs will fail here.
    """
    from resnet_pipe.doctor.examination import examine

    tell = (lambda _finding: None) if as_json else (lambda finding: show(finding.describe()))
    examination = examine(checks, tell)
    show(json.dumps(examination.to_json(), indent=1) if as_json else examination.closing())
    sys.exit(examination.exit_code)
