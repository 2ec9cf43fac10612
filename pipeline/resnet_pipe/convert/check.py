"""Does the ONNX file give what the original gives? Asked of every installed engine, on photographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.convert.original import Original, Outputs
from resnet_pipe.errors import ModelError
from resnet_pipe.head.output_choice import of_network
from resnet_pipe.infer.engine import DEFAULT, ENGINES, EngineRequest, precisions
from resnet_pipe.infer.probe import Probe, RefusedError, Work
from resnet_pipe.machine.limits import available_cores
from resnet_pipe.model.network import inspect
from resnet_pipe.preprocess.network_input import NetworkInput, Pixels
from resnet_pipe.study.agreement import compare

TOLERANCE = 1e-4
"""Largest relative difference that float32 arithmetic in another order explains."""
HALF_TOLERANCE = 5e-3
"""The same where the original computes in half precision: 11 bits, over 50 layers."""
_BATCH = 4
"""Images in a forward pass: more than one, because some engines are wrong from two on with some graphs."""
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
    expected, wanted = original.run(images), original.preprocessing.network_input
    if not all(np.isfinite(values).all() for values in expected.values()):
        raise ModelError("the original itself gives values that are not finite", "check its weights")
    tolerance = HALF_TOLERANCE if original.half else TOLERANCE
    same: dict[str, float] = {}
    others: dict[str, str] = {}
    for name in ENGINES:
        try:
            count = len(images) if name == DEFAULT else _FEW
            found = _outputs(name, path, wanted, images[:count])
        except RefusedError as error:
            if error.refusal.status != "not installed":
                others[name] = error.refusal.reason.replace(str(path), "the model")
            continue
        difference = _largest(found, {output: values[:count] for output, values in expected.items()})
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


def _outputs(name: str, path: Path, wanted: NetworkInput, images: Pixels) -> Outputs:
    network = inspect(path)
    with Probe(ENGINES[name]) as probe:
        abilities = probe.abilities("cpu")
        if "fp32" not in precisions(abilities.devices, "cpu"):
            return {}
        request = EngineRequest(
            model=path,
            preprocessing=wanted,
            outputs=of_network(network).names,
            batch_size=network.batch_size or min(_BATCH, len(images)),
            device="cpu",
            precision="fp32",
            threads=available_cores(),
        )
        return probe.result(Work(request, images)).outputs


def _largest(found: Mapping[str, NDArray[np.float32]], expected: Outputs) -> float:
    shared = {name: values for name, values in expected.items() if name in found}
    if not shared or any(found[name].shape != values.shape for name, values in shared.items()):
        return float("nan")
    return compare(found, shared, next(iter(shared)), None).max_relative_error
