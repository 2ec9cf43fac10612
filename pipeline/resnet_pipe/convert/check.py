"""Does the ONNX file give what the original gives? Asked of every installed engine, on photographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.convert import queries
from resnet_pipe.convert.original import Original, Outputs, SecondNetwork
from resnet_pipe.convert.photographs import ANY_SIZE
from resnet_pipe.errors import ModelError
from resnet_pipe.head.classify import FEATURES
from resnet_pipe.head.output_choice import of_network
from resnet_pipe.infer.engine import DEFAULT, ENGINES, EngineRequest, precisions
from resnet_pipe.infer.probe import Probe, RefusedError, Work
from resnet_pipe.infer.second import second_request
from resnet_pipe.machine.limits import available_cores
from resnet_pipe.model.detection import Detection
from resnet_pipe.model.network import inspect
from resnet_pipe.preprocess.network_input import NetworkInput, Pixels
from resnet_pipe.study.agreement import compare

TOLERANCE = 1e-4
"""Largest relative difference that float32 arithmetic in another order explains."""
HALF_TOLERANCE = 5e-3
"""The same where the original computes in half precision: 11 bits, over 50 layers."""
_BATCH = 4
"""Images in a forward pass: more than one, because some engines are wrong from two on with some graphs."""
_PARTS = 8
"""For a second network."""
_FEW = 2
"""Images for engines other than the default one: some take seconds for each."""


def differences(
    path: Path,
    original: Original,
    images: Pixels,
    say: Callable[[str], None],
) -> dict[str, float]:
    """Return, by engine, the largest relative difference between an ONNX file and its original.

    For each output: the largest absolute difference, divided by the largest absolute value expected. Engines
    compute in float32 on the CPU, each in its own process. Those that are not installed, cannot run the file,
    or differ by more than the tolerance are not in the result; the user is told of the last two. The images
    are uint8, shape (n, H, W, 3), RGB.

    Raises:
        ModelError: no engine gives the same.
    """
    expected = original.run(images)
    wanted = original.preprocessing.at_one_size(ANY_SIZE).network_input
    parts, of_parts = None, Outputs()
    if original.second is not None:
        parts = _parts(original.second)
        of_parts = original.second.run(parts)
    if not all(np.isfinite(values).all() for values in (*expected.values(), *of_parts.values())):
        raise ModelError("the original itself gives values that are not finite", "check its weights")
    tolerance = _tolerance(original)
    same: dict[str, float] = {}
    others: dict[str, str] = {}
    for name in ENGINES:
        try:
            count = len(images) if name == DEFAULT else _FEW
            found = _outputs(name, path, wanted, images[:count], parts, original.detection is not None)
        except RefusedError as error:
            if error.refusal.status != "not installed":
                others[name] = error.refusal.reason.replace(str(path), "the model")
            continue
        of_images = {output: values[:count] for output, values in expected.items()}
        difference = _largest(found, of_images | of_parts, original.detection)
        if difference <= tolerance:
            same[name] = difference
        else:  # also if it is not a number
            others[name] = f"its results differ by {difference:.1e} (at most {tolerance:.0e})"
    if not same:
        told = "".join(f"\n  {name}: {reason}" for name, reason in others.items())
        raise ModelError(
            f"no engine gives what the original gives:{told}",
            "no file was written; report this with the versions of the libraries",
        )
    for name, reason in others.items():
        say(f"NOTE: do not use this model with {name}: {reason}")
    return same


def _outputs(
    name: str,
    path: Path,
    wanted: NetworkInput,
    images: Pixels,
    parts: NDArray[np.float32] | None,
    finds_objects: bool,
) -> Outputs:
    network = inspect(path)
    names = of_network(network).names if not finds_objects else tuple(one.name for one in network.of_images)
    with Probe(ENGINES[name]) as probe:
        abilities = probe.abilities("cpu")
        if "fp32" not in precisions(abilities.devices, "cpu"):
            return {}
        request = EngineRequest(
            model=path,
            preprocessing=wanted,
            outputs=names,
            batch_size=network.batch_size or min(_BATCH, len(images)),
            device="cpu",
            precision="fp32",
            threads=available_cores(),
            extract=network.second is not None,
            rows=not finds_objects,
        )
        found = probe.result(Work(request, images)).outputs
    if (other := second_request(request, network)) is not None:
        with Probe(ENGINES[name]) as probe:
            probe.abilities("cpu")
            found |= probe.result(Work(other, parts)).outputs
    return found


def _parts(second: SecondNetwork) -> NDArray[np.float32]:
    """Return parts of an image as the second network may see them: values like those after a ReLU."""
    rng = np.random.default_rng(0)
    return np.maximum(rng.normal(size=(_PARTS, *second.shape)), 0).astype(np.float32)


def _tolerance(original: Original) -> float:
    if original.half:
        return HALF_TOLERANCE
    chosen = original.detection is not None and original.detection.kind == "rt_detr"
    return queries.TOLERANCE if chosen else TOLERANCE


def _largest(
    found: Mapping[str, NDArray[np.float32]], expected: Outputs, detection: Detection | None
) -> float:
    shared = {name: values for name, values in expected.items() if name in found}
    if not shared or any(found[name].shape != values.shape for name, values in shared.items()):
        return float("nan")
    if detection is None:
        return compare(found, shared, next(iter(shared)), None).max_relative_error
    features = {name: values for name, values in shared.items() if name == FEATURES}
    apart = compare(found, features, FEATURES, None).max_relative_error if features else 0.0
    if detection.kind in queries.KINDS:
        return float(np.maximum(apart, queries.difference(dict(found), expected, detection.kind)))
    maps = (_of_channels(found[name], values) for name, values in shared.items() if name != FEATURES)
    return float(np.max([apart, *maps]))  # nan if one is


def _of_channels(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference between outputs of shape (n, ...), relative to their channel.

    A channel, along the shorter one of the last two axes, has coordinates up to hundreds, or scores of at
    most 1: its largest absolute value is what a difference is divided by, or 1 if that is less.
    """
    if expected.ndim > 2:
        channels = min((-1, -2), key=lambda axis: expected.shape[axis])
        found, expected = (np.moveaxis(values, channels, 0) for values in (found, expected))
    found, expected = (values.reshape(len(values), -1) for values in (found, expected))
    difference = np.abs(found.astype(np.float64) - expected).max(axis=1)
    return float((difference / np.maximum(1, np.abs(expected).max(axis=1))).max())
