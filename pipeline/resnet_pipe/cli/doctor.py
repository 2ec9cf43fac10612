"""doctor: will runs work in this environment?"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, NoReturn, get_args

import click

from resnet_pipe.cli.terminal import show
from resnet_pipe.errors import CheckName

if TYPE_CHECKING:
    from resnet_pipe.doctor.examination import Finding


@click.command()
@click.argument("checks", nargs=-1, metavar="[CHECK]...", type=click.Choice(get_args(CheckName)))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def doctor(checks: tuple[CheckName, ...], as_json: bool) -> NoReturn:
    """Check this environment, and say how to fix what is wrong.

    CHECK is one or more of: packages, cv2, cuda, engines, decoders, limits, models.
    Without it, all checks run, which takes several seconds.

    Exits with 0, or with 1 if anything FAILs, which means that some runs will fail here.
    """
    from resnet_pipe.doctor.examination import examine

    def tell(finding: Finding) -> None:
        if not as_json:
            show(finding.describe())

    examination = examine(checks, tell)
    show(json.dumps(examination.to_json(), indent=1) if as_json else examination.closing())
    sys.exit(examination.exit_code)
