"""check: are the results in a directory complete and unchanged?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NoReturn

import click

from resnet_pipe.cli.terminal import show


@click.command()
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def check(output: Path, as_json: bool) -> NoReturn:
    """Verify that the results in OUT, a job's writer.path, are complete, unchanged and without duplicates.

    Checks every record of the ledger and every file it names (SHA-256 and rows), looks for files that are in
    no record, and checks the fingerprint. Nothing is changed, and a run may be active at the same time.

    Exits with 0 if there are no problems, otherwise with 1, saying what to do about each.
    """
    from resnet_pipe.ledger.check.directory import check as check_directory

    verdict = check_directory(output)
    show(json.dumps(verdict.to_json(), indent=1) if as_json else verdict.text())
    sys.exit(verdict.exit_code)
