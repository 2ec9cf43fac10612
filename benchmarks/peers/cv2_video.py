"""What a user would write by hand instead: cv2.VideoCapture -> cv2.dnn -> Parquet, one frame a second.

usage: python -m benchmarks.peers.cv2_video VIDEO MODEL.onnx OUT.parquet [FRAMES_PER_SECOND]

Reads every frame, keeps those it wants (all, without FRAMES_PER_SECOND), and infers in batches of 16. Prints
one line of JSON: frames read, frames inferred, and seconds after the model is loaded.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
BATCH = 16


def tensor(frame: Any) -> NDArray[np.float32]:  # noqa: ANN401 - cv2's own type
    """Return a BGR frame as float32, shape (3, 224, 224)."""
    scale = 256 / min(frame.shape[:2])
    small = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), None, fx=scale, fy=scale)
    top, left = (small.shape[0] - 224) // 2, (small.shape[1] - 224) // 2
    pixels = small[top : top + 224, left : left + 224].astype(np.float32) / 255
    normalised: NDArray[np.float32] = ((pixels - MEAN) / STD).astype(np.float32)
    return normalised.transpose(2, 0, 1)


def main(video: str, model: str, out: str, rate: float | None) -> None:
    """Process one video."""
    net = cv2.dnn.readNetFromONNX(model)
    names = net.getUnconnectedOutLayersNames()
    net.setInput(np.zeros((BATCH, 3, 224, 224), np.float32))
    net.forward(names)
    started = time.perf_counter()
    capture = cv2.VideoCapture(video)
    step = max(1, round(capture.get(cv2.CAP_PROP_FPS) / rate)) if rate else 1
    frames, batch, logits = [], [], []
    read = 0
    while True:
        there, frame = capture.read()
        if there and read % step == 0:
            frames.append(read)
            batch.append(tensor(frame))
        if batch and (len(batch) == BATCH or not there):
            net.setInput(np.stack(batch))
            logits.append(net.forward("logits").copy())
            batch = []
        if not there:
            break
        read += 1
    values = np.concatenate(logits)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    pq.write_table(pa.table({"frame": frames, "logits": column}), out)
    seconds = time.perf_counter() - started
    print(json.dumps({"read": read, "images": len(frames), "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]) if sys.argv[4:] else None)
