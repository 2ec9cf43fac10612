"""What a user would write by hand instead: a folder of JPEGs -> cv2.dnn -> Parquet.

usage: python -m benchmarks.peers.cv2 IMAGE_DIR MODEL.onnx OUT.parquet [BATCH]

Prints one line of JSON: images and seconds after the model is loaded.
"""

from __future__ import annotations

import cv2
from benchmarks.peers.script import Script


def main() -> None:
    """Run the network over a folder and write its first output."""
    script = Script()
    net = cv2.dnn.readNetFromONNX(str(script.model))
    script.start()
    results = []
    for batch in script.batches():
        net.setInput(batch)
        results.append(net.forward().copy())
    script.write(results)
    script.stop()


if __name__ == "__main__":
    main()
