"""check: is a results directory what was written?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NoReturn

import click

from resnet_pipe.terminal import show


@click.command()
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def check(output: Path, as_json: bool) -> NoReturn:
    """Verify the results in OUT, writer.path of a job: is all there, as it was written, and nothing twice?

    Every record of the ledger and every file that it names, by its SHA-256 and its rows; files that no record
    names; the fingerprint. Nothing is changed, and a run may be at work meanwhile.

    Exits with 0 if all is sound, or with 1 and what to do about each problem.
    """
    from resnet_pipe.check.directory import check as check_directory

    verdict = check_directory(output)
    show(json.dumps(verdict.to_json(), indent=1) if as_json else verdict.text())
    sys.exit(verdict.exit_code)
