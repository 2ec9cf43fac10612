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
from resnet_pipe.errors import ModelError, ResnetPipeError, UsageError
from resnet_pipe.infer.engine import one_line
from resnet_pipe.job.location import located
from resnet_pipe.model.detection import OF_TORCHVISION
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
        batch_size: images that it takes at a time, if it takes no other number.
    """

    name: str
    decides: list[Any]
    build: Callable[[Say], Original]
    batch_size: int | None = None


def wanted(spec: str, weights: str | None, ask: Ask, say: Say) -> Wanted:
    """Find out what is meant, and fetch it if it is on a hub.

    Raises:
        UsageError: nothing is; or weights, or labels, are given for what has its own.
        DocumentError: a recipe is wrong.
        MissingExtraError: the extra `hub` is not installed.
        ModelError: a hub does not have it.
    """
    if ask.labels is not None and spec not in OF_TORCHVISION:
        text = f"--labels is for torchvision's detectors, such as {OF_TORCHVISION[0]}, and not for {spec}"
        raise UsageError(text, "leave out --labels")
    if not spec.startswith(HUBS):
        path, is_there = _place(spec)
        if spec in OF_TORCHVISION:
            return _of_detector(spec, weights, ask)
        if is_recipe(spec) or not (is_there or spec.endswith(".onnx")):
            return _of_recipe(spec, weights, ask)
    if weights is not None:
        raise UsageError(
            f"--weights is for recipes: {spec} has its own", f"resnet-pipe convert {spec}, without --weights"
        )
    if spec.startswith(HUBS):
        return _of_hub(spec, ask, say)
    path = path.resolve()
    ask = replace(ask, spec=str(path))
    return _of_directory(path, path.name, ask) if path.is_dir() else _of_file(path, ask)


def _place(spec: str) -> tuple[Path, bool]:
    """Return the file or the directory that a spec may mean, and whether it is there."""
    try:
        path = Path(spec).expanduser()
        return path, bool(spec) and path.exists()
    except (OSError, RuntimeError) as error:  # a name that is too long, a user that is not there
        raise UsageError(
            f"{spec[:100]!r} is no network: {error}", "give a name, a directory or a file"
        ) from None


def _understood(path: Path, build: Callable[[], Original]) -> Original:
    """Build an original from files that may be anybody's: what they make a library raise is about them."""
    try:
        return build()
    except (ResnetPipeError, MemoryError):
        raise
    except OSError as error:
        problem = f"{error.filename or path} cannot be read: {error.strerror or error}"
        raise ModelError(problem, "check the file, and that this user may read it") from None
    except Exception as error:
        raise ModelError(
            f"{path} cannot be converted: {type(error).__name__}: {one_line(error)}",
            "check that its files are whole, and of one network",
        ) from error


def _of_hub(spec: str, ask: Ask, say: Say) -> Wanted:
    from resnet_pipe.convert.sources import hub

    kind, _, name = spec.partition(":")
    repository, _, revision = name.partition("@")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?", name):
        raise UsageError(
            f"{spec} is not the name of a network there", f"write {kind}:NAME, as its page shows it"
        )
    if kind == "hf" and "/" not in repository:
        raise UsageError(
            f"{spec} is not the name of a network there",
            "write hf:OWNER/NAME, such as hf:microsoft/resnet-50",
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
        name,
        ["directory", digests, *_asked(ask)],
        lambda _say: _understood(directory, lambda: directories.original(directory, ask)),
    )


def _of_file(path: Path, ask: Ask) -> Wanted:
    from resnet_pipe.convert.sources import onnx_file

    if not path.is_file():  # such as a pipe, on which everybody would wait
        raise UsageError(f"{path} is not a file", "give the path of an .onnx file")
    network = inspect(path)
    digests = [file_sha256(file) for file in (path, *network.data)]
    beside = [file_sha256(file) for file in onnx_file.beside(path)]
    return Wanted(
        path.stem,
        ["onnx", digests, beside, *_asked(ask)],
        lambda _say: _understood(path, lambda: onnx_file.original(path, ask)),
        network.batch_size,
    )


def _of_detector(name: str, weights: str | None, ask: Ask) -> Wanted:
    from resnet_pipe.convert.sources import torchvision_detection

    chosen = weights or "coco"
    checkpoint = file_sha256(Path(chosen)) if Path(chosen).is_file() else None

    def build(say: Say) -> Original:
        say(f"converting {name} with weights {chosen}, and comparing the engines: a few minutes ...")
        return torchvision_detection.original(name, chosen, ask.labels, ask.preprocessing, say)

    labels = list(ask.labels or ())
    return Wanted(name, [name, chosen if checkpoint is None else checkpoint, labels, *_asked(ask)], build)


def _asked(ask: Ask) -> list[Any]:
    return [ask.size, ask.preprocessing.told() if ask.preprocessing else None]


def _of_recipe(spec: str, weights: str | None, ask: Ask) -> Wanted:
    from resnet_pipe.convert.sources import torchvision

    path = find(spec)
    ask.refuse_size("a recipe says the size of its images itself")
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
