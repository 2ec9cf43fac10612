"""What a job's network computes in, where its engine has the device and the precision at all."""

from __future__ import annotations

from resnet_pipe.infer import engine as engines
from resnet_pipe.infer import saturation
from resnet_pipe.infer.section import InferSection
from resnet_pipe.job.syntax import Place
from resnet_pipe.model.network import Network


def precision_of(infer: InferSection, network: Network, problems: list[tuple[Place, str]]) -> str:
    """Return the precision that a network will compute in; add to the problems what its engine does not have.

    The section's engine is not `auto` (any more).

    Raises:
        MissingExtraError: the engine's library is not installed.
    """
    devices = engines.devices(infer.engine)
    kind = infer.first_device.partition(":")[0]
    if kind not in (*devices, "auto"):
        able = ", ".join(devices)
        text = f"engine {infer.engine} does not support device {infer.devices[0]}; it supports: {able}"
        problems.append((("infer", "device"), text))
        return infer.precision
    had = engines.precisions(devices, infer.first_device)
    where = "" if kind == "auto" else f" on {kind}"
    if network.quantized:
        if infer.precision not in ("auto", "int8"):
            problems.append((("infer", "precision"), f"{infer.precision}, but the model computes in int8"))
        elif "int8" not in had:
            able = ", ".join(name for name in engines.ENGINES if engines.description(name).int8)
            text = f"engine {infer.engine} cannot run an int8 model{where}; these can: {able}"
            problems.append((("infer", "engine"), text))
        elif saturated := saturation.problem(infer.engine, network):
            problems.append((("infer", "model"), f"{saturated}; {saturation.REMEDY}"))
        return "int8"
    if infer.precision == "int8":
        remedy = "make one with `resnet-pipe convert --quantize`"
        problems.append((("infer", "precision"), f"the model does not compute in int8; {remedy}"))
    elif infer.precision != "auto" and infer.precision not in had:
        able = ", ".join(had)
        text = f"engine {infer.engine} does not support {infer.precision}{where} here; it supports: {able}"
        problems.append((("infer", "precision"), text))
    return had[0] if infer.precision == "auto" else infer.precision
