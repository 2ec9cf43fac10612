"""What a user would write by hand instead: a folder of JPEGs -> a pipeline of Hugging Face -> Parquet.

usage: python -m benchmarks.peers.hf IMAGE_DIR MODEL.onnx OUT.parquet [BATCH]

Only the depth in the name of the model counts, the weights are random. Prints one line of JSON: images and
seconds after the model is loaded.
"""

from __future__ import annotations

import numpy as np
from benchmarks.peers.script import Script
from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification, pipeline

BLOCKS = {
    18: [2, 2, 2, 2],
    34: [3, 4, 6, 3],
    50: [3, 4, 6, 3],
    101: [3, 4, 23, 3],
    152: [3, 8, 36, 3],
}
WIDTHS = [64, 128, 256, 512]


def main() -> None:
    """Run the network over a folder and write the five best scores of each image."""
    script = Script()
    basic = script.depth < 50
    config = ResNetConfig(
        depths=BLOCKS[script.depth],
        layer_type="basic" if basic else "bottleneck",
        hidden_sizes=WIDTHS if basic else [4 * width for width in WIDTHS],
        num_labels=1000,
    )
    classify = pipeline(
        "image-classification",
        model=ResNetForImageClassification(config).eval(),
        image_processor=ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875),
        device="cpu",
        batch_size=script.batch,
    )
    script.start()
    answers = classify([str(file) for file in script.files], top_k=5)
    script.write([np.array([[label["score"] for label in answer]]) for answer in answers])
    script.stop()


if __name__ == "__main__":
    main()
