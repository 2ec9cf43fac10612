"""What a network should give: its outputs in float32, from an engine that trains or defines such networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import ModelError, UsageError
from resnet_pipe.infer.engine import ENGINES, EngineInfo
from resnet_pipe.infer.probe import Probe, Refusal, RefusedError, Work
from resnet_pipe.study.subject import Subject

REFERENCES = ("torch", "onnxruntime")
"""Engines that give the reference, the first that can."""


@dataclass(frozen=True)
class Reference:
    """What everything else is compared with: finite outputs by name, float32, shape (n, width).

    `what` is the network that was executed, where that is not the model itself; else empty.
    """

    info: EngineInfo
    what: str
    outputs: dict[str, NDArray[np.float32]]

    def describe(self) -> str:
        """Return one phrase for people."""
        which = self.what and f", {self.what}"
        return f"{self.info.name} {self.info.version} in {self.info.precision}{which}"


def compute(subject: Subject, items: NDArray[np.uint8], names: Sequence[str] = REFERENCES) -> Reference:
    """Execute a network in float32 on the CPU, in the first engine of `names` that can.

    For an int8 model, that is the float32 model it was made from, if that is still beside it; otherwise the
    int8 model itself, with its rounding, but without int8 arithmetic. Items: uint8, shape (n, H, W, 3), RGB,
    n at least 1.

    Raises:
        UsageError: none of these engines is installed.
        ModelError: none can run the model, or what it gives is not finite.
    """
    what = ""
    if subject.network.quantized:
        what = "the int8 model itself, computed without int8"
        if source := subject.source():
            subject, what = source, f"{source.model.name}, which it was made from"
    refusals: dict[str, Refusal] = {}
    for name in ("onnxruntime",) if subject.network.quantized else names:
        try:
            with Probe(ENGINES[name]) as probe:
                size = subject.network.batch_size or probe.abilities("cpu").batch_size
                request = subject.request(size, "cpu", "fp32")
                if subject.network.quantized:
                    request = replace(request, streams=1, as_written=True)
                result = probe.result(Work(request, items))
        except RefusedError as error:
            refusals[name] = error.refusal
            continue
        if not all(np.isfinite(values).all() for values in result.outputs.values()):
            raise ModelError(f"{subject.model.path}: an output is not finite in float32", "convert it again")
        return Reference(result.info, what, result.outputs)
    reasons = "".join(f"\n  {name}: {refusal.reason}" for name, refusal in refusals.items())
    if all(refusal.status == "not installed" for refusal in refusals.values()):
        raise UsageError(
            f"no installed engine gives the float32 reference to compare with:{reasons}",
            " or ".join(f"pip install 'resnet-pipe[{name}]'" for name in refusals),
        )
    raise ModelError(f"no engine gives the float32 reference for {subject.model.path}:{reasons}")
