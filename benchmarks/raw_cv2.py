"""The rate of cv2.dnn alone: net.forward on a ready batch, with all cores, and nothing else.

usage: python -m benchmarks.raw_cv2 MODEL.onnx [BATCH] [BATCHES]

Prints one line of JSON: images and seconds after one warm-up batch.
"""

from __future__ import annotations

import json
import sys
import time

import cv2
import numpy as np


def main(model: str, size: int, count: int) -> None:
    """Time `count` forward passes of `size` images."""
    net = cv2.dnn.readNetFromONNX(model)
    names = net.getUnconnectedOutLayersNames()
    net.setInput(np.random.default_rng(0).normal(size=(size, 3, 224, 224)).astype(np.float32))
    net.forward(names)
    started = time.perf_counter()
    for _ in range(count):
        net.forward(names)
    print(json.dumps({"images": size * count, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    arguments = [int(text) for text in sys.argv[2:]]
    main(sys.argv[1], arguments[0] if arguments else 16, arguments[1] if arguments[1:] else 38)
