"""torchvision's ResNets: the network, and its weights from the three places they may come from."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from resnet_pipe.convert.original import Original, in_torch, normalized
from resnet_pipe.convert.photographs import photographs
from resnet_pipe.convert.recipe import NAMED_WEIGHTS, Recipe
from resnet_pipe.errors import MissingExtraError, ModelError
from resnet_pipe.model.model import Weights
from resnet_pipe.store.digest import file_sha256

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

_Weighted: TypeAlias = "tuple[nn.Module, Weights, list[str]]"
"""A ResNet in eval mode, where its numbers came from, and the labels of its classes."""
_Built = TypeVar("_Built")
SEED = 0
"""Seed of random weights."""
BRANCH_WEIGHT = 0.25
"""Of a residual branch with random weights, against 1 of the path around it."""
NETWORK_TIMEOUT_S = 10.0
"""A server that does not answer in this time is not there."""


def original(recipe: Recipe, spec: str, say: Callable[[str], None]) -> Original:
    """Build the network of a recipe with weights: imagenet, random, auto, or the path of a checkpoint.

    The user is told when `auto` falls back to random weights, and what there is to know about a checkpoint.

    Raises:
        MissingExtraError: torch or torchvision is not installed.
        ModelError: the weights are not available or do not fit.
    """
    try:
        import torchvision  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(error.name or "torchvision", "convert", "Converting a model") from None
    from resnet_pipe.convert.export import export
    from resnet_pipe.convert.graph import clean

    network, weights, classes = _with_weights(recipe, spec, say)
    return Original(
        source=recipe.source,
        architecture=recipe.architecture,
        depth=recipe.depth,
        preprocessing=recipe.preprocess,
        weights=weights,
        classes=classes,
        params=sum(parameter.numel() for parameter in network.parameters()),
        graph=clean(export(network, recipe.preprocess.size, recipe.preprocess.varies)).proto,
        run=in_torch(network, "fc", recipe.preprocess.network_input),
        runs_in=f"torch {metadata.version('torch')}",
    )


def _with_weights(recipe: Recipe, spec: str, say: Callable[[str], None]) -> _Weighted:
    if spec not in NAMED_WEIGHTS:
        return _checkpoint(recipe, Path(spec), say)
    return published_or_random(
        spec, "imagenet", lambda: _imagenet(recipe, spec), lambda: _random(recipe, spec), say
    )


def published_or_random(
    spec: str,
    published: str,
    download: Callable[[], _Built],
    make: Callable[[], _Built],
    say: Callable[[str], None],
) -> _Built:
    """Return a network with torchvision's own weights, or with random ones, whichever a spec means.

    Args:
        spec: `published`, random, or auto: random if the others are not available, which the user is told.
        published: what the spec calls torchvision's own weights.
        download: builds the network with these; it may raise a `ModelError`.
        make: builds it with random ones.
        say: tells the user.
    """
    if spec != "random":
        try:
            return download()
        except ModelError as error:
            if spec == published:
                raise
            say(f"NOTE: {error.problem}")
            say("NOTE: using random weights instead: good for timing, not for results")
    return make()


def _imagenet(recipe: Recipe, requested: str) -> _Weighted:
    from torchvision.models import get_model, get_model_weights

    weights: Any = get_model_weights(recipe.architecture).DEFAULT
    state = downloaded(weights)
    network = get_model(recipe.architecture, weights=None)
    network.load_state_dict(state)
    kind = Weights(kind="imagenet", name=str(weights), requested=requested)
    return network.eval(), kind, list(weights.meta["categories"])


def downloaded(weights: Any) -> Any:  # noqa: ANN401 - torchvision's classes of weights have no types
    """Return the state dict of weights that torchvision publishes; ModelError if they cannot be had."""
    name = Path(weights.url).name
    cache = _cache(name)
    place = cache / name if cache else f"DIR/hub/checkpoints/{name}, with TORCH_HOME=DIR"
    try:
        with _timeout(NETWORK_TIMEOUT_S), TemporaryDirectory(prefix="resnet-pipe-") as temporary:
            return weights.get_state_dict(
                model_dir=str(cache or temporary), progress=False, check_hash=True, weights_only=True
            )
    except (OSError, RuntimeError) as error:  # RuntimeError: the checksum does not match
        raise ModelError(
            f"torchvision's weights {weights} are not on this machine and cannot be downloaded: {error}",
            f"run this once with network access, or save {weights.url} as {place}; or give your own with"
            " --weights FILE; to measure speed, --weights random is enough",
        ) from None


def _cache(name: str) -> Path | None:
    """Return torch's directory for weights; None if this user has none, or none with or for this file."""
    import torch

    directory = Path(torch.hub.get_dir()) / "checkpoints"
    if str(directory).startswith("~"):  # torch would make a directory of that name
        return None
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return directory if os.access(directory, os.W_OK) or (directory / name).is_file() else None


def _random(recipe: Recipe, requested: str) -> _Weighted:
    """Return a ResNet with weights from a seed, whose batch norms have seen photographs."""
    import torch
    from torchvision.models import get_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = get_model(recipe.architecture, weights=None, num_classes=recipe.class_count)
    see(network, network, normalized(photographs(recipe.preprocess), recipe.preprocess.network_input))
    kind = Weights(kind="random", name=f"seed {SEED}", requested=requested)
    return network.eval(), kind, _labels(recipe, recipe.class_count)


def see(network: nn.Module, trunk: nn.Module, images: NDArray[np.float32]) -> None:
    """Show images, (n, 3, H, W), to the batch norms of a network with random weights; its trunk is executed.

    Without that, their running statistics are those of nothing, and the signal of a deep network grows
    until every image gives the same logits. The residual branches are made weak, as training makes them:
    otherwise every block multiplies the rounding errors of the ones before, and no two libraries agree.
    """
    import torch
    from torchvision.models.resnet import BasicBlock, Bottleneck

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the plain average over all batches seen
            module.reset_running_stats()
        if isinstance(module, BasicBlock | Bottleneck):
            last = module.bn2 if isinstance(module, BasicBlock) else module.bn3
            torch.nn.init.constant_(last.weight, BRANCH_WEIGHT)
    with torch.inference_mode():
        trunk.train()(torch.from_numpy(images))


def _checkpoint(recipe: Recipe, path: Path, say: Callable[[str], None]) -> _Weighted:
    import torch
    from torchvision.models import get_model

    from resnet_pipe.convert.sources import checkpoint

    with torch.device("meta"):  # names and shapes, without numbers
        expected = get_model(recipe.architecture, weights=None, num_classes=recipe.class_count).state_dict()
    found = checkpoint.read(path, recipe.architecture, expected)
    for note in found.notes:
        say(note)
    classes = len(found.state["fc.weight"])
    network = get_model(recipe.architecture, weights=None, num_classes=classes)
    network.load_state_dict(dict(found.state))
    name, sha256 = path.name, file_sha256(path)
    kind = Weights(kind="checkpoint", name=name, sha256=sha256, requested=name, taken=found.taken)
    return network.eval(), kind, _labels(recipe, classes)


def _labels(recipe: Recipe, count: int) -> list[str]:
    if isinstance(recipe.classes, list):
        if len(recipe.classes) != count:
            raise ModelError(f"the recipe names {len(recipe.classes)} classes, but the weights have {count}")
        return recipe.classes
    return [f"class {index}" for index in range(count)]


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
