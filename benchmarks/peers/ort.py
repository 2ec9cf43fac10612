"""What a user would write by hand instead: a folder of JPEGs -> ONNX Runtime -> Parquet.

usage: python -m benchmarks.peers.ort IMAGE_DIR MODEL.onnx OUT.parquet [BATCH]

Prints one line of JSON: images and seconds after the model is loaded.
"""

from __future__ import annotations

import onnxruntime
from benchmarks.peers.script import Script


def main() -> None:
    """Run the network over a folder and write its first output."""
    script = Script()
    session = onnxruntime.InferenceSession(str(script.model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    script.start()
    script.write([session.run(None, {name: batch})[0] for batch in script.batches()])
    script.stop()


if __name__ == "__main__":
    main()
