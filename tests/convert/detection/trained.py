"""A RetinaNet of torchvision with a ResNet-18 that has learned to find drawn shapes, for the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.backbone_utils import BackboneWithFPN, resnet_fpn_backbone
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from tests.convert.detection.calibrated import tensor
from tests.convert.detection.drawn import LONG, SHAPES, SIDE, SIZES, Drawn, drawn

_LESSONS = ((140, 32, 2e-3), (200, 8, 2e-4))
"""Steps, pictures of each and highest rate of learning: first what one shape is, then where several are."""
_ALONE = (48, 48)
"""Size of a picture with one shape."""
_RISES = 0.15
"""In this part of the steps the rate rises to the highest; from there it falls to nothing."""
_STEEPEST = 2.0
"""Gradients are shortened to this."""


def trained(seed: int = 0) -> RetinaNet:
    """Return a detector in eval mode that began with random weights: three minutes of one core.

    One thread trains it, so that the sums, and what it learns, do not depend on the number of cores.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RetinaNet(_backbone(), 1 + len(SHAPES), min_size=SIDE, max_size=LONG)
        classifier = nn.Linear(512, len(SHAPES))
    random = np.random.default_rng(seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _recognize(model, classifier, random)
        _detect(model, random)
    finally:
        torch.set_num_threads(threads)
    model.eval()
    return model


def _recognize(model: RetinaNet, classifier: nn.Linear, random: np.random.Generator) -> None:
    """Teach the backbone what the shape is on a picture with one alone."""
    steps, batch, rate = _LESSONS[0]
    body = model.backbone.body.train()
    for learn in _steps([body, classifier], steps, rate):
        pictures = [drawn(random, _ALONE, most=1) for _ in range(batch)]
        images, _ = model.transform([tensor(each.image) for each in pictures])
        *_, last = body(images.tensors).values()
        expected = torch.from_numpy(np.concatenate([each.labels for each in pictures])) - 1
        learn(nn.functional.cross_entropy(classifier(last.mean((2, 3))), expected))


def _detect(model: RetinaNet, random: np.random.Generator) -> None:
    """Teach all of it, but for the batch norms, to find the shapes."""
    steps, batch, rate = _LESSONS[1]
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    for learn in _steps([model], steps, rate):
        size = SIZES[random.integers(len(SIZES))]
        pictures = [drawn(random, size) for _ in range(batch)]
        losses = model([tensor(each.image) for each in pictures], [_truth(each) for each in pictures])
        learn(torch.stack(list(losses.values())).sum())


def _steps(modules: list[nn.Module], steps: int, rate: float) -> Iterator[Callable[[Tensor], None]]:
    """Give so many times what makes the weights of modules fit better, by a loss."""
    weights = [weight for module in modules for weight in module.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=_RISES)

    def learn(loss: Tensor) -> None:
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(weights, _STEEPEST)
        optimizer.step()
        schedule.step()

    yield from repeat(learn, steps)


def _backbone() -> BackboneWithFPN:
    return resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=5,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )


def _truth(picture: Drawn) -> dict[str, Tensor]:
    return {"boxes": torch.from_numpy(picture.boxes), "labels": torch.from_numpy(picture.labels)}
