"""What resnet-pipe itself costs: a network of one layer, so that only reading to writing remains.

usage: python -m benchmarks.overhead [--images 6000] [--repeats 5]

JPEGs of 500x375 pixels, exact and fast preprocessing to 224x224, Parquet.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import onnx
from benchmarks import measure
from jobs.samples import main as make_samples
from onnx import TensorProto, helper

JOB = """\
name: overhead
reader: {{kind: images, path: {directory}/images}}
preprocess: {{resize: 256, crop: 224, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}
infer: {{model: {directory}/one_layer.onnx, device: cpu, batch_size: 64}}
writer: {{kind: parquet, path: {directory}/out, fields: [logits]}}
"""
DISTINCT = 600


def write_one_layer(path: Path, crop: int = 224) -> None:
    """Write a network that averages each channel: one layer, three outputs."""
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["input"], ["pool"]),
            helper.make_node("Flatten", ["pool"], ["logits"], axis=1),
        ],
        "one_layer",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, crop, crop])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(path))


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        make_samples(directory / "images", min(DISTINCT, arguments.images))
        originals = sorted((directory / "images").iterdir())
        for number in range(len(originals), arguments.images):
            copy = directory / "images" / f"image_{number:06d}.jpg"
            shutil.copyfile(originals[number % len(originals)], copy)
        write_one_layer(directory / "one_layer.onnx")
        job = directory / "job.yaml"
        job.write_text(JOB.format(directory=directory))
        results = measure.alternate(
            {
                "exact": lambda: measure.resnet_pipe(job),
                "fast": lambda: measure.resnet_pipe(job, "preprocess.mode=fast"),
            },
            arguments.repeats,
        )
    rates = {mode: [run.rate for run in runs] for mode, runs in results.items()}
    median = {mode: measure.median_rate(runs) for mode, runs in results.items()}
    print(", ".join(f"{mode}: {rate:.0f} images/s" for mode, rate in median.items()))
    measure.save("overhead", {"images": arguments.images, "median": median, "rates": rates})


if __name__ == "__main__":
    main()
