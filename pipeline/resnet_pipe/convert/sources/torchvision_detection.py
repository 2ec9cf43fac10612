"""torchvision's detectors with a ResNet: Faster R-CNN, RetinaNet, FCOS, and where their weights come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.convert.original import Original, Outputs, SecondNetwork, normalized
from resnet_pipe.convert.photographs import ANY_SIZE, photographs
from resnet_pipe.convert.recipe import TORCHVISION
from resnet_pipe.convert.sources.torchvision import SEED, downloaded, published_or_random, see
from resnet_pipe.errors import MissingExtraError, ModelError
from resnet_pipe.head.detectors.roi_align import SIDE
from resnet_pipe.infer.second import PARTS_AT_ONCE
from resnet_pipe.model.depths import faster_rcnn, resnet
from resnet_pipe.model.detection import BACKGROUND, FASTER_RCNNS, Detection
from resnet_pipe.model.model import Weights
from resnet_pipe.preprocess.preprocessing import Preprocessing
from resnet_pipe.store.digest import file_sha256

if TYPE_CHECKING:
    from torch import nn

    from resnet_pipe.convert.detection.state import State

NAMED_WEIGHTS = ("coco", "random", "auto")
"""What is no path of a checkpoint: torchvision's own, from a seed, or the first that can be had."""
PREPROCESSING = Preprocessing.model_validate(
    {
        "fit": "shortest",
        "resize": 800,
        "longest": 1333,
        "multiple": 32,
        "interpolation": "linear",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
)
"""torchvision's, of all of them (`GeneralizedRCNNTransform` in `models/detection/transform.py`)."""
_COCO_CLASSES = 91
"""With the background, and with numbers that no class has."""
_CALLED = {"fasterrcnn": "a Faster R-CNN", "retinanet": "a RetinaNet", "fcos": "an FCOS"}
"""What the names of torchvision's detectors begin with -> what they are."""
_FIRST = "backbone.body.conv1.weight"
_Weighted: TypeAlias = "tuple[nn.Module, Weights, list[str] | None]"
"""A detector in eval mode, where its numbers came from, and the names of its classes if they are known."""


def original(
    name: str,
    spec: str,
    labels: Sequence[str] | None,
    preprocessing: Preprocessing | None,
    say: Callable[[str], None],
) -> Original:
    """Build a detector with weights: coco, random, auto, or the path of a checkpoint; and cut it in two.

    Without a preprocessing, it is torchvision's. The user is told when `auto` falls back to random weights,
    and what there is to know about a checkpoint.

    Raises:
        MissingExtraError: torch or torchvision is not installed.
        ModelError: the weights are not available or do not fit, or the labels are not as many as the classes.
    """
    try:
        import torchvision  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(error.name or "torchvision", "convert", "Converting a model") from None
    from resnet_pipe.convert.detection.cut import cut
    from resnet_pipe.convert.detection.joined import joined
    from resnet_pipe.convert.detection.networks import BoxHead, FirstStage, OneStage
    from resnet_pipe.convert.graph import multiply_accumulates

    model, weights, named = _with_weights(name, spec, say)
    pieces = cut(model)
    classes, assumed = _classes(labels or named, pieces.settings.classes)
    taken = preprocessing or PREPROCESSING
    settings, graph, second = pieces.settings, pieces.network, None
    macs = multiply_accumulates(graph, taken.size)
    if pieces.box_head is not None:
        macs += PARTS_AT_ONCE * multiply_accumulates(pieces.box_head, (SIDE, SIDE))
        graph = joined(pieces.network, pieces.box_head)
        shape = tuple(
            axis.dim_value for axis in pieces.box_head.graph.input[0].type.tensor_type.shape.dim[1:]
        )
        outputs = [value.name for value in pieces.box_head.graph.output]
        second = SecondNetwork(shape, _run(BoxHead(model), outputs))
    module = OneStage(model) if second is None else FirstStage(model)
    first = _run(module, [value.name for value in pieces.network.graph.output])
    compared = taken.at_one_size(ANY_SIZE).network_input
    return Original(
        source=TORCHVISION,
        architecture=name,
        depth=None,
        preprocessing=taken,
        weights=weights,
        classes=classes,
        params=sum(parameter.numel() for parameter in model.parameters()),
        graph=graph,
        run=lambda images: first(normalized(images, compared)),
        runs_in=f"torch {metadata.version('torch')}",
        assumed=(*assumed, *_of_frozen_norms(model, weights)),
        detection=Detection(
            kind=settings.kind,
            score=settings.score,
            nms=settings.nms,
            max_detections=settings.max_detections,
        ),
        second=second,
        macs=macs,
    )


def _run(module: nn.Module, names: Sequence[str]) -> Callable[[NDArray[np.float32]], Outputs]:
    import torch

    def run(values: NDArray[np.float32]) -> Outputs:
        with torch.inference_mode():
            found = module(torch.from_numpy(values))
        return {name: one.numpy() for name, one in zip(names, found, strict=True)}

    return run


def _classes(named: Sequence[str] | None, count: int) -> tuple[list[str], tuple[str, ...]]:
    """Return a name for each class, the background too, and what is assumed."""
    if named is None:
        names = [BACKGROUND, *(f"class {index}" for index in range(1, count))]
        return names, ("the labels `class 1` and on, as no file names the classes",)
    named = list(named)
    if named[0].strip("_").casefold() == BACKGROUND.strip("_"):
        named[0] = BACKGROUND
    elif len(named) == count - 1:
        named.insert(0, BACKGROUND)
    if len(named) != count:
        raise ModelError(
            f"the labels are {len(named)}, but the weights have {count} classes, with the background",
            "give one label a line, in the order of the classes, with or without the background as the first",
        )
    return named, ()


def _of_frozen_norms(model: nn.Module, weights: Weights) -> tuple[str, ...]:
    """Return what is assumed of frozen batch norms in weights of somebody's own, which do not say it."""
    from torchvision.ops import FrozenBatchNorm2d

    eps = {module.eps for module in model.modules() if isinstance(module, FrozenBatchNorm2d)}
    if weights.kind != "checkpoint" or not eps:
        return ()
    return (
        f"that {max(eps):g} was added to the variances of its frozen batch norms, as in torchvision's own"
        " weights of this kind",
    )


def _with_weights(name: str, spec: str, say: Callable[[str], None]) -> _Weighted:
    if spec not in NAMED_WEIGHTS:
        return _checkpoint(name, Path(spec), say)
    return published_or_random(spec, "coco", lambda: _coco(name, spec), lambda: _random(name, spec), say)


def _coco(name: str, requested: str) -> _Weighted:
    from torchvision.models import get_model_weights

    from resnet_pipe.convert.detection.state import model_of

    try:
        weights: Any = get_model_weights(name).DEFAULT
    except ValueError:  # torchvision has no function of this name
        raise ModelError(
            f"torchvision publishes no weights of {name}; of Faster R-CNNs, only with a ResNet-50",
            f"resnet-pipe convert {faster_rcnn(50)}; or give your own with --weights FILE; to measure speed,"
            " --weights random is enough",
        ) from None
    state = downloaded(weights)
    kind = Weights(kind="coco", name=str(weights), requested=requested)
    return model_of(state), kind, list(weights.meta["categories"])


def _random(name: str, requested: str) -> _Weighted:
    """Return a detector with weights from a seed, whose batch norms have seen photographs."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = _untrained(name)
    images = normalized(photographs(PREPROCESSING), PREPROCESSING.at_one_size(ANY_SIZE).network_input)
    see(model, model.backbone, images)
    return model.eval(), Weights(kind="random", name=f"seed {SEED}", requested=requested), None


def _untrained(name: str) -> Any:  # noqa: ANN401 - torchvision's classes have no types
    """Build a detector by name as torchvision builds it, for the classes of COCO; its numbers are random."""
    from torch import nn
    from torchvision.models import get_model
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    if name not in FASTER_RCNNS:
        return get_model(name, weights=None, weights_backbone=None)
    backbone = resnet_fpn_backbone(
        backbone_name=resnet(FASTER_RCNNS[name]),
        weights=None,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=5,
    )
    return FasterRCNN(backbone, _COCO_CLASSES)


def _checkpoint(name: str, path: Path, say: Callable[[str], None]) -> _Weighted:
    from resnet_pipe.convert.detection.state import is_detector, model_of
    from resnet_pipe.convert.sources import checkpoint

    every = checkpoint.networks(checkpoint.load(path), anchors=(_FIRST,))
    fitting = [one for one in every if is_detector(one.state)]
    if not fitting:
        raise ModelError(
            f"{path} has no weights of a Faster R-CNN, RetinaNet or FCOS of torchvision",
            "give the state dict of one; or convert a directory or an ONNX file of another library",
        )
    taken = checkpoint.choose(path, fitting)
    if not taken.plain:
        say(f"weights of {path.name}: {taken.name}")
    state: State = taken.state
    _refuse_other(name, path, state)
    where = None if taken.plain else taken.name
    weights = Weights(
        kind="checkpoint", name=path.name, sha256=file_sha256(path), requested=path.name, taken=where
    )
    return model_of(state), weights, None


def _refuse_other(name: str, path: Path, state: State) -> None:
    """Refuse weights under a name that says another detector, or another depth of a Faster R-CNN's ResNet."""
    from resnet_pipe.convert.detection.state import depth_of, kind_of

    kind, said, depth = kind_of(state), name.partition("_")[0], depth_of(state)
    two_stage, named = kind == "fasterrcnn", FASTER_RCNNS.get(name, 50)  # version 2 is named for 50 alone
    if kind != said:
        problem = f"{path} is of {_CALLED[kind]}, and {name} is {_CALLED[said]}"
    elif two_stage and depth != named:
        problem = f"{path} is of a Faster R-CNN with a ResNet-{depth}, and {name} has a ResNet-{named}"
    else:
        return
    fitting = faster_rcnn(depth) if two_stage else f"{kind}_resnet50_fpn"
    raise ModelError(problem, f"resnet-pipe convert {fitting} --weights {quote(str(path))}")
