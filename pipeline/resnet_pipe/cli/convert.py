"""convert and schema: what a job refers to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from resnet_pipe.cli.terminal import show
from resnet_pipe.errors import UsageError

if TYPE_CHECKING:
    from resnet_pipe.preprocess.preprocessing import Preprocessing


@click.command(short_help="Convert a network to ONNX.")
@click.argument("network")
@click.option(
    "--weights",
    metavar="NAME|FILE",
    help="imagenet, or coco of what finds objects; random, auto, or a checkpoint file (a state dict)."
    " Default: the recipe's, or coco.",
)
@click.option(
    "--size",
    type=click.Choice(["train", "test"]),
    default="train",
    show_default=True,
    help="Of timm's networks: that of the images they were trained with, or evaluated with.",
)
@click.option(
    "--preprocess",
    metavar="YAML",
    help="How images are prepared, if no file says it: '{resize: 256, crop: 224, mean: [...], std: [...]}'.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Of a torchvision detector with weights of your own: the names of its classes, one a line.",
)
@click.option("--name", metavar="NAME", help="Of the model. Default: that of what is converted.")
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
    network: str,
    weights: str | None,
    size: Literal["train", "test"],
    preprocess: str | None,
    labels: Path | None,
    name: str | None,
    out: Path | None,
    quantize: bool,
    calibration: Path | None,
) -> None:
    """Convert NETWORK to ONNX for cv2.dnn and the other engines.

    \b
    resnet50                   one of torchvision's: resnet18, 34, 50, 101, 152
    fasterrcnn_resnet50_fpn    one that finds objects, of any such depth; or
                               fasterrcnn_resnet50_fpn_v2, retinanet_resnet50_fpn,
                               retinanet_resnet50_fpn_v2, fcos_resnet50_fpn
    recipe.yaml                a recipe of your own
    hf:OWNER/NAME[@REVISION]   a ResNet, DETR or RT-DETR on the Hugging Face hub
    timm:NAME[@REVISION]       a network of timm, such as timm:resnet50.a1_in1k
    DIRECTORY                  what transformers or timm has saved
    FILE.onnx                  exported by somebody else

    The result is compared with the original on photographs, in every installed engine. An int8 model is
    compared with the float32 one, on images that were not used for calibration.
    """  # noqa: D301 - click wants the control character
    from resnet_pipe.convert.conversion import convert as convert_network
    from resnet_pipe.convert.quantize import convert_int8
    from resnet_pipe.convert.sources.directory import Ask

    if quantize != (calibration is not None):
        raise UsageError(
            "--quantize and --calibration go together: the images set the ranges of the int8 values",
            f"resnet-pipe convert {network} --quantize --calibration IMAGES",
        )
    ask = Ask(network, size, _preprocessing(preprocess), labels=_labels(labels))
    if calibration is None:
        result = convert_network(network, weights=weights, ask=ask, name=name, out=out, say=show)
    else:
        result = convert_int8(network, calibration, weights=weights, ask=ask, name=name, out=out, say=show)
    done = "wrote" if result.changed else "unchanged:"
    show(f"{done} {result.path}, {result.sidecar.weights.describe()}")
    show(f"preprocess: {result.sidecar.preprocessing.describe()}")
    show("This must match how the weights were trained; a recipe or a job can override it.")


def _labels(path: Path | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--labels {path} cannot be read: {error}", "give a text file, a name a line"
        ) from None
    if not lines:
        raise UsageError(f"--labels {path} names no class", "give a text file, a name a line")
    labels = tuple(line.strip() for line in lines)
    if "" in labels:  # left out, it would give all names after it to the wrong classes
        raise UsageError(
            f"--labels {path}: line {labels.index('') + 1} is empty",
            "write the name of that class, or delete the line if there is no such class",
        )
    return labels


def _preprocessing(text: str | None) -> Preprocessing | None:
    from resnet_pipe.job.document import Document
    from resnet_pipe.job.syntax import one_line, parse
    from resnet_pipe.preprocess.preprocessing import Preprocessing

    if text is None:
        return None
    try:
        values = parse(text)
    except Exception as error:  # whatever the YAML library raises
        raise UsageError(f"--preprocess: not valid YAML: {one_line(error)}") from None
    if not isinstance(values, dict):
        raise UsageError(
            "--preprocess: expected keys and values", "--preprocess '{resize: 256, crop: 224, ...}'"
        )
    return Document(Path("--preprocess"), values, {}).validate(Preprocessing, {})


@click.command(short_help="Print the JSON Schema of job files.")
def schema() -> None:
    """Print the JSON Schema of job files, for completion and checking in editors."""
    from resnet_pipe.job.job import json_schema

    show(json.dumps(json_schema(), indent=2))
