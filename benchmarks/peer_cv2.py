"""What a user would write by hand instead: a folder of JPEGs -> cv2.dnn -> Parquet.

usage: python benchmarks/peer_cv2.py IMAGE_DIR MODEL.onnx OUT.parquet [BATCH]

Two threads decode with Pillow and apply torchvision's Resize(256), CenterCrop(224) and normalisation, while
the main thread runs the network. Prints one line of JSON: images and seconds after the model is loaded.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
Batch = NDArray[np.float32]


def tensor(path: Path) -> Batch:
    """Return one image as float32, shape (3, 224, 224)."""
    image = Image.open(path).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 255
    normalised = ((pixels - MEAN) / STD).astype(np.float32)
    return normalised.transpose(2, 0, 1)


def batches(files: list[Path], size: int) -> Iterator[Batch]:
    """Yield float32 batches of up to `size` images."""
    with ThreadPoolExecutor(2) as threads:
        waiting: list[Batch] = []
        for image in threads.map(tensor, files):
            waiting.append(image)
            if len(waiting) == size:
                yield np.stack(waiting)
                waiting = []
        if waiting:
            yield np.stack(waiting)


def main(folder: Path, model: Path, out: Path, size: int) -> None:
    """Run the network over a folder and write its first output."""
    files = sorted(folder.glob("*.jpg"))
    net = cv2.dnn.readNetFromONNX(str(model))
    started = time.perf_counter()
    results = []
    for batch in batches(files, size):
        net.setInput(batch)
        results.append(net.forward().copy())
    logits = np.ascontiguousarray(np.concatenate(results), np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), logits.shape[1])
    pq.write_table(pa.table({"path": [str(file) for file in files], "logits": column}), out)
    print(json.dumps({"images": len(files), "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) if sys.argv[4:] else 16)
