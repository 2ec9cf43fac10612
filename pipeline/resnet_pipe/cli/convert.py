"""convert, models and schema: what a job refers to."""

from __future__ import annotations

import json
from pathlib import Path

import click

from resnet_pipe.cli.terminal import show
from resnet_pipe.errors import UsageError


@click.command()
@click.argument("recipe")
@click.option(
    "--weights",
    metavar="NAME|FILE",
    help="imagenet, random, auto, or a checkpoint file (a state dict). Default: the recipe's.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Directory for the .onnx and its sidecar."
)
@click.option(
    "--quantize",
    is_flag=True,
    help="Also make an int8 model, such as resnet50-int8.onnx, for openvino and onnxruntime.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="IMAGES",
    help="For --quantize: directory of a few hundred images like those the network will see.",
)
def convert(
    recipe: str, weights: str | None, out: Path | None, quantize: bool, calibration: Path | None
) -> None:
    """Convert RECIPE, a recipe file or a bare name such as resnet50, to ONNX for cv2.dnn.

    The result is compared with the source network on photographs; if they differ, no file is kept. An int8
    model is compared with the float32 one, on images that were not used for calibration.
    """
    from resnet_pipe.convert.conversion import convert as convert_recipe
    from resnet_pipe.convert.quantize import convert_int8

    if quantize != (calibration is not None):
        raise UsageError(
            "--quantize and --calibration go together: the images set the ranges of the int8 values",
            f"resnet-pipe convert {recipe} --quantize --calibration IMAGES",
        )
    if calibration is None:
        result = convert_recipe(recipe, weights=weights, out=out, say=show)
    else:
        result = convert_int8(recipe, calibration, weights=weights, out=out, say=show)
    done = "wrote" if result.changed else "unchanged:"
    show(f"{done} {result.path}, {result.sidecar.weights.describe()}")
    show(f"preprocess: {result.sidecar.preprocessing.describe()}")
    show("This must match how the weights were trained; a recipe or a job can override it.")


@click.command()
def models() -> None:
    """List the ResNets and which are converted, and what the outputs of your other models hold."""
    from resnet_pipe.convert import catalogue

    show(f"{'model':<15}{'params':>9}{'GMACs':>8}{'weights':>10}  converted")
    for entry in catalogue.entries():
        show(
            f"{entry.name:<15}{entry.params / 1e6:>7.1f} M{entry.macs / 1e9:>8.2f}"
            f"{entry.weight_bytes / 1e6:>7.0f} MB  {entry.status}"
        )
    others = catalogue.others()
    if not others:
        return
    show("")
    rows = [("other models", "outputs"), *others]
    width = max(len(name) for name, _ in rows)
    for name, outputs in rows:
        show(f"{name:<{width}}  {outputs}")


@click.command()
def schema() -> None:
    """Print the JSON Schema of job files, for completion and checking in editors."""
    from resnet_pipe.job.job import json_schema

    show(json.dumps(json_schema(), indent=2))
