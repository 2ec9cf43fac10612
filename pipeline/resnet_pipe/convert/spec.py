"""What `convert` is given: a recipe, a repository of a hub, a directory or an ONNX file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resnet_pipe.convert.original import Original
from resnet_pipe.convert.recipe import NAMED_WEIGHTS, OF_A_CHECKPOINT, find, is_recipe, load
from resnet_pipe.convert.sources.directory import FILES, Ask
from resnet_pipe.convert.sources.weights import NAMES
from resnet_pipe.errors import UsageError
from resnet_pipe.job.location import located
from resnet_pipe.model.model import HUBS, hub_name
from resnet_pipe.model.network import inspect
from resnet_pipe.store.digest import file_sha256

Say = Callable[[str], None]
LIBRARIES = ("torch", "torchvision", "onnx", "onnxscript")
"""Whose versions may change what a conversion gives."""


@dataclass(frozen=True)
class Wanted:
    """What is to be converted.

    Attributes:
        name: of the model, if the user does not give another.
        decides: all that decides the result besides the versions of libraries, as JSON.
        build: makes the original; it may raise a `ModelError` or a `MissingExtraError`.
    """

    name: str
    decides: list[Any]
    build: Callable[[Say], Original]


def wanted(spec: str, weights: str | None, ask: Ask, say: Say) -> Wanted:
    """Find out what is meant, and fetch it if it is on a hub.

    Raises:
        UsageError: nothing is; or weights are given for what has its own.
        DocumentError: a recipe is wrong.
        MissingExtraError: the extra `hub` is not installed.
        ModelError: a hub does not have it.
    """
    path = Path(spec).expanduser()
    if not spec.startswith(HUBS) and (is_recipe(spec) or not (path.exists() or spec.endswith(".onnx"))):
        return _of_recipe(spec, weights, ask)
    if weights is not None:
        raise UsageError(
            f"--weights is for recipes: {spec} has its own", f"resnet-pipe convert {spec}, without --weights"
        )
    if spec.startswith(HUBS):
        return _of_hub(spec, ask, say)
    return _of_directory(path, path.resolve().name, ask) if path.is_dir() else _of_file(path, ask)


def _of_hub(spec: str, ask: Ask, say: Say) -> Wanted:
    from resnet_pipe.convert.sources import hub

    kind, _, name = spec.partition(":")
    repository, _, revision = name.partition("@")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repository):
        raise UsageError(
            f"{spec} is not the name of a network there", f"write {kind}:NAME, as its page shows it"
        )
    repository = f"timm/{repository}" if kind == "timm" and "/" not in repository else repository
    say(f"fetching {repository} ...")
    directory, commit = hub.fetch(repository, revision or None, (*FILES, NAMES[0]))
    if not (directory / NAMES[0]).exists():  # the other file has the same numbers
        directory, commit = hub.fetch(repository, commit, (*FILES, *NAMES))
    return _of_directory(directory, hub_name(spec), replace(ask, revision=commit))


def _of_directory(directory: Path, name: str, ask: Ask) -> Wanted:
    from resnet_pipe.convert.sources import directory as directories

    there = (directory / file for file in (*FILES, *NAMES))
    digests = {file.name: file_sha256(file) for file in there if file.is_file()}
    return Wanted(
        name, ["directory", digests, *_asked(ask)], lambda _say: directories.original(directory, ask)
    )


def _of_file(path: Path, ask: Ask) -> Wanted:
    from resnet_pipe.convert.sources import onnx_file

    digests = [file_sha256(file) for file in (path, *inspect(path).data)]
    beside = [file_sha256(file) for file in onnx_file.beside(path)]
    return Wanted(
        path.stem, ["onnx", digests, beside, *_asked(ask)], lambda _say: onnx_file.original(path, ask)
    )


def _asked(ask: Ask) -> list[Any]:
    return [ask.size, ask.preprocessing.told() if ask.preprocessing else None]


def _of_recipe(spec: str, weights: str | None, ask: Ask) -> Wanted:
    from resnet_pipe.convert.sources import torchvision

    path = find(spec)
    recipe = load(path)
    chosen = weights if weights is not None else recipe.weights
    if weights is None and chosen not in NAMED_WEIGHTS:  # a checkpoint beside the recipe
        chosen = str(located(chosen, path.parent))
    if ask.preprocessing is not None:
        recipe = recipe.model_copy(update={"preprocess": ask.preprocessing})
    elif path != Path(spec) and chosen not in NAMED_WEIGHTS:  # its preprocessing is for other weights
        recipe = recipe.model_copy(update={"preprocess": OF_A_CHECKPOINT})
    told = {**recipe.model_dump(mode="json"), "preprocess": recipe.preprocess.told()}
    checkpoint = file_sha256(Path(chosen)) if Path(chosen).is_file() else None

    def build(say: Say) -> Original:
        say(f"converting {recipe.architecture} with weights {chosen} ...")
        return torchvision.original(recipe, chosen, say)

    return Wanted(path.stem, [told, chosen if checkpoint is None else checkpoint], build)
