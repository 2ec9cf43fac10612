"""The commands: parse, call, print, exit. No logic, and no heavy import before a command needs it."""

from __future__ import annotations

import io
import os
import sys
from inspect import cleandoc
from typing import TYPE_CHECKING, NoReturn

import click

from resnet_pipe import __version__
from resnet_pipe.cli.check import check, doctor
from resnet_pipe.cli.convert import convert, schema
from resnet_pipe.cli.diff import diff
from resnet_pipe.cli.models import models
from resnet_pipe.cli.plan import plan
from resnet_pipe.cli.run import report, run
from resnet_pipe.cli.study import depth, tune, verify
from resnet_pipe.cli.terminal import prepare_streams, say
from resnet_pipe.errors import ExitCode, ResnetPipeError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="resnet-pipe")
def commands() -> None:
    """Batch inference for ResNets.

    Convert a network once, then run it unattended over any number of images, and see where the time went.

    \b
    resnet-pipe convert resnet50            make resnet50.onnx
    resnet-pipe run jobs/folder.yaml        process what is new
    resnet-pipe plan jobs/folder.yaml       know before how long it will take
    resnet-pipe tune jobs/folder.yaml       find the fastest settings here
    resnet-pipe check out/folder            verify results: complete, unchanged
    resnet-pipe diff out/folder out/other   compare the results of two runs
    resnet-pipe doctor                      find what is wrong, and how to fix it
    """  # noqa: D301 - click wants the control character


commands.help = "\n".join(
    [cleandoc(commands.help or ""), "\n\b\nExit codes:", *(f"{code:>4}  {code.meaning}" for code in ExitCode)]
)
for command in (run, plan, report, check, convert, models, verify, tune, depth, diff, doctor, schema):
    commands.add_command(command)


def main() -> NoReturn:
    """Run the command line: the one place where errors become messages and exit codes."""
    prepare_streams()
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime would keep an identifier in the home
    try:
        code = commands.main(standalone_mode=False)
        sys.exit(code or ExitCode.DONE)
    except ResnetPipeError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except click.ClickException as error:
        text = io.StringIO()
        error.show(file=text)
        say(text.getvalue().rstrip("\n"))
        sys.exit(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(ExitCode.SIGINT)


def serve(connection: Connection) -> NoReturn:
    """Run the command whose arguments are the first message, as the process of a study's trial."""
    sys.argv[1:] = connection.recv()
    main()
