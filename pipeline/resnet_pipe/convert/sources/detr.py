"""DETR and RT-DETR, networks of transformers that find objects: it loads them, and they stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.convert.original import Outputs, Run, normalized
from resnet_pipe.errors import MissingExtraError, ModelError
from resnet_pipe.head.classify import FEATURES
from resnet_pipe.infer.engine import one_line
from resnet_pipe.machine.silence import silenced
from resnet_pipe.model.detection import Detection, Kind
from resnet_pipe.preprocess.network_input import NetworkInput
from resnet_pipe.preprocess.preprocessing import Preprocessing

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor, nn

EXTRA = "detect"
QUERIES = ("logits", "pred_boxes")
OUTPUTS = (*QUERIES, FEATURES)
_THRESHOLD = 0.5
"""What `post_process_object_detection` of transformers keeps if nothing is said."""
_COUNTER = "num_batches_tracked"
"""Of batch norms: it is used in training alone."""
_SAME = "check that both files are of the same network"
_PRETRAINED = "use_pretrained_backbone"
"""A key of config.json with which older versions of transformers fetch weights that are then replaced."""
_OF_TIMM = "timm_backbone"
_AT_ONCE = 2
"""Images in a forward pass of the original, which may have a million pixels each."""


@dataclass(frozen=True)
class _Family:
    """A kind of network: its class in transformers, and whether it takes images of any size."""

    name: str
    kind: Kind
    any_size: bool = False


FAMILIES = {
    "detr": _Family("DetrForObjectDetection", "detr", any_size=True),
    "rt_detr": _Family("RTDetrForObjectDetection", "rt_detr"),
    "rt_detr_v2": _Family("RTDetrV2ForObjectDetection", "rt_detr"),
}
"""By `model_type` of config.json."""


def refuse_other_tasks(config: Mapping[str, Any], place: Path) -> None:
    """Raise a `ModelError` for a network of these families that was trained for something else."""
    family = FAMILIES[config["model_type"]]
    named = config.get("architectures") or [family.name]
    if named != [family.name]:
        raise ModelError(
            f"{place}: architectures: {named!r} is not a network that gives boxes alone; expected"
            f" {[family.name]!r}",
            "give one that was trained to find objects",
        )
    backbone = config.get("backbone_config") or {}
    if not isinstance(backbone, Mapping):
        raise ModelError(f"{place}: backbone_config: expected names and values, not {backbone!r}", _SAME)
    for key, value in (("backbone", config.get("backbone")), ("backbone", backbone.get("backbone"))):
        if isinstance(value, str) and (":" in value or "/" in value):
            raise ModelError(
                f"{place}: {key}: {value!r} names a network elsewhere, and nothing is fetched for it",
                "save the network with a backbone_config: save_pretrained of a recent transformers does",
            )


@dataclass(frozen=True)
class Loaded:
    """A network that transformers has loaded; `unused` are the names of weights that it does not have."""

    module: nn.Module
    family: _Family
    classes: int
    queries: int
    unused: tuple[str, ...]

    @property
    def detection(self) -> Detection:
        """Which boxes transformers keeps."""
        return Detection(kind=self.family.kind, score=_THRESHOLD, nms=1.0, max_detections=self.queries)

    def check(self, preprocessing: Preprocessing, place: Path) -> None:
        """Raise a `ModelError` if images of many sizes would come to a network for one size."""
        if preprocessing.varies and not self.family.any_size:
            raise ModelError(
                f"{place}: a network of kind {self.family.kind} takes images of one size, and"
                f" {preprocessing.describe()} makes many",
                "write fit: squash, with the size that it was trained with",
            )

    def exported(self, size: tuple[int, int]) -> ModelProto:
        """Return its ONNX graph for images of a height and width, or of any if it takes any."""
        from resnet_pipe.convert.export import export_boxes

        return export_boxes(self._full(), size, OUTPUTS, any_size=self.family.any_size)

    def macs(self, size: tuple[int, int]) -> int:
        """Count the multiply-accumulates of a forward pass of one image."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            self.module(torch.zeros(1, 3, *size))
        return int(counter.get_total_flops()) // 2

    def run(self, wanted: NetworkInput) -> Run:
        """Return how transformers itself runs it: one image does not change what another one gives."""

        def run(images: NDArray[np.uint8]) -> Outputs:
            import torch

            parts = []
            network = self._full()
            with torch.inference_mode():
                for start in range(0, len(images), _AT_ONCE):
                    given = torch.from_numpy(normalized(images[start : start + _AT_ONCE], wanted))
                    parts.append([values.numpy() for values in network(given)])
            return {
                name: np.concatenate(of) for name, of in zip(OUTPUTS, zip(*parts, strict=True), strict=True)
            }

        return run

    def _full(self) -> nn.Module:
        from torch import nn
        from torch.nn.functional import adaptive_avg_pool2d

        class Full(nn.Module):
            """Gives `OUTPUTS`: what boxes are made of, and the mean of the backbone's last map."""

            def __init__(self, module: nn.Module) -> None:
                super().__init__()
                self.module = module

            def forward(self, images: Tensor) -> tuple[Tensor, ...]:
                maps: list[Tensor] = []
                backbone = self.module.get_submodule("model.backbone")
                # It gives each map with a mask.
                hook = backbone.register_forward_hook(lambda _module, _given, made: maps.append(made[-1][0]))
                with hook:
                    found = self.module(images)
                return *(found[name] for name in QUERIES), adaptive_avg_pool2d(maps[-1], 1).flatten(1)

        return Full(self.module).eval()


def load(config: Mapping[str, Any], state: Mapping[str, Tensor], place: Path) -> Loaded:
    """Return the network that a config.json describes, in eval mode, with its weights; nothing is fetched.

    Raises:
        MissingExtraError: a library is not installed.
        ModelError: transformers cannot load it, or the weights are not of this network.
    """
    refuse_other_tasks(config, place)
    family = FAMILIES[config["model_type"]]
    try:
        import transformers
        from transformers.utils import logging
    except ImportError:
        raise MissingExtraError("transformers", EXTRA, f"Converting a {config['model_type']}") from None
    kind = getattr(transformers, family.name, None)
    if kind is None:
        version = transformers.__version__
        raise ModelError(f"transformers {version} has no {family.name}", "install a newer transformers")
    logging.disable_progress_bar()
    try:
        with silenced("transformers"):
            given = {**config, **({_PRETRAINED: False} if _PRETRAINED in config else {})}
            told = kind.config_class.from_dict(given)
            if getattr(told.backbone_config, "model_type", "") == _OF_TIMM and find_spec("timm") is None:
                raise MissingExtraError("timm", EXTRA, f"The backbone that {place} describes")
            made, found = kind.from_pretrained(
                None,
                config=told,
                state_dict=dict(state),
                attn_implementation="eager",
                ignore_mismatched_sizes=True,  # they are refused below, by name
                output_loading_info=True,
            )
    except (MissingExtraError, MemoryError):
        raise
    except Exception as error:  # of many libraries
        raise ModelError(f"{place}: transformers itself cannot load it: {one_line(error)}", _SAME) from None
    other = sorted(str(one[0]) if isinstance(one, tuple) else str(one) for one in found["mismatched_keys"])
    missing = sorted(name for name in found["missing_keys"] if not name.endswith(_COUNTER))
    for names, what in (
        (missing, "has no weights"),
        (other, "describes other sizes than those of the weights"),
    ):
        if names:
            some = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
            raise ModelError(f"{place} {what} called {some}", _SAME)
    unused = sorted(name for name in found["unexpected_keys"] if not name.endswith(_COUNTER))
    return Loaded(made.eval(), family, int(told.num_labels), int(told.num_queries), tuple(unused))
