"""torchvision's ResNets: the network, and its weights from the three places they may come from."""

from __future__ import annotations

import pickle
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.convert.recipe import Recipe
from resnet_pipe.errors import MissingExtraError, ModelError
from resnet_pipe.model import Weights, file_sha256

if TYPE_CHECKING:
    from torch import Tensor, nn

SEED = 0
"""Of random weights."""
BRANCH_WEIGHT = 0.25
"""Of a residual branch with random weights, against 1 of the path around it."""
NETWORK_TIMEOUT_S = 10.0
"""A server that does not answer in this time is not there."""


@dataclass(frozen=True)
class Source:
    """A network with its weights.

    Attributes:
        network: a torchvision ResNet in eval mode.
        weights: where its numbers came from.
        classes: labels by class index.
    """

    network: nn.Module
    weights: Weights
    classes: list[str]


def build(recipe: Recipe, spec: str, photographs: NDArray[np.float32], say: Callable[[str], None]) -> Source:
    """Build the network of a recipe with the weights that `spec` names.

    Args:
        recipe: architecture and classes.
        spec: imagenet, random, auto, or the path of a checkpoint.
        photographs: float32, shape (n, 3, H, W), normalised: calibrate random weights.
        say: told when `auto` has to take random weights.

    Raises:
        MissingExtraError: torch or torchvision is not installed.
        ModelError: the weights cannot be had or do not fit.
    """
    try:
        import torchvision  # noqa: F401
    except ImportError as error:
        library = error.name or "torchvision"
        raise MissingExtraError(library, "convert", "Converting a model") from None
    if spec == "imagenet":
        return _imagenet(recipe, spec)
    if spec == "random":
        return _random(recipe, spec, photographs)
    if spec == "auto":
        try:
            return _imagenet(recipe, spec)
        except ModelError as error:
            say(f"NOTE: {error.problem}")
            say("NOTE: weights auto takes RANDOM weights: the rows will mean nothing, only the speed does")
            return _random(recipe, spec, photographs)
    return _checkpoint(recipe, Path(spec))


def _imagenet(recipe: Recipe, requested: str) -> Source:
    import torch
    from torchvision.models import get_model, get_model_weights

    weights: Any = get_model_weights(recipe.architecture).DEFAULT
    try:
        with _timeout(NETWORK_TIMEOUT_S):
            state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: the checksum does not match
        cache = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
        raise ModelError(
            f"torchvision's weights {weights} are not on this machine and cannot be downloaded: {error}",
            f"run this once where there is a network, or put {weights.url} at {cache}; or give your own with"
            " --weights FILE; --weights random is enough to measure speed",
        ) from None
    network = get_model(recipe.architecture, weights=None)
    network.load_state_dict(state)
    kind = Weights(kind="imagenet", name=str(weights), requested=requested)
    return Source(network.eval(), kind, list(weights.meta["categories"]))


def _random(recipe: Recipe, requested: str, photographs: NDArray[np.float32]) -> Source:
    """Random weights whose batch norms have seen photographs.

    Without that, their running statistics are those of nothing, and the signal of a deep network grows
    until every image gives the same logits. The residual branches are made weak, as training makes them:
    otherwise every block multiplies the rounding errors of the ones before, and no two libraries agree.
    """
    import torch
    from torchvision.models import get_model
    from torchvision.models.resnet import BasicBlock, Bottleneck

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = get_model(recipe.architecture, weights=None, num_classes=recipe.class_count)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the plain average over all batches seen
            module.reset_running_stats()
        if isinstance(module, BasicBlock | Bottleneck):
            last = module.bn2 if isinstance(module, BasicBlock) else module.bn3
            torch.nn.init.constant_(last.weight, BRANCH_WEIGHT)
    with torch.inference_mode():
        network.train()(torch.from_numpy(photographs))
    kind = Weights(kind="random", name=f"seed {SEED}", requested=requested)
    return Source(network.eval(), kind, _labels(recipe, recipe.class_count))


def _checkpoint(recipe: Recipe, path: Path) -> Source:
    from torchvision.models import get_model

    state = _read_state(path)
    fc = state.get("fc.weight")
    classes = recipe.class_count if fc is None else fc.shape[0]
    network = get_model(recipe.architecture, weights=None, num_classes=classes)
    _check_keys(path, recipe.architecture, dict(network.state_dict()), state)
    network.load_state_dict(dict(state))
    kind = Weights(kind="checkpoint", name=path.name, sha256=file_sha256(path), requested=path.name)
    return Source(network.eval(), kind, _labels(recipe, classes))


def _read_state(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict, also one that training scripts have wrapped.

    Raises:
        ModelError: the file is missing or holds something else.
    """
    import torch

    remedy = "give a state dict: torch.save(model.state_dict(), FILE)"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other versions: they load, or they are refused
            data: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"checkpoint {path} does not exist", "imagenet, random, auto, or a file") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path} is not a checkpoint that can be loaded safely: {first}", remedy) from None
    for wrapper in ("state_dict", "model", "model_state_dict"):
        if isinstance(data, dict) and isinstance(data.get(wrapper), dict):
            data = data[wrapper]
            break
    if not isinstance(data, dict) or not all(isinstance(value, torch.Tensor) for value in data.values()):
        raise ModelError(f"{path} holds no state dict", remedy)
    return {str(key).removeprefix("module."): value for key, value in data.items()}


def _check_keys(
    path: Path, architecture: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    problems = []
    # Old checkpoints do not count batches; nothing depends on it.
    missing = [key for key in expected if key not in found and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in found if key not in expected]
    shapes = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in found and expected[key].shape != found[key].shape
    ]
    for name, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)):
        if keys:
            more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
            problems.append(f"  {name}: {', '.join(keys[:5])}{more}")
    if problems:
        raise ModelError(
            f"{path} is not a checkpoint of torchvision's {architecture}:\n" + "\n".join(problems),
            "check that the recipe names the architecture it was trained with",
        )


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
