"""Does the ONNX file give what the source network gives? Asked of cv2.dnn, on real photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from resnet_pipe.errors import ModelError
from resnet_pipe.machine import cv2_import

TOLERANCE = 1e-4
"""Largest relative difference that float32 arithmetic in another order explains."""


def largest_difference(path: Path, network: nn.Module, photographs: NDArray[np.float32]) -> float:
    """Return the largest relative difference between an ONNX file in cv2.dnn and its source network.

    For each output, `logits` and `features`: the largest absolute difference, divided by the largest absolute
    value of the source, a torchvision ResNet in eval mode. The file is run with one photograph and with all
    of them: float32, shape (n, 3, H, W), normalised.

    Raises:
        ModelError: cv2.dnn cannot run the file, or the difference is larger than `TOLERANCE`.
        UsageError: cv2 cannot be imported.
    """
    cv2_import.require()
    import cv2

    expected = _expected(network, photographs)
    worst = 0.0
    try:
        net = cv2.dnn.readNetFromONNX(str(path))
        names = list(net.getUnconnectedOutLayersNames())
        for count in (1, len(photographs)):
            net.setInput(photographs[:count])
            outputs = dict(zip(names, net.forward(names), strict=True))
            for name, reference in expected.items():
                difference = np.abs(outputs[name] - reference[:count]).max() / np.abs(reference).max()
                worst = max(worst, float(difference))
    except (cv2.error, KeyError) as error:
        raise ModelError(f"cv2.dnn {cv2.__version__} cannot run the converted model: {error}") from None
    if not worst <= TOLERANCE:  # also if it is not a number
        raise ModelError(
            f"the converted model differs from its source network by {worst:.1e} (at most {TOLERANCE:.0e})",
            "no file was written; report this with the versions of torch and cv2",
        )
    return worst


def _expected(network: nn.Module, photographs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    features: list[torch.Tensor] = []
    hook = network.get_submodule("avgpool").register_forward_hook(
        lambda _module, _inputs, output: features.append(torch.flatten(output, 1))
    )
    with hook, torch.inference_mode():
        logits = network(torch.from_numpy(photographs))
    return {"logits": logits.numpy(), "features": features[0].numpy()}
