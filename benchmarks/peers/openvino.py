"""What a user would write by hand instead: a folder of JPEGs -> OpenVINO, one request at a time -> Parquet.

usage: python -m benchmarks.peers.openvino IMAGE_DIR MODEL.onnx OUT.parquet [BATCH]

Prints one line of JSON: images and seconds after the model is loaded.
"""

from __future__ import annotations

import openvino
from benchmarks.peers.script import Script


def main() -> None:
    """Run the network over a folder and write its first output."""
    script = Script()
    network = openvino.Core().compile_model(str(script.model), "CPU")
    script.start()
    script.write([network(batch)[0].copy() for batch in script.batches()])
    script.stop()


if __name__ == "__main__":
    main()
