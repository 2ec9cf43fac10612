"""What a user would write by hand: torchvision's Faster R-CNN as one graph in ONNX Runtime -> Parquet.

usage: python -m benchmarks.peers.ort_boxes IMAGE_DIR MODEL.onnx OUT.parquet

Exported with the older exporter, the one that can; one image after the other, on all cores. The weights are
random. Prints one line of JSON: images and seconds after the model is loaded.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from benchmarks.peers.script import Script
from PIL import Image
from torchvision.models import get_model


def main() -> None:
    """Run the script."""
    script = Script()
    model = get_model(script.model.stem, weights=None, weights_backbone=None).eval()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = Path(folder) / "whole.onnx"
        torch.onnx.export(
            model,
            ([torch.rand(3, 375, 500)],),
            whole,
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=["boxes", "labels", "scores"],
            dynamic_axes={"image": {1: "height", 2: "width"}},
        )
        session = onnxruntime.InferenceSession(whole, providers=["CPUExecutionProvider"])
    find(session, script.files[0])
    script.start()
    found = [find(session, file) for file in script.files]
    columns = {name: [one[name].tolist() for one in found] for name in found[0]}
    pq.write_table(pa.table({"path": [str(file) for file in script.files], **columns}), script.out)
    script.stop()


def find(session: Any, file: Path) -> dict[str, Any]:  # noqa: ANN401 - an InferenceSession
    """Return the boxes of an image, their labels and scores."""
    image = np.asarray(Image.open(file).convert("RGB"), np.float32).transpose(2, 0, 1) / 255
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": image}), strict=True))


if __name__ == "__main__":
    main()
