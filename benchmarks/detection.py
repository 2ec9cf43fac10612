"""A Faster R-CNN over a folder, against its networks alone and against scripts, alternating in one sitting.

usage: python -m benchmarks.detection MODEL.onnx [--images 8] [--repeats 3] [--engines opencv openvino ...]

MODEL is what `resnet-pipe convert fasterrcnn_resnet50_fpn --weights random` gives. JPEGs of 500x300 pixels
become 800x1333: resnet-pipe to Parquet files of boxes; the two networks alone in the same engine, on as many
streams; torchvision in a loop; and torchvision's whole graph in ONNX Runtime in a loop. The rate of
resnet-pipe is without loading, as are those of the others.
"""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path

from benchmarks import measure
from benchmarks.folder import sample_folder
from PIL import Image

ENGINES = ("opencv", "onnxruntime", "openvino", "torch")
SCRIPTS = ("torchvision_boxes", "ort_boxes")
JOB = """\
name: benchmark
reader: {{kind: images, path: {images}}}
infer: {{model: {model}, device: cpu, precision: fp32}}
writer: {{kind: parquet, path: {directory}/out, fields: [boxes]}}
run: {{canary: 0}}
"""


def main() -> None:
    """Measure, print and save."""
    parser = measure.parser(__doc__, repeats=3)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=ENGINES)
    parser.add_argument("--scripts", nargs="*", choices=SCRIPTS, default=SCRIPTS)
    arguments = parser.parse_args()
    with sample_folder(arguments.model, arguments.images, JOB) as folder:
        _crop(folder.images)
        programs: dict[str, measure.Program] = {}
        for engine in arguments.engines:
            override = f"infer.engine={engine}"
            programs[engine] = partial(measure.resnet_pipe, folder.job, override)
            flags = measure.set_flags([override])
            programs[f"networks of {engine}"] = partial(
                measure.script, "networks_of_boxes", folder.job, *flags
            )
        for script in arguments.scripts:
            out = folder.directory / "script.parquet"
            programs[f"script {script}"] = partial(
                measure.script, f"peers.{script}", folder.images, arguments.model.resolve(), out
            )
        sitting = measure.alternate(programs, arguments.repeats)
    rates = sitting.median
    for engine in arguments.engines:
        if {engine, f"networks of {engine}"} <= rates.keys():
            ratios = [
                ours / alone
                for ours, alone in zip(
                    sitting.rates[engine], sitting.rates[f"networks of {engine}"], strict=True
                )
            ]
            print(f"{engine}: {statistics.median(ratios):.2f} of its networks alone")
    for name, rate in rates.items():
        print(f"{name:<28}{rate:8.3f} images/s")
    measure.save(
        "detection",
        {"images": arguments.images, "median": rates, "rates": sitting.rates, "left_out": sitting.failed},
    )


def _crop(images: Path) -> None:
    """Cut JPEGs of 500x375 pixels down to 500x300, whose sides are as 800 to 1333."""
    for path in images.iterdir():
        with Image.open(path) as image:
            image.crop((0, 0, 500, 300)).save(path, quality=90)


if __name__ == "__main__":
    main()
