"""What a job's network computes in, where its engine has the device and the precision at all."""

from __future__ import annotations

from resnet_pipe.infer import engine as engines
from resnet_pipe.infer import saturation
from resnet_pipe.infer.section import InferSection
from resnet_pipe.job.syntax import Place
from resnet_pipe.model.network import Network


def precision_of(infer: InferSection, network: Network, problems: list[tuple[Place, str]]) -> str:
    """Return the precision that a network will compute in; add to the problems what its engine does not have.

    The section's engine is not `auto` (any more). A `MissingExtraError` says that its library is not there.
    """

    def refuse(key: str, problem: str) -> None:
        problems.append((("infer", key), problem))

    engine, precision = infer.engine, infer.precision
    devices = engines.devices(engine)
    kind = infer.first_device.partition(":")[0]
    if kind not in (*devices, "auto"):
        able = ", ".join(devices)
        refuse("device", f"engine {engine} does not support device {infer.devices[0]}; it supports: {able}")
        return precision
    had = engines.precisions(devices, infer.first_device)
    where = "" if kind == "auto" else f" on {kind}"
    if network.quantized:
        if precision not in ("auto", "int8"):
            refuse("precision", f"{precision}, but the model computes in int8")
        elif "int8" not in had:
            able = ", ".join(name for name in engines.ENGINES if engines.description(name).int8)
            refuse("engine", f"engine {engine} cannot run an int8 model{where}; these can: {able}")
        elif saturated := saturation.problem(engine, network):
            refuse("model", f"{saturated}; {saturation.REMEDY}")
        return "int8"
    if precision == "int8":
        remedy = "make one with `resnet-pipe convert --quantize`"
        refuse("precision", f"the model does not compute in int8; {remedy}")
    elif precision not in ("auto", *had):
        able = ", ".join(had)
        refuse("precision", f"engine {engine} does not support {precision}{where} here; it supports: {able}")
    return had[0] if precision == "auto" else precision
