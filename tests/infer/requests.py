"""What the tests of engines ask for, and the batches they give."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.infer.engine import EngineRequest
from resnet_pipe.preprocess.network_input import NetworkInput
from resnet_pipe.preprocess.preprocessing import Preprocessing
from tests.networks import MEAN, STD
from tests.photographs import NAMES, photograph

Batch = NDArray[np.uint8]

CROP = 32


def preprocessing(crop: int | tuple[int, int] = CROP, color: Literal["rgb", "bgr"] = "rgb") -> NetworkInput:
    return Preprocessing(fit="squash", crop=crop, mean=MEAN, std=STD, color=color).network_input


def request(
    model: Path,
    outputs: tuple[str, ...] = ("logits", "features"),
    batch_size: int = 4,
    device: str = "cpu",
    precision: str = "fp32",
    preprocess: NetworkInput | None = None,
) -> EngineRequest:
    """Return a request for a network whose input is as large as `preprocess`, or as `CROP`."""
    return EngineRequest(
        model=model,
        preprocessing=preprocess or preprocessing(),
        outputs=outputs,
        batch_size=batch_size,
        device=device,
        precision=precision,
        threads=2,
    )


def photos(count: int = 4, crop: int = CROP) -> Batch:
    """Return photographs, uint8, shape (count, crop, crop, 3), RGB; at most six different ones."""
    images = (photograph(NAMES[index % len(NAMES)]).resize((crop, crop)) for index in range(count))
    return np.stack([np.asarray(image) for image in images])
