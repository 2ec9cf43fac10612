"""What the scripts in this package have in common: arguments, batches of images, a Parquet file of logits.

A thread for each core decodes with Pillow and applies torchvision's Resize(256), CenterCrop(224) and
normalisation, while the main thread runs the network.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
CORES = os.cpu_count() or 1
Batch = NDArray[np.float32]


class Script:
    """A script called with IMAGE_DIR MODEL.onnx OUT.parquet [BATCH].

    Attributes:
        files: the JPEGs of the folder.
        model: the ONNX file.
        out: where the rows go.
        batch: images in a batch.
    """

    def __init__(self) -> None:
        folder, model, self.out, *batch = sys.argv[1:]
        self.files = sorted(Path(folder).glob("*.jpg"))
        self.model = Path(model)
        self.batch = int(batch[0]) if batch else 16
        self._started = 0.0

    @property
    def depth(self) -> int:
        """The number in the model's name, such as 50."""
        return int("".join(filter(str.isdigit, self.model.stem)))

    def start(self) -> None:
        """Start the clock: the model is loaded."""
        self._started = time.perf_counter()

    def batches(self) -> Iterator[Batch]:
        """Yield float32 batches, shape (n, 3, 224, 224), normalised, RGB."""
        with ThreadPoolExecutor(CORES) as threads:
            waiting: list[Batch] = []
            for image in threads.map(tensor, self.files):
                waiting.append(image)
                if len(waiting) == self.batch:
                    yield np.stack(waiting)
                    waiting = []
            if waiting:
                yield np.stack(waiting)

    def write(self, results: list[NDArray[Any]]) -> None:
        """Write one row an image: its path, and its row of `results`, float32."""
        logits = np.ascontiguousarray(np.concatenate(results), np.float32)
        column = pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), logits.shape[1])
        pq.write_table(pa.table({"path": [str(file) for file in self.files], "logits": column}), self.out)

    def stop(self) -> None:
        """Stop the clock, and print one line of JSON: images and seconds."""
        seconds = time.perf_counter() - self._started
        print(json.dumps({"images": len(self.files), "seconds": seconds}))


def tensor(path: Path | str) -> Batch:
    """Return one image as float32, shape (3, 224, 224)."""
    image = Image.open(path).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 255
    normalised = ((pixels - MEAN) / STD).astype(np.float32)
    return normalised.transpose(2, 0, 1)
