"""What resnet-pipe itself costs: a network of one layer, so that only reading to writing remains.

usage: python -m benchmarks.overhead [--images 6000] [--repeats 5]

JPEGs of 500x375 pixels, exact and fast preprocessing to 224x224, Parquet.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
from benchmarks import measure
from benchmarks.folder import sample_folder
from onnx import TensorProto, helper

JOB = """\
name: overhead
reader: {{kind: images, path: {images}}}
preprocess: {{resize: 256, crop: 224, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}
infer: {{model: {model}, device: cpu, batch_size: 64}}
writer: {{kind: parquet, path: {directory}/out, fields: [logits]}}
"""


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
    parser = measure.parser(__doc__)
    parser.add_argument("--images", type=int, default=6000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory, "one_layer.onnx")
        write_one_layer(model)
        with sample_folder(model, arguments.images, JOB) as folder:
            measure.compare(
                "overhead",
                {
                    "exact": lambda: measure.resnet_pipe(folder.job),
                    "fast": lambda: measure.resnet_pipe(folder.job, "preprocess.mode=fast"),
                },
                arguments.repeats,
                images=arguments.images,
            )


if __name__ == "__main__":
    main()
