"""The second network of a file, such as the box head of a Faster R-CNN: what is loaded of it, and how."""

from __future__ import annotations

from dataclasses import replace

from resnet_pipe.infer.engine import EngineRequest
from resnet_pipe.model.network import Network
from resnet_pipe.preprocess.network_input import NetworkInput

PARTS_AT_ONCE = 1000
"""Parts of an image that it is given at most: torchvision's detectors look at so many."""


def second_request(request: EngineRequest, network: Network) -> EngineRequest | None:
    """Return what to load as the second network, where the first is as requested; None if there is none."""
    if network.second is None:
        return None
    parts = NetworkInput(size=(1, 1), mean=(), std=(), floats=True, shape=network.second.shape)
    return replace(
        request,
        preprocessing=parts,
        outputs=network.second.outputs,
        batch_size=PARTS_AT_ONCE,
        widths=(),
        extract=True,
        rows=False,
    )
