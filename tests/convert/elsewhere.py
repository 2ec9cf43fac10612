"""Networks of other libraries with random weights, saved as these save them, and what they give."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
PROCESSOR = {
    "image_processor_type": "ConvNextImageProcessor",
    "size": {"shortest_edge": 224},
    "crop_pct": 0.875,
    "resample": 3,
    "image_mean": MEAN,
    "image_std": STD,
}
"""What microsoft/resnet-50 comes with."""


@dataclass(frozen=True)
class Saved:
    """A directory, and the network in the library that wrote it."""

    directory: Path
    network: Any
    prepare: Any

    def logits(self, image: Image.Image) -> NDArray[np.float32]:
        """Return what the library itself gives for an image, which it prepares itself."""
        with torch.inference_mode():
            found = self.network(self.prepare(image))
        values: NDArray[np.float32] = getattr(found, "logits", found)[0].numpy()
        return values


def steady(network: Any) -> Any:  # noqa: ANN401 - any torch network
    """Make a network's signal keep its size from layer to layer, as in a trained one.

    Otherwise that of a deep one grows until rounding decides, and no two libraries agree.
    """
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for values, least, most in (
                    (module.running_mean, -0.2, 0.2),
                    (module.running_var, 0.5, 1.5),
                    (module.weight, 0.3, 0.7),
                    (module.bias, -0.2, 0.2),
                ):
                    assert values is not None
                    values.uniform_(least, most, generator=generator)
    return network.eval()


def of_transformers(
    directory: Path, config: Mapping[str, Any], processor: Mapping[str, Any] = PROCESSOR
) -> Saved:
    """Save a ResNet of transformers with its image processor."""
    from transformers import AutoImageProcessor, ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    network = steady(ResNetForImageClassification(ResNetConfig(**config)))
    network.save_pretrained(directory)
    (directory / "preprocessor_config.json").write_text(json.dumps(processor))
    prepared = AutoImageProcessor.from_pretrained(directory, backend="pil")
    return Saved(directory, network, lambda image: prepared(image, return_tensors="pt")["pixel_values"])


def of_timm(directory: Path, name: str, **changes: Any) -> Saved:  # noqa: ANN401 - what timm's config holds
    """Save a network of timm; changes are of how images are prepared."""
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(0)
    classes = {"num_classes": changes.pop("num_classes")} if "num_classes" in changes else {}
    network = steady(timm.create_model(name, pretrained=False, **classes))
    network.pretrained_cfg.update(changes)
    save_for_hf(network, directory, safe_serialization=True)
    told = timm.data.resolve_data_config(pretrained_cfg=network.pretrained_cfg)
    prepared = timm.data.create_transform(**told)
    return Saved(directory, network, lambda image: prepared(image)[None])
