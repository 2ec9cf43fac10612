"""Int8 models that an engine would compute wrong on this processor, because its sums saturate at 16 bits."""

from __future__ import annotations

from resnet_pipe.infer import engine as engines
from resnet_pipe.machine import processor
from resnet_pipe.model.network import Network

REMEDY = (
    "convert the model again with `resnet-pipe convert --quantize`, which uses 7-bit weights if they are "
    "accurate enough; or use infer.engine: onnxruntime, which sums exactly"
)


def problem(engine: str, network: Network) -> str | None:
    """Return why an engine must not run an int8 model here; None if it may.

    What decides is in the weights, not in the sidecar, which an old model lacks and which anybody can write.
    """
    if not engines.description(engine).saturates or not network.full_range or not processor.saturates():
        return None
    return (
        f"the int8 model has 8-bit weights, and this processor has no VNNI: engine {engine} would add "
        "products in 16 bits, which saturates"
    )
