"""What a user would write by hand instead: a folder of JPEGs -> torchvision's ResNet, DataLoader -> Parquet.

usage: python -m benchmarks.peers.torch IMAGE_DIR MODEL.onnx OUT.parquet [BATCH]

A worker of the DataLoader for each core; float32, channels_last. Only the depth in the name of the model
counts, the weights are random. Prints one line of JSON: images and seconds after the model is loaded.
"""

from __future__ import annotations

import torch
from benchmarks.peers.script import CORES, MEAN, STD, Script
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.models import get_model


class Images(Dataset[Tensor]):
    """The images of a folder, as torchvision prepares them."""

    def __init__(self, script: Script) -> None:
        self._files = script.files
        self._transform = transforms.Compose(
            [
                transforms.Resize(256),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize(MEAN.tolist(), STD.tolist()),
            ]
        )

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Tensor:
        image: Tensor = self._transform(Image.open(self._files[index]).convert("RGB"))
        return image


def main() -> None:
    """Run the network over a folder and write its output."""
    script = Script()
    network = get_model(f"resnet{script.depth}", weights=None).eval().to(memory_format=torch.channels_last)
    script.start()
    loader = DataLoader(Images(script), batch_size=script.batch, num_workers=CORES)
    with torch.inference_mode():
        results = [network(batch.to(memory_format=torch.channels_last)).numpy() for batch in loader]
    script.write(results)
    script.stop()


if __name__ == "__main__":
    main()
