"""resnet-pipe against the script a user would write, and against the network alone, in one sitting.

usage: python -m benchmarks.throughput MODEL.onnx [--images 600] [--repeats 5]

All use cv2.dnn on the CPU: resnet-pipe with its default batch size, the network alone with batches of 32, the
script with 16. The folder has JPEGs of 500x375 pixels.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import measure
from benchmarks.folder import sample_folder


def main() -> None:
    """Measure, print and save."""
    parser = measure.parser(__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=int, default=600)
    arguments = parser.parse_args()
    model = arguments.model
    with sample_folder(model, arguments.images) as folder:
        parquet = folder.directory / "peer.parquet"
        rates = measure.compare(
            f"throughput-{model.stem}",
            {
                "resnet-pipe": lambda: measure.resnet_pipe(folder.job),
                "script": lambda: measure.script("peers.cv2", folder.images, model, parquet),
                "network alone": lambda: measure.script("raw_cv2", model, 32, 19),
            },
            arguments.repeats,
            images=arguments.images,
        )
    for name in ("script", "network alone"):
        print(f"resnet-pipe / {name} = {rates['resnet-pipe'] / rates[name]:.3f}")


if __name__ == "__main__":
    main()
