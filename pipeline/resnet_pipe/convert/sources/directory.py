"""A network in a directory, as transformers and timm save it, and as a hub has it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_pipe.convert.original import Original, Run, in_torch
from resnet_pipe.convert.photographs import ANY_SIZE
from resnet_pipe.convert.sources import detr, hugging_face, image_processor, timm, weights
from resnet_pipe.errors import ModelError, UsageError
from resnet_pipe.model.depths import DEPTHS
from resnet_pipe.model.model import Weights
from resnet_pipe.preprocess.preprocessing import Preprocessing
from resnet_pipe.store.digest import file_sha256

if TYPE_CHECKING:
    from torch import Tensor, nn

CONFIG = "config.json"
CARD = "README.md"
FILES = (CONFIG, image_processor.NAME, CARD)
"""What is read from a directory, besides the weights."""
UNNAMED = "the labels `class 0` and on, as no file names the classes"
_LARGEST = 16 << 20
"""Bytes of a JSON file, which has labels for thousands of classes in one."""


@dataclass(frozen=True)
class Ask:
    """What a user says about a directory, which the files in it do not.

    Attributes:
        spec: what the user called it.
        size: of timm's networks: that of the images they were trained with, or evaluated with.
        preprocessing: in place of what the directory says.
        revision: the commit it was fetched from.
        labels: of the classes, of weights that do not name them.
    """

    spec: str
    size: timm.Size = "train"
    preprocessing: Preprocessing | None = None
    revision: str | None = None
    labels: tuple[str, ...] | None = None

    def refuse_size(self, reason: str) -> None:
        """Refuse to be asked for a size that has no effect, because of the reason."""
        if self.size == "test":
            raise UsageError(
                f"--size test is for networks of timm, and has no effect on {self.spec}: {reason}",
                "leave out --size, or say how images are prepared: in a recipe, or with --preprocess '{...}'",
            )


@dataclass(frozen=True)
class _Network:
    """What a directory describes: the network in torch, and what its own library makes of it."""

    source: str
    architecture: str
    module: nn.Module
    classifier: str | None
    preprocessing: Preprocessing
    run: Run
    runs_in: str
    labels: list[str] | None
    licence: str | None = None
    assumed: tuple[str, ...] = ()


def original(directory: Path, ask: Ask) -> Original:
    """Read the network in a directory, and export it: config.json, the weights, preprocessor_config.json.

    Raises:
        MissingExtraError: a library is missing that it needs.
        ModelError: a file is missing or damaged, or describes what cannot be converted.
    """
    from resnet_pipe.convert.export import export
    from resnet_pipe.convert.graph import clean

    config = read_json(directory / CONFIG)
    if config.get("model_type") in detr.FAMILIES:
        return _finding_boxes(directory, config, ask)
    state, file = weights.read(directory)
    found = (_of_timm if "architecture" in config else _of_transformers)(directory, config, state, ask)
    labels, assumed = _labels(found)
    return Original(
        source=found.source,
        architecture=found.architecture,
        depth=_depth(found.architecture),
        preprocessing=found.preprocessing,
        weights=Weights(kind="checkpoint", name=file.name, sha256=file_sha256(file), requested=ask.spec),
        classes=labels,
        params=sum(parameter.numel() for parameter in found.module.parameters()),
        graph=clean(export(found.module, found.preprocessing.size, found.preprocessing.varies)).proto,
        run=found.run,
        runs_in=found.runs_in,
        licence=found.licence or licence_of_card(directory / CARD),
        revision=ask.revision,
        files=_read(directory),
        assumed=(*found.assumed, *assumed),
    )


def _finding_boxes(directory: Path, config: Mapping[str, Any], ask: Ask) -> Original:
    """Read a network of transformers that finds objects, which its own library builds and runs."""
    place = directory / CONFIG
    detr.refuse_other_tasks(config, place)
    preprocessing = _preprocessing(directory, ask, image_processor.of_detector)
    state, file = weights.read(directory)
    found = detr.load(config, state, place)
    found.check(preprocessing, directory / image_processor.NAME)
    labels, assumed = _labelled(hugging_face.labels_of(config, place), found.classes)
    unused = f"that {', '.join(found.unused[:3])} are of no use, as transformers says"
    return Original(
        source="transformers",
        architecture=str(config["model_type"]),
        depth=None,
        preprocessing=preprocessing,
        weights=Weights(kind="checkpoint", name=file.name, sha256=file_sha256(file), requested=ask.spec),
        classes=labels,
        params=sum(parameter.numel() for parameter in found.module.parameters()),
        graph=found.exported(preprocessing.at_one_size(ANY_SIZE).size),
        run=found.run(preprocessing.network_input),
        runs_in=f"transformers {metadata.version('transformers')}",
        licence=licence_of_card(directory / CARD),
        revision=ask.revision,
        files=_read(directory),
        assumed=(*assumed, *([unused] if found.unused else [])),
        detection=found.detection,
        macs=found.macs(preprocessing.size),
    )


def _read(directory: Path) -> dict[str, str]:
    """Return the files of a directory that are read besides the weights, with their SHA-256."""
    there = [directory / name for name in FILES if (directory / name).is_file()]
    return {file.name: file_sha256(file) for file in there}


def _of_transformers(
    directory: Path, config: Mapping[str, Any], state: Mapping[str, Tensor], ask: Ask
) -> _Network:
    place = directory / CONFIG
    if config.get("model_type") != hugging_face.MODEL_TYPE:
        raise ModelError(
            f"{place}: model_type: {config.get('model_type')!r} is not a network that can be converted;"
            f" expected {hugging_face.MODEL_TYPE!r}, {', '.join(map(repr, detr.FAMILIES))}, or timm's"
            " `architecture`",
            hugging_face.EXPORT_IT,
        )
    module, architecture = hugging_face.network(config, state, place)
    ask.refuse_size(f"{image_processor.NAME} knows one size, or --preprocess says it")
    preprocessing = _preprocessing(directory, ask, image_processor.preprocessing_of)
    has_classifier = hugging_face.has_classifier(state)
    classifier, wanted = "fc" if has_classifier else None, preprocessing.network_input
    if is_installed("transformers"):
        run, library = hugging_face.reference(directory, has_classifier, wanted), "transformers"
    else:
        run, library = in_torch(module, classifier, wanted), "torch"
    return _Network(
        source="transformers",
        architecture=architecture,
        module=module,
        classifier=classifier,
        preprocessing=preprocessing,
        run=run,
        runs_in=f"{library} {metadata.version(library)}",
        labels=hugging_face.labels_of(config, place),
    )


def _preprocessing(
    directory: Path, ask: Ask, read: Callable[[Mapping[str, Any], str], Preprocessing]
) -> Preprocessing:
    if ask.preprocessing is not None:
        return ask.preprocessing
    processor = directory / image_processor.NAME
    if not processor.is_file():
        raise ModelError(
            f"{processor} does not exist, so nothing says how images are prepared",
            f"copy it there, or {image_processor.SAY_IT}",
        )
    return read(read_json(processor), str(processor))


def _of_timm(directory: Path, config: Mapping[str, Any], state: Mapping[str, Tensor], ask: Ask) -> _Network:
    place = directory / CONFIG
    if ask.preprocessing is not None:
        ask.refuse_size("--preprocess says it")
    module, classifier = timm.network(config, state, place)
    preprocessing = ask.preprocessing or timm.preprocessing_of(config, ask.size, place)
    reference, library = module, "torch"
    if not timm.is_plain(config, place):
        library = "timm"  # which has made it
    elif is_installed("timm"):
        reference, library = timm.reference(config, state, place), "timm"
    labels, assumed = timm.labels_of(config)
    return _Network(
        source="timm",
        architecture=timm.architecture(config, place),
        module=module,
        classifier=classifier,
        preprocessing=preprocessing,
        run=in_torch(reference, classifier, preprocessing.network_input),
        runs_in=f"{library} {metadata.version(library)}",
        labels=labels,
        licence=timm.licence_of(config),
        assumed=assumed,
    )


def _labels(found: _Network) -> tuple[list[str], tuple[str, ...]]:
    """Return one label for each class, and what had to be assumed for that."""
    if found.classifier is None:
        return [], ()
    count = len(found.module.get_submodule(found.classifier).weight)  # type: ignore[arg-type]
    return _labelled(found.labels, count)


def _labelled(labels: list[str] | None, count: int) -> tuple[list[str], tuple[str, ...]]:
    if labels is None:
        return [f"class {index}" for index in range(count)], (UNNAMED,)
    if len(labels) != count:
        raise ModelError(
            f"{CONFIG} names {len(labels)} classes, but the weights have {count}",
            "check that both files are of the same network",
        )
    return labels, ()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds names and values; ModelError if it is anything else."""
    if path.exists() and not path.is_file():  # such as a pipe, on which everybody would wait
        raise ModelError(f"{path} is not a file", "copy or download it again")
    try:
        if path.stat().st_size > _LARGEST:
            raise ModelError(
                f"{path} is too large for what it should be: over {_LARGEST >> 20} MB",
                "copy or download it again",
            )
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror}",
            "give a directory as save_pretrained of transformers, or save_for_hf of timm, writes it",
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON: {error}", "copy or download it again") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path}: expected names and values", "copy or download it again")
    return found


def licence_of_card(path: Path) -> str | None:
    """Return the licence that a model card names in its YAML header; None if it names none."""
    if not path.is_file():
        return None
    head = re.match(r"---\s*\n(.*?)\n---", path.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    found = re.search(r"^license:\s*(\S.*?)\s*$", head[1], re.MULTILINE) if head else None
    return found[1].strip("'\"") if found else None


def _depth(architecture: str) -> int | None:
    found = re.fullmatch(r"(?i)resnet-?(\d+)", architecture)
    return int(found[1]) if found and int(found[1]) in DEPTHS else None


def is_installed(library: str) -> bool:
    """Tell whether a library is there, without importing it."""
    try:
        metadata.version(library)
    except metadata.PackageNotFoundError:
        return False
    return True
