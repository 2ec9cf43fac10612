"""verify: do the engines give the same results?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NoReturn

import click

from resnet_pipe.cli.terminal import say, show


def _engines(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    from resnet_pipe.infer.engine import ENGINES

    for name in value:
        if name not in ENGINES:
            raise click.BadParameter(f"unknown engine {name!r}; available: {', '.join(ENGINES)}")
    return value


def _device(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value.endswith(":all"):
        raise click.BadParameter("engines are compared on one device, such as cuda:0")
    return value


@click.command()
@click.argument("model")
@click.option(
    "--images",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory of real images. Default, with a job: the job's own input.",
)
@click.option(
    "--engine", "engines", multiple=True, metavar="NAME", callback=_engines, help="Repeatable. Default: all."
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
    help="Repeatable. Default: all that each engine supports.",
)
@click.option(
    "--device", default="auto", show_default=True, callback=_device, help="As in a job: auto, cpu, cuda:1 ..."
)
@click.option(
    "--count", type=click.IntRange(1, 4096), default=64, show_default=True, help="Number of images."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def verify(
    model: str,
    images: Path | None,
    engines: tuple[str, ...],
    precisions: tuple[str, ...],
    device: str,
    count: int,
    as_json: bool,
) -> NoReturn:
    """Compare the results of each engine for MODEL with float32 torch, or with float32 ONNX Runtime.

    MODEL is a bare name such as resnet50, an .onnx file, or a job file with model and preprocessing. ONNX
    Runtime is the reference only if torch is not installed.

    Exits with 1 if an engine crashes or an image's cosine similarity is below the precision's threshold, with
    2 if an engine that was named is not installed or cannot run the model.
    """
    from resnet_pipe.study.verification import verify as verify_model
    from resnet_pipe.study.verifier import Wishes

    result = verify_model(model, images, count, Wishes(engines, precisions, device), say)
    show(json.dumps(result.to_json(), indent=1) if as_json else result.table())
    for problem in result.problems:
        say(f"error: {problem}")
    sys.exit(result.exit_code)
