"""Make an int8 model of a converted one: calibrate, quantise, measure on images not used for that, write."""

from __future__ import annotations

import errno
import hashlib
import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.convert.calibration import CalibrationFiles, CalibrationImages
from resnet_pipe.convert.conversion import (
    Conversion,
    alone,
    convert,
    refuse_other,
    unchanged,
    unwritable,
    versions_of,
    write,
)
from resnet_pipe.convert.sources.directory import Ask
from resnet_pipe.errors import ModelError, UsageError
from resnet_pipe.head.classify import FEATURES, LOGITS
from resnet_pipe.infer.batches import Normalizer
from resnet_pipe.infer.engine import EngineRequest, load
from resnet_pipe.machine.limits import available_cores
from resnet_pipe.machine.silence import silenced
from resnet_pipe.model.model import INT8_SUFFIX, Quantization, Sidecar
from resnet_pipe.model.network import inspect
from resnet_pipe.preprocess.preprocessing import Preprocessing
from resnet_pipe.store.digest import file_sha256
from resnet_pipe.study.agreement import Agreement, compare

METHOD = (
    "ONNX Runtime quantize_static, QDQ, percentile 99.999; weights int8 per channel, of 7 bits if that is"
    " close enough, else of 8; activations uint8; measured without int8 arithmetic"
)
"""Measured with random weights, smallest cosine similarity of the features of held-out images, for ResNet-18,
50 and 152: min-max calibration 0.9992, 0.9936, 0.9892; percentile 99.999 0.9993, 0.9966, 0.9913; percentile
99.99 0.9983, 0.9973, 0.9926, but up to three times the largest relative error, because it cuts off what few
images have. Signed activations leave half of their range unused behind a ReLU: ResNet-50 0.9826 instead of
0.9931, both with min-max, and 1.2 times the time in OpenVINO.

What weights of 7 and of 8 bits give, where sums saturate and where they do not: docs/engines.md.
"""
Bits = Literal[7, 8]
BITS: tuple[Bits, ...] = (7, 8)
"""Of the weights, in the order they are tried."""
_PERCENTILE = 99.999
_BATCH = 8
_STRIDE = 4
"""Images whose activations are in memory at the same time: 200 MB each for ResNet-152."""


def convert_int8(
    spec: str,
    calibration: Path,
    *,
    weights: str | None = None,
    ask: Ask | None = None,
    name: str | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> Conversion:
    """Convert a network to ONNX, unless that is done, and write a calibrated int8 model beside it.

    The arguments and what comes back are those of `convert`, but for the int8 model; `calibration` is a
    directory with images like those that the network will see.

    Raises:
        MissingExtraError: the extra `onnxruntime` or `convert` is not installed.
        UsageError: there are too few images, an int8 model of this name is another network, or the network
            takes a fixed number of images at a time.
        ModelError: what `convert` raises; or int8 changes the results too much. No int8 file is left.
    """
    versions = versions_of("onnxruntime", "onnx", extra="onnxruntime", purpose="Quantising a model")
    files = CalibrationFiles.choose(calibration)
    source = convert(spec, weights=weights, ask=ask, name=name, out=out, say=say, singly=True)
    if source.sidecar.preprocessing.varies:
        raise UsageError(
            f"{source.path} takes images of any size (fit: shortest), for which there is no int8 yet",
            "run it as it is, or convert it with another fit",
        )
    target = source.path.with_name(f"{source.path.stem}{INT8_SUFFIX}.onnx")

    def make(temporary: Path) -> Sidecar:
        images = files.read(source.sidecar.preprocessing)
        if images.skipped:
            key, reason = images.skipped[0]
            say(f"skipped {len(images.skipped)} images that cannot be read, such as {key}: {reason}")
        measured = _quantize_closely(source, images, temporary, say)
        changes = {
            "name": target.stem,
            "file_bytes": temporary.stat().st_size,
            "onnx_sha256": file_sha256(temporary),
            "recipe_sha256": digest,
            "versions": {**source.sidecar.versions, **versions},
            "quantization": measured,
        }
        return source.sidecar.model_copy(update=changes)

    try:
        digest = _digest(source.sidecar, files, versions)
        before = unchanged(target, digest)
        if before is not None:
            return Conversion(target, before, changed=False)
        with alone(target.parent):
            refuse_other(target, source.sidecar)
            return Conversion(target, write(target, make), changed=True)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise unwritable(target, error) from error
        raise ModelError(
            f"cannot make {target}: {error.filename or ''} {error.strerror or error}",
            "free some space there, or use another directory with --out; check that the images can be read",
        ) from error


def _quantize_closely(
    source: Conversion, images: CalibrationImages, target: Path, say: Callable[[str], None]
) -> Quantization:
    """Quantise with weights of 7 bits, which run right everywhere, or else of 8, if one is close enough."""
    preprocessing = source.sidecar.preprocessing
    names = (FEATURES, *([LOGITS] if source.sidecar.classes else []))
    before = _execute(source.path, names, preprocessing, images.held_out)
    for bits in BITS:
        _quantize(source, images.calibration, target, bits, say)
        after = _execute(target, names, preprocessing, images.held_out)
        agreement = compare(after, before, FEATURES, LOGITS if source.sidecar.classes else None)
        say(f"{bits}-bit weights: {_words(agreement)} on {len(images.held_out)} other images")
        if agreement.passes("int8"):
            return Quantization(
                source_sha256=source.sidecar.onnx_sha256,
                method=METHOD,
                calibrated=len(images.calibration),
                held_out=len(images.held_out),
                skipped=len(images.skipped),
                weight_bits=bits,
                **agreement.figures,
            )
    raise ModelError(
        f"int8 changes the results of {source.path} too much: {agreement.problem('int8', 'float32')}",
        "calibrate with more images like those the network will see; no file was written",
    )


def _quantize(
    source: Conversion, images: NDArray[np.uint8], target: Path, bits: Bits, say: Callable[[str], None]
) -> None:
    from onnxruntime import quantization

    say(f"calibrating with {len(images)} images ...")
    with silenced(), redirect_stdout(io.StringIO()):
        quantization.quantize_static(
            source.path,
            target,
            _Reader(images, source.sidecar.preprocessing),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=bits == 7,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.Percentile,
            # The stride is named after another method, and is for all of them.
            extra_options={"CalibPercentile": _PERCENTILE, "CalibStridedMinMax": _STRIDE},
        )


class _Reader:
    """Gives images to the calibrator, one after the other; a CalibrationDataReader of ONNX Runtime.

    It wants a multiple of the stride, and so does not see the last few images.
    """

    def __init__(self, images: NDArray[np.uint8], preprocessing: Preprocessing) -> None:
        self._images = images[: len(images) // _STRIDE * _STRIDE]
        self._preprocessing = preprocessing
        self._places = iter(range(0))

    def __len__(self) -> int:
        return len(self._images)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._places = iter(range(start_index, end_index))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        place = next(self._places, None)
        if place is None:
            return None
        normalizer = Normalizer(self._preprocessing.network_input, 1)
        return {"input": normalizer.fill(self._images[place : place + 1])}


def _execute(
    model: Path, names: tuple[str, ...], preprocessing: Preprocessing, images: NDArray[np.uint8]
) -> dict[str, NDArray[np.float32]]:
    """Return a model's outputs, its roundings executed as they stand and its products in float32.

    What comes out is decided by the model, and not by what this processor does with int8.
    """
    size = inspect(model).batch_size or min(_BATCH, len(images))
    request = EngineRequest(
        model=model,
        preprocessing=preprocessing.network_input,
        outputs=names,
        batch_size=size,
        device="cpu",
        precision="fp32",
        threads=available_cores(),
        streams=1,
        as_written=True,
    )
    engine = load("onnxruntime", request)
    batches = [engine.infer(images[start : start + size]) for start in range(0, len(images), size)]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in names}


def _words(agreement: Agreement) -> str:
    text = (
        f"cosine similarity with float32 {agreement.cosine_min:.5f} or better, {agreement.cosine_mean:.5f} on"
        f" average; largest relative error {agreement.max_relative_error:.3f}"
    )
    if agreement.top1 is None:  # it has no classes
        return text
    return f"{text}; top-1 agreement {agreement.top1:.1%}, top-5 {agreement.top5:.1%}"


def _digest(source: Sidecar, files: CalibrationFiles, versions: dict[str, str]) -> str:
    """Return a hash of all that decides the result."""
    parts: list[Any] = [source.onnx_sha256, source.recipe_sha256, METHOD, files.digest(), versions]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
