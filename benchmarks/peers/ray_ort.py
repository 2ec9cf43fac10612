"""What a user would write by hand instead: a folder of JPEGs -> Ray Data and ONNX Runtime -> Parquet.

usage: python -m benchmarks.peers.ray_ort IMAGE_DIR MODEL.onnx OUT.parquet [BATCH]

One actor runs the network; the clock starts before it loads it. Prints one line of JSON: images and seconds
after the model is loaded.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import ray
from benchmarks.peers.script import CORES, Script, tensor

Table = dict[str, Any]


class Infer:
    """The network, in an actor."""

    def __init__(self, model: str) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, table: Table) -> Table:
        """Return the first output for a batch."""
        return {"path": table["path"], "logits": self._session.run(None, {self._input: table["image"]})[0]}


def load(table: Table) -> Table:
    """Return the images of a batch of paths."""
    return {"path": table["path"], "image": np.stack([tensor(path) for path in table["path"]])}


def main() -> None:
    """Run the network over a folder and write its first output."""
    script = Script()
    ray.init(num_cpus=CORES, log_to_driver=False, logging_level=logging.ERROR)
    script.start()
    paths = [{"path": str(file)} for file in script.files]
    blocks = max(CORES, len(paths) // 64)
    (
        ray.data.from_items(paths, override_num_blocks=blocks)
        .map_batches(load, batch_size=script.batch)
        .map_batches(
            Infer,
            fn_constructor_args=(str(script.model),),
            batch_size=script.batch,
            compute=ray.data.ActorPoolStrategy(size=1),
        )
        .write_parquet(f"{script.out}.ray")
    )
    script.stop()


if __name__ == "__main__":
    main()
