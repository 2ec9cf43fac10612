"""The original of a conversion: a network as its own library has it, and what is known about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.infer.batches import Normalizer
from resnet_pipe.model.detection import Detection
from resnet_pipe.model.model import Weights
from resnet_pipe.preprocess.network_input import NetworkInput, Pixels
from resnet_pipe.preprocess.preprocessing import Preprocessing

if TYPE_CHECKING:
    from onnx import ModelProto

Outputs = dict[str, NDArray[np.float32]]
"""`logits` (n, classes) and `features` (n, width), or one of them; or all that a network gives, for boxes."""
Run = Callable[[Pixels], Outputs]


@dataclass(frozen=True)
class SecondNetwork:
    """What is given parts of the first network's outputs, float32 (n, *shape), in the library it is from."""

    shape: tuple[int, ...]
    run: Callable[[NDArray[np.float32]], Outputs]


@dataclass(frozen=True)
class Original:
    """A network that is to be converted.

    Attributes:
        source: the library or the format it comes from, such as `torchvision`.
        architecture: its name there.
        depth: in layers, if it is one of the ResNets of He et al. 2015.
        classes: the labels, in the order of the logits; empty for a network without.
        params: numbers that were trained.
        graph: its ONNX graph, clean.
        run: executes it in the library that defines it, on images: shape (n, H, W, 3), RGB, of the
            size of its input.
        runs_in: that library and its version.
        half: whether the library computes it in half precision, so that float32 gives something else.
        licence: under which the weights may be used, as their publisher names it; None if that is not said.
        revision: the commit of the repository it comes from.
        files: of the original besides the weights, with their SHA-256.
        assumed: what no file says, in words.
        detection: how its outputs become boxes; None for a network that finds no objects.
        second: its second network, which is in the same graph; or None.
        macs: multiply-accumulates of one image, if the graph does not tell them.
        notes: what else to know, such as an output that is dropped.
    """

    source: str
    architecture: str
    depth: int | None
    preprocessing: Preprocessing
    weights: Weights
    classes: list[str]
    params: int
    graph: ModelProto
    run: Run
    runs_in: str
    half: bool = False
    licence: str | None = None
    revision: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    detection: Detection | None = None
    second: SecondNetwork | None = None
    macs: int | None = None
    notes: tuple[str, ...] = ()


def normalized(images: Pixels, wanted: NetworkInput) -> NDArray[np.float32]:
    """Return images, shape (n, H, W, 3), as a network's input: float32, shape (n, 3, H, W)."""
    return Normalizer(replace(wanted, size=images.shape[1:3], other=None), len(images)).fill(images)


def in_torch(network: Any, classifier: str | None, wanted: NetworkInput) -> Run:  # noqa: ANN401
    """Return how a torch network in eval mode is run: it gives logits, and its classifier sees the features.

    Without a classifier, the network itself gives the features.
    """
    import torch

    def run(images: Pixels) -> Outputs:
        seen: list[torch.Tensor] = []
        given = torch.from_numpy(normalized(images, wanted))
        with torch.inference_mode():
            if classifier is None:
                return {"features": network(given).flatten(1).numpy()}
            hook = network.get_submodule(classifier).register_forward_pre_hook(
                lambda _module, inputs: seen.append(inputs[0])
            )
            with hook:
                logits = network(given)
        return {"logits": logits.numpy(), "features": seen[0].flatten(1).numpy()}

    return run
