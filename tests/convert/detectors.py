"""Small DETRs of transformers, saved as it saves them: random weights that are made to find things."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from tests.photographs import photograph

PHOTOGRAPHS: Mapping[str, tuple[int, int]] = {
    "astronaut.png": (301, 301),
    "chelsea.png": (451, 300),
    "coffee.png": (333, 599),
    "rocket.jpg": (641, 211),
    "motorcycle_left.png": (450, 300),
    "retina.jpg": (120, 91),
}
"""Photographs, and the width and height that they are brought to first: some share a network's size."""
NAMES = ["person", "bicycle", "traffic light", "N/A", "Hut, groß", "person", "dog"]
"""Labels, two of which are the same, as in COCO's with their gaps."""
BACKBONE = {
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "hidden_sizes": [16, 32, 64, 128],
    "embedding_size": 16,
}
DETR_PROCESSOR = {
    "image_processor_type": "DetrImageProcessor",
    "size": {"shortest_edge": 200, "longest_edge": 333},
    "format": "coco_detection",
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
RT_PROCESSOR = {
    "image_processor_type": "RTDetrImageProcessor",
    "size": {"height": 320, "width": 320},
    "do_normalize": False,
    "do_pad": False,
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
}
"""What PekingU/rtdetr_r50vd comes with, but for the size."""


@dataclass(frozen=True)
class Saved:
    """A directory, and the network and the image processor of the library that wrote it."""

    directory: Path
    network: Any
    processor: Any

    def boxes(self, image: Image.Image, threshold: float) -> NDArray[np.float32]:
        """Return what the library finds in an image: x1, y1, x2, y2, score, label."""
        with torch.inference_mode():
            found = self.network(**self.processor(image, return_tensors="pt"))
        made = self.processor.post_process_object_detection(
            found, threshold=threshold, target_sizes=torch.tensor([image.size[::-1]])
        )[0]
        columns = made["boxes"], made["scores"][:, None], made["labels"][:, None].float()
        values: NDArray[np.float32] = torch.cat(columns, dim=1).numpy()
        return values

    def features(self, image: Image.Image) -> NDArray[np.float32]:
        """Return the mean over height and width of the last map of its convolutional backbone."""
        maps: list[torch.Tensor] = []
        hook = self.network.model.backbone.model.register_forward_hook(
            lambda _module, _given, made: maps.append(made.feature_maps[-1])
        )
        with torch.inference_mode(), hook:
            self.network(**self.processor(image, return_tensors="pt"))
        values: NDArray[np.float32] = maps[-1].mean((0, 2, 3)).numpy()
        return values


def photographs() -> dict[str, Image.Image]:
    """Return photographs of several shapes by the name of their file."""
    return {f"{Path(name).stem}.png": photograph(name).resize(size) for name, size in PHOTOGRAPHS.items()}


def detr(directory: Path, processor: Mapping[str, Any] = DETR_PROCESSOR, **changes: Any) -> Saved:  # noqa: ANN401
    """Save a DETR."""
    backbone = transformers.ResNetConfig(**BACKBONE, out_features=["stage4"])
    config = transformers.DetrConfig(
        **{"backbone_config": backbone, "use_timm_backbone": False, **changes},
        **{"d_model": 32, "encoder_layers": 1, "encoder_ffn_dim": 64, "encoder_attention_heads": 4},
        **{"decoder_layers": 2, "decoder_ffn_dim": 64, "decoder_attention_heads": 4, "num_queries": 40},
        id2label=dict(enumerate(NAMES)),
        label2id={name: index for index, name in enumerate(NAMES)},
    )
    torch.manual_seed(0)
    network = transformers.DetrForObjectDetection(config)
    with torch.no_grad():
        network.model.query_position_embeddings.weight.normal_()
    heads = [network.class_labels_classifier], [network.bbox_predictor]
    return _saved(directory, network, processor, heads, -2.5)


def rt_detr(directory: Path, *, v2: bool = False) -> Saved:
    """Save an RT-DETR."""
    prefix = "RTDetrV2" if v2 else "RTDetr"
    config = getattr(transformers, f"{prefix}Config")(
        backbone_config={
            "model_type": "rt_detr_resnet",
            "out_features": ["stage2", "stage3", "stage4"],
            **BACKBONE,
        },
        **{"encoder_in_channels": [32, 64, 128], "encoder_hidden_dim": 32, "encoder_ffn_dim": 64},
        **{"d_model": 32, "decoder_in_channels": [32, 32, 32], "decoder_ffn_dim": 64, "decoder_layers": 2},
        **{"encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_queries": 60},
        hidden_expansion=0.5,
        id2label=dict(enumerate(NAMES)),
        label2id={name: index for index, name in enumerate(NAMES)},
    )
    torch.manual_seed(0)
    network = getattr(transformers, f"{prefix}ForObjectDetection")(config)
    body = network.model
    heads = (
        [body.enc_score_head, *body.decoder.class_embed],
        [body.enc_bbox_head, *body.decoder.bbox_embed],
    )
    return _saved(directory, network, RT_PROCESSOR, heads, -6.0)


def _saved(
    directory: Path,
    network: Any,  # noqa: ANN401
    processor: Mapping[str, Any],
    heads: tuple[Iterable[Any], Iterable[Any]],
    mean: float,
) -> Saved:
    """Save a network whose heads, for scores and for boxes, have been calibrated."""
    directory.mkdir(parents=True)
    (directory / "preprocessor_config.json").write_text(json.dumps(processor))
    prepared = transformers.AutoImageProcessor.from_pretrained(directory, backend="pil")
    squashed = [image.resize((320, 320)) for image in photographs().values()]
    calibrated(network.eval(), prepared(squashed, return_tensors="pt"), heads, mean)
    network.save_pretrained(directory)
    (directory / "preprocessor_config.json").write_text(json.dumps(processor))
    return Saved(directory, network, prepared)


@torch.no_grad()
def calibrated(network: Any, inputs: Any, heads: tuple[Iterable[Any], Iterable[Any]], mean: float) -> None:  # noqa: ANN401
    """Make the weights of a network such that its photographs matter, and it is sure of some boxes.

    Each convolution and linear layer keeps the size of the signal, each batch norm has the statistics of what
    it sees; the last layers are scaled to the spread of their own results. As they come, random weights give
    every query nearly the same, and rounding decides.
    """
    generator = torch.Generator().manual_seed(7)
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
        elif isinstance(module, nn.Linear) and not {"sampling_offsets", "attention_weights"} & {
            *name.split(".")
        }:
            module.weight.normal_(0, module.in_features**-0.5, generator=generator)
        elif hasattr(module, "running_mean"):
            module.weight.fill_(1)
            module.bias.uniform_(-0.2, 0.2, generator=generator)
            hooks.append(module.register_forward_pre_hook(_normalizes))
    hooks += [layer.register_forward_hook(_spread(2.5, mean)) for layer in heads[0]]
    hooks += [layers.layers[-1].register_forward_hook(_spread(0.8, 0.0)) for layers in heads[1]]
    network(**inputs)
    for hook in hooks:
        hook.remove()


def _normalizes(module: Any, given: Any) -> None:  # noqa: ANN401
    module.running_mean.copy_(given[0].mean((0, 2, 3)))
    module.running_var.copy_(given[0].var((0, 2, 3)) + 1e-3)


def _spread(deviation: float, mean: float) -> Any:  # noqa: ANN401
    def hook(layer: Any, given: Any, found: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        layer.weight.mul_((deviation / found.flatten(0, -2).std(0).clamp_min(1e-6))[:, None])
        layer.bias.copy_(mean - (given[0] @ layer.weight.T).flatten(0, -2).mean(0))
        made: torch.Tensor = given[0] @ layer.weight.T + layer.bias
        return made

    return hook
