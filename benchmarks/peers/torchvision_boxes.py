"""What a user would write by hand instead: a folder of JPEGs -> torchvision's Faster R-CNN -> Parquet.

usage: python -m benchmarks.peers.torchvision_boxes IMAGE_DIR MODEL.onnx OUT.parquet

One image after the other, in float32, on all cores. The weights are random. Prints one line of JSON: images
and seconds after the model is loaded.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from benchmarks.peers.script import Script
from PIL import Image
from torchvision.models import get_model
from torchvision.transforms.functional import to_tensor


def main() -> None:
    """Run the script."""
    script = Script()
    model = get_model(script.model.stem, weights=None, weights_backbone=None).eval()
    with torch.inference_mode():
        model([to_tensor(Image.open(script.files[0]).convert("RGB"))])
        script.start()
        found = [model([to_tensor(Image.open(file).convert("RGB"))])[0] for file in script.files]
        columns = {name: [one[name].tolist() for one in found] for name in ("boxes", "scores", "labels")}
        pq.write_table(pa.table({"path": [str(file) for file in script.files], **columns}), script.out)
        script.stop()


if __name__ == "__main__":
    main()
