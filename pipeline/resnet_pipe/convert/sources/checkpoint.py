"""The weights of a ResNet in a training checkpoint, where they may be nested and have prefixed names."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_pipe.convert.sources.unloadable import refusal, state_dict, two_lines
from resnet_pipe.errors import ModelError

State = Mapping[str, Tensor]

_COMPILED = "_orig_mod."
"""The prefix that torch.compile adds to the names of a compiled network, or a compiled part of one."""
_USUAL = (("state_dict",), ("model_state_dict",), ("model",), ())
"""Where training scripts put the weights; the last is the file itself."""
_AVERAGED = re.compile(r"(^|[._])(ema|swa|avg|averaged?)([._]|$)")
"""Parts of the names of averaged weights (exponential moving average, stochastic weight averaging)."""
_DEPTH = 3
"""How deep dicts may be nested."""
_ANCHORS = ("conv1.weight", "fc.weight")
"""The first and the last weights of a ResNet; whatever precedes such a name may be a common prefix."""


@dataclass(frozen=True)
class Found:
    """Tensors in a file that may be a network: the dicts that lead to them, and what their names have lost.

    `others` are names in the same dict that lack the prefix.
    """

    place: tuple[str, ...]
    prefix: str
    compiled: bool
    state: State
    others: tuple[str, ...]

    @property
    def name(self) -> str:
        """Location and prefix, in words."""
        place = f"`{'.'.join(self.place)}`" if self.place else ""
        names = [f"`{name}`" for name in (self.prefix, _COMPILED if self.compiled else "") if name]
        without = f"without prefix {' and '.join(names)}" if names else ""
        return ", ".join(filter(None, (place, without))) or "the top level"

    @property
    def plain(self) -> bool:
        """Whether these are the file's own names and values."""
        return not (self.place or self.prefix or self.compiled)

    @property
    def averaged(self) -> bool:
        """Whether its name suggests an average."""
        return any(map(_AVERAGED.search, (*self.place, self.prefix)))


@dataclass(frozen=True)
class Checkpoint:
    """The weights by the network's own names; which of the file's they are, in words; notes on it.

    `taken` is None if all of them were used, with their names unchanged.
    """

    state: State
    taken: str | None
    notes: tuple[str, ...]


def read(path: Path, architecture: str, expected: State) -> Checkpoint:
    """Find the weights of an architecture in a file. Only tensors are loaded.

    They may be in nested dicts, and their names may have a prefix (DataParallel's `module.`, Lightning's
    `model.`, torch.compile's `_orig_mod.`), as long as the rest matches the names and shapes of the expected
    weights exactly; `fc` may have another number of classes.

    Raises:
        ModelError: the file is missing, cannot be loaded, or does not contain exactly one such network.
    """
    found = list(networks(load(path)))
    if not found:
        raise ModelError(f"checkpoint {path} holds no state dict", state_dict())
    fitting = [one for one in found if not any(_misfits(expected, one.state))]
    nearest = max(found, key=lambda one: len(expected.keys() & one.state.keys()))
    taken = choose(path, fitting) if fitting else nearest
    if problems := _problems(expected, taken.state):
        where = "" if taken.plain else f" (closest match: {taken.name})"
        raise ModelError(
            f"{path} is not a checkpoint of torchvision's {architecture}{where}:\n" + "\n".join(problems),
            "check that the recipe names the architecture it was trained with",
        )
    notes = [] if taken.plain else [f"weights of {path.name}: {taken.name}"]
    if taken.others:
        notes.append(f"ignored, because they lack the prefix `{taken.prefix}`: {_several(taken.others)}")
    notes += [f"fits too, but was not used: {one.name}" for one in fitting if one is not taken]
    return Checkpoint(taken.state, None if taken.plain else taken.name, tuple(notes))


def load(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """Load a file, and only tensors of it; a `ModelError` says why it cannot be loaded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other versions: they load, or they are refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(
            f"checkpoint {path} does not exist", "use imagenet, random, auto or an existing file"
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # torch raises whatever a hostile or damaged file makes it
        raise refusal(path, error) from None


def networks(
    data: object, place: tuple[str, ...] = (), anchors: tuple[str, ...] = _ANCHORS
) -> Iterator[Found]:
    """Yield the tensors of each dict in a file, once for each prefix that the names `anchors` may have."""
    if not isinstance(data, Mapping):
        return
    named = {key: value for key, value in data.items() if isinstance(key, str)}
    tensors = {key: value for key, value in named.items() if isinstance(value, Tensor)}
    if tensors:
        plain = {key.replace(_COMPILED, ""): value for key, value in tensors.items()}
        compiled = plain.keys() != tensors.keys() and len(plain) == len(tensors)
        known = plain if compiled else tensors
        prefixes = {key[: -len(end)] for key in known for end in anchors if f".{key}".endswith(f".{end}")}
        for prefix in sorted({"", *prefixes}):
            state = {key[len(prefix) :]: value for key, value in known.items() if key.startswith(prefix)}
            others = tuple(key for key in known if not key.startswith(prefix))
            yield Found(place, prefix, compiled, state, others)
    for key, value in data.items():
        if len(place) < _DEPTH:
            yield from networks(value, (*place, str(key)), anchors)


def _misfits(expected: State, state: State) -> tuple[list[str], list[str]]:
    """Return the missing names and the unexpected ones."""
    # Old checkpoints do not count batches; nothing depends on it.
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    return missing, [name for name in state if name not in expected]


def _problems(expected: State, state: State) -> list[str]:
    """Return why the weights do not fit the network, one line per kind of mismatch."""
    missing, unexpected = _misfits(expected, state)
    classes = state["fc.weight"].shape[:1] if "fc.weight" in state else None
    shapes = []
    for name in expected.keys() & state.keys():
        shape = tuple(expected[name].shape)
        if name.startswith("fc.") and classes is not None:
            shape = (*classes, *shape[1:])
        if shape != tuple(state[name].shape):
            shapes.append(f"{name} {tuple(state[name].shape)} instead of {shape}")
    kinds = (("missing", missing), ("unexpected", unexpected), ("with a different shape", sorted(shapes)))
    return [f"  {kind}: {_several(names)}" for kind, names in kinds if names]


def choose(path: Path, fitting: list[Found]) -> Found:
    """Choose one of several candidates: not an average, and preferably in a usual place."""
    rest = [one for one in fitting if not one.averaged] or fitting
    if len(rest) > 1:
        rest = [one for one in rest if one.place in _USUAL] or rest
    if len(rest) > 1:
        told = "; ".join(one.name for one in rest)
        prefix = rest[0].prefix
        keys = "".join(f"[{name!r}]" for name in rest[0].place)
        load = f"tensors = torch.load({str(path)!r}, map_location='cpu', weights_only=True){keys}"
        chosen = f"{{k: v for k, v in tensors.items() if k.startswith({prefix!r})}}" if prefix else "tensors"
        raise ModelError(
            f"checkpoint {path} holds several networks that fit: {told}",
            f"save the one you mean, such as the first, {two_lines(load, chosen)}",
        )
    return rest[0]


def _several(names: Collection[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(list(names)[:5])}{more}"
