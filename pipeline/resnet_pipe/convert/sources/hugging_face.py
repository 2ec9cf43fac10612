"""ResNets of transformers, as networks of torchvision, which has the same ones under other names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_pipe.convert.original import Outputs, Run, normalized
from resnet_pipe.errors import ModelError
from resnet_pipe.infer.engine import one_line
from resnet_pipe.machine.silence import silenced
from resnet_pipe.preprocess.network_input import NetworkInput, Pixels

if TYPE_CHECKING:
    from torch import Tensor, nn

MODEL_TYPE = "resnet"
EXPORT_IT = "export it to ONNX with its own library, then: resnet-pipe convert FILE.onnx"
_WIDTHS = (64, 128, 256, 512)
"""Of the four stages of a ResNet; its bottleneck blocks give four times that."""
_EXPRESSED = {
    "num_channels": 3,
    "embedding_size": 64,
    "hidden_act": "relu",
    "downsample_in_first_stage": False,
    "downsample_in_bottleneck": False,
}
"""What torchvision's ResNet has. `downsample_in_bottleneck` changes no name and no shape of the weights: with
true, they load, and every result is wrong."""
_NAMES = (
    (r"^resnet\.", ""),
    (r"^embedder\.embedder\.convolution\.", "conv1."),
    (r"^embedder\.embedder\.normalization\.", "bn1."),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.", lambda found: f"layer{int(found[1]) + 1}.{found[2]}."),
    (r"\.layer\.(\d+)\.convolution\.", lambda found: f".conv{int(found[1]) + 1}."),
    (r"\.layer\.(\d+)\.normalization\.", lambda found: f".bn{int(found[1]) + 1}."),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
    (r"^classifier\.1\.", "fc."),
)
"""From transformers' names of weights to torchvision's."""


def network(config: Mapping[str, Any], state: Mapping[str, Tensor], place: Path) -> tuple[nn.Module, str]:
    """Return the network that a config.json describes, in eval mode with its weights, and its name.

    Without a classifier in the weights, the network ends with its features.

    Raises:
        ModelError: the file describes what torchvision's ResNet cannot express, naming the key; or the
            weights are not of this network.
    """
    from torch import nn
    from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

    basic = config.get("layer_type", "bottleneck") == "basic"
    block = BasicBlock if basic else Bottleneck
    widths = [width * block.expansion for width in _WIDTHS]
    expressed = {**_EXPRESSED, "hidden_sizes": widths, "layer_type": "basic" if basic else "bottleneck"}
    for key, expected in expressed.items():
        if config.get(key, expected) != expected:
            raise ModelError(
                f"{place}: {key}: torchvision's ResNet has {expected!r}, not {config[key]!r}",
                EXPORT_IT,
            )
    depths = config.get("depths", [3, 4, 6, 3])
    if not (
        isinstance(depths, list) and len(depths) == 4 and all(type(n) is int and 0 < n < 100 for n in depths)
    ):
        raise ModelError(
            f"{place}: depths: expected the numbers of blocks of four stages, not {depths!r}", EXPORT_IT
        )
    named = {renamed(name): tensor for name, tensor in state.items()}
    classifier = named.get("fc.weight")
    made = ResNet(block, depths, num_classes=1 if classifier is None else len(classifier))
    if classifier is None:
        made.fc = nn.Identity()
    _load(made, named, place)
    network: nn.Module = made.eval()
    return network, f"resnet{sum(depths) * (2 if basic else 3) + 2}"


def has_classifier(state: Mapping[str, Tensor]) -> bool:
    """Tell whether weights have a classifier: without one, the network gives features only."""
    return any(name.startswith("classifier.") for name in state)


def labels_of(config: Mapping[str, Any], place: Path) -> list[str] | None:
    """Return the labels that a config.json names, in the order of the classes; None if it names none.

    Raises:
        ModelError: what it says of them cannot be understood.
    """
    named = config.get("id2label")
    if not named and named in (None, {}, []):
        return None
    expected = [str(index) for index in range(len(named))] if isinstance(named, Mapping) else []
    if not isinstance(named, Mapping) or named.keys() != set(expected):
        what = f"keys such as {next(iter(named))!r}" if isinstance(named, Mapping) else one_line(repr(named))
        problem = (
            f"expected the labels of classes 0, 1, 2 and on, such as {{'0': 'cat', '1': 'dog'}}, not {what}"
        )
    elif not all(isinstance(label, str) for label in named.values()):
        problem = "expected texts as labels"
    else:
        return [named[key] for key in expected]
    raise ModelError(f"{place}: id2label: {problem}", "mend it, or remove it: then the classes have numbers")


def reference(directory: Path, has_classifier: bool, wanted: NetworkInput) -> Run:
    """Return how transformers itself runs the network in a directory; it is not asked for anything else."""

    def run(images: Pixels) -> Outputs:
        import torch
        from transformers import ResNetForImageClassification, ResNetModel
        from transformers.utils import logging

        kind = ResNetForImageClassification if has_classifier else ResNetModel
        logging.disable_progress_bar()
        try:
            with silenced("transformers"):
                made = kind.from_pretrained(directory, local_files_only=True, dtype=torch.float32).eval()
        except Exception as error:  # of many libraries
            raise ModelError(
                f"{directory}: transformers itself cannot load it: {one_line(error)}",
                "mend its config.json: num_labels or id2label must have as many classes as the weights",
            ) from None
        body = made.resnet if has_classifier else made
        with torch.inference_mode():
            pooled = body(torch.from_numpy(normalized(images, wanted))).pooler_output
            features = {"features": pooled.flatten(1).numpy()}
            return {"logits": made.classifier(pooled).numpy(), **features} if has_classifier else features

    return run


def renamed(name: str) -> str:
    """Return torchvision's name of a weight."""
    for pattern, ours in _NAMES:
        name = re.sub(pattern, ours, name)
    return name


def _load(made: nn.Module, named: Mapping[str, Tensor], place: Path) -> None:
    try:
        missing, unexpected = made.load_state_dict(dict(named), strict=False)
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
        raise ModelError(
            f"{place}: the weights do not fit the network it describes: {problem}",
            "check that both files are of the same network",
        ) from None
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    for names, what in ((missing, "has no weights"), (unexpected, "does not describe weights")):
        if names:
            raise ModelError(
                f"{place} {what} called {', '.join(names[:3])}" + (" ..." if len(names) > 3 else ""),
                "check that both files are of the same network",
            )
