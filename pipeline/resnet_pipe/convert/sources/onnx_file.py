"""An ONNX file that somebody exported, with what lies beside it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from math import prod
from pathlib import Path

import numpy as np
import onnx

from resnet_pipe.convert import graph
from resnet_pipe.convert.original import Original, Outputs, Run
from resnet_pipe.convert.photographs import ANY_SIZE
from resnet_pipe.convert.simplify import simplified
from resnet_pipe.convert.sources import hugging_face, image_processor, steps, timm, yolo
from resnet_pipe.convert.sources.directory import (
    CARD,
    CONFIG,
    UNNAMED,
    Ask,
    is_installed,
    licence_of_card,
    read_json,
)
from resnet_pipe.errors import MissingExtraError, ModelError
from resnet_pipe.head.classify import FEATURES, LOGITS
from resnet_pipe.infer.engine import ENGINES, EngineRequest
from resnet_pipe.infer.probe import Probe, RefusedError, Work
from resnet_pipe.machine.limits import available_cores
from resnet_pipe.model.detection import usual
from resnet_pipe.model.model import Weights
from resnet_pipe.model.network import Network, inspect
from resnet_pipe.preprocess.network_input import Pixels
from resnet_pipe.preprocess.preprocessing import Preprocessing, told
from resnet_pipe.store.digest import file_sha256

_RUNS = ("onnxruntime", "torch")
"""Engines that say what the file itself gives, the first that can."""


def beside(path: Path) -> list[Path]:
    """Return the files beside an ONNX file that say something about it."""
    names = (CONFIG, image_processor.NAME, steps.NAME)
    card = path.with_name(CARD)  # which is of something else, unless it names the licence of a model
    return [
        *(file for file in map(path.with_name, names) if file.is_file()),
        *([card] if licence_of_card(card) else []),
    ]


def original(path: Path, ask: Ask) -> Original:
    """Read an ONNX file, and what says how its images are prepared and what its classes are called.

    Raises:
        ModelError: it is no network for images, or nothing says how they are prepared.
    """
    network = inspect(path)
    if network.quantized:
        raise ModelError(
            f"{path} computes in int8, and is not changed", "run it as it is: set `preprocess` in the job"
        )
    if ask.preprocessing is not None:
        ask.refuse_size("--preprocess says it")
    proto = onnx.load(path)
    if yolo.may_be(proto):
        return _finding_boxes(path, network, proto, ask)
    preprocessing = ask.preprocessing or _preprocessing(path, ask)
    _refuse_other_size(path, network, preprocessing)
    if preprocessing.varies and any(network.sides):
        size = " x ".join(str(side or "any") for side in network.sides)
        raise ModelError(
            f"{path}: its input is {size}, and fit: shortest makes images of many sizes",
            "export it with a dynamic height and width, or give another fit",
        )
    half = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in proto.graph.initializer)
    cleaned, names = graph.clean(proto)
    weights = Weights(kind="checkpoint", name=path.name, sha256=file_sha256(path), requested=ask.spec)
    classes, assumed = _labels(path, graph.width(cleaned, LOGITS))
    run, runs_in = _run(path, network, preprocessing, names, rows=True)
    return Original(
        source="onnx",
        architecture=path.stem,
        depth=None,
        preprocessing=preprocessing,
        weights=weights,
        classes=classes,
        params=sum(prod(tensor.dims) for tensor in cleaned.graph.initializer),
        graph=cleaned,
        run=run,
        runs_in=runs_in,
        half=half,
        licence=licence_of_card(path.with_name(CARD)),
        revision=ask.revision,
        files={file.name: file_sha256(file) for file in (*network.data, *beside(path))},
        assumed=assumed,
        notes=_dropped([one.name for one in network.outputs if one.name not in names]),
    )


def _finding_boxes(path: Path, network: Network, proto: onnx.ModelProto, ask: Ask) -> Original:
    """Read a YOLO; if it takes images of any size, it is made for one."""
    yolo.refuse_other_tasks(path, proto)
    preprocessing = ask.preprocessing
    assumed: tuple[str, ...] = ()
    if preprocessing is None:
        ask.refuse_size("a YOLO has one")
        size, assumed = yolo.size_of(path, proto, network.size)
        preprocessing = yolo.preprocessing_for(size)
    if preprocessing.varies:
        raise ModelError(f"{path}: a YOLO takes images of one size", "give a preprocessing with fit: pad")
    _refuse_other_size(path, network, preprocessing)
    run, runs_in = _run(
        path, network, preprocessing, {one.name: one.name for one in network.outputs}, rows=False
    )
    half = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in proto.graph.initializer)
    shape = yolo.shape_of(run(np.zeros((1, *preprocessing.size, 3), np.uint8)))
    kind = yolo.kind_of(path, proto, shape, preprocessing.size)
    classes, named = yolo.classes_of(path, proto, kind, shape)
    said = yolo.metadata_of(proto)
    return Original(
        source="onnx",
        architecture=said.get("description", path.stem)[:100],
        depth=None,
        preprocessing=preprocessing,
        weights=Weights(kind="checkpoint", name=path.name, sha256=file_sha256(path), requested=ask.spec),
        classes=classes,
        params=sum(prod(tensor.dims) for tensor in proto.graph.initializer),
        graph=simplified(proto if network.size else yolo.with_size(proto, preprocessing.size)),
        run=run,
        runs_in=runs_in,
        half=half,
        licence=said.get("license"),
        revision=ask.revision,
        files={file.name: file_sha256(file) for file in network.data},
        assumed=assumed if named else (*assumed, UNNAMED),
        detection=usual(kind),
    )


def _refuse_other_size(path: Path, network: Network, preprocessing: Preprocessing) -> None:
    """Raise a `ModelError` if images would not have the size of the input."""
    given, fits = preprocessing.size, network.size
    if fits not in (None, given):
        crop = told(fits[0] if fits[0] == fits[1] else fits)
        raise ModelError(
            f"{path}: its input is {fits[0]} x {fits[1]}, and images would be {given[0]} x {given[1]}",
            f"say how they are prepared: --preprocess '{{..., crop: {crop}, mean: [...], std: [...]}}'",
        )


def _dropped(names: list[str]) -> tuple[str, ...]:
    """Return a note on outputs that the model will not have."""
    if not names:
        return ()
    several, those = ("outputs", "are") if len(names) > 1 else ("output", "is")
    told = ", ".join(f"`{name}`" for name in names)
    text = f"the {several} {told} of the file {those} not kept: a model has `{LOGITS}` and `{FEATURES}`"
    return (f"{text}. To keep another one as the features, export it under that name",)


def _labels(path: Path, count: int | None) -> tuple[list[str], tuple[str, ...]]:
    """Return one label for each of the classes, from config.json beside the file, and what is assumed."""
    if count is None:
        return [], ()
    config = path.with_name(CONFIG)
    told = read_json(config) if config.is_file() else {}
    named = hugging_face.labels_of(told, config)
    named, assumed = (named, ()) if named else timm.labels_of(told)
    if named is None:
        return [f"class {index}" for index in range(count)], (UNNAMED,)
    if len(named) != count:
        raise ModelError(
            f"{config} names {len(named)} classes, but {path} has {count}",
            "remove the one that does not belong",
        )
    return named, assumed


def _preprocessing(path: Path, ask: Ask) -> Preprocessing:
    processor, listed, config = (path.with_name(name) for name in (image_processor.NAME, steps.NAME, CONFIG))
    if processor.is_file():
        ask.refuse_size(f"{processor.name} knows one size")
        return image_processor.preprocessing_of(read_json(processor), str(processor))
    if listed.is_file():
        return steps.preprocessing_of(read_json(listed), ask.size, listed)
    if config.is_file() and "pretrained_cfg" in (told := read_json(config)):
        return timm.preprocessing_of(told, ask.size, config)
    raise ModelError(
        f"nothing beside {path} says how its images are prepared: no {processor.name}, no {listed.name}, and"
        f" no {config.name} of timm",
        f"copy one there, or {image_processor.SAY_IT}",
    )


def _run(
    path: Path, network: Network, preprocessing: Preprocessing, names: Mapping[str, str], *, rows: bool
) -> tuple[Run, str]:
    """Return how the file itself is run, and in what; its outputs get the names of ours.

    They are `rows` of numbers, one for each image, or come in their own shape.
    """
    outputs = tuple(one.name for one in network.outputs if one.name in names)
    request = EngineRequest(
        model=path,
        preprocessing=preprocessing.at_one_size(ANY_SIZE).network_input,
        outputs=outputs,
        batch_size=network.batch_size or 1,
        device="cpu",
        precision="fp32",
        threads=available_cores(),
        rows=rows,
    )
    name = next((one for one in _RUNS if is_installed(one)), None)
    if name is None:
        raise MissingExtraError("onnxruntime", "onnxruntime", "Checking an ONNX file")

    def run(images: Pixels) -> Outputs:
        try:
            with Probe(ENGINES[name]) as probe:
                probe.abilities("cpu")
                found = probe.result(Work(request, images)).outputs
        except RefusedError as error:
            raise ModelError(f"{path}: {name} cannot run it: {error.refusal.reason}") from None
        return {names[output]: values for output, values in found.items()}

    return run, f"{name} {metadata.version(name)}"
