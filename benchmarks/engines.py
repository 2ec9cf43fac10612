"""Every engine and precision against the scripts that a user would write, alternating in one sitting.

usage: python -m benchmarks.engines MODEL.onnx [--images 600] [--repeats 5]
           [--engines opencv openvino ...] [--peers torch hf ...] [--peer-python PYTHON]

From a folder of JPEGs of 500x375 pixels to Parquet files of logits, on the CPU: resnet-pipe with its
defaults, the scripts of benchmarks/peers with batches of 16 and the defaults of their libraries. The model in
int8, if there is one, lies beside the other: resnet50-int8.onnx. What cannot run on this machine is left out,
and said. Ends with a table of the ratios that the engines are meant to reach.

What the scripts need beside resnet-pipe, the group `benchmark`, may be in a Python of its own: --peer-python.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from benchmarks import measure, targets
from benchmarks.folder import Folder, sample_folder

from resnet_pipe.errors import MissingExtraError
from resnet_pipe.infer.engine import devices

OURS = (
    "opencv fp32",
    "openvino bf16",
    "openvino fp32",
    "openvino int8",
    "onnxruntime fp32",
    "torch fp32",
    "torch bf16",
    "mlx fp32",
)
"""Engine and precision."""
PEERS = ("torch", "hf", "ort", "openvino", "openvino_async", "cv2", "ray_ort")
"""Modules of benchmarks/peers."""


def programs(folder: Folder, model: Path, engines: list[str]) -> dict[str, measure.Program]:
    """Return resnet-pipe with each precision of some engines, and what OpenVINO could reach at most."""
    found: dict[str, measure.Program] = {}
    for name in OURS:
        engine, precision = name.split()
        overrides = [f"infer.engine={engine}", f"infer.precision={precision}"]
        if precision == "int8":
            overrides.append(f"infer.model={model.with_name(f'{model.stem}-int8.onnx')}")
        if engine in engines:
            found[name] = partial(measure.resnet_pipe, folder.job, *overrides)
        if engine in engines and engine == "openvino":
            flags = measure.set_flags(overrides)
            found[f"limit of {name}"] = partial(measure.script, "limit", folder.job, *flags)
    return found


def scripts(folder: Folder, model: Path, peers: list[str], python: str) -> dict[str, measure.Program]:
    """Return the scripts that a user would write."""
    out = folder.directory / "script.parquet"
    return {
        f"script {peer}": partial(measure.script, f"peers.{peer}", folder.images, model, out, python=python)
        for peer in peers
    }


def own_precision(engine: str) -> str:
    """Return the precision that an engine takes by itself on the CPU of this machine."""
    try:
        return devices(engine)["cpu"][0]
    except MissingExtraError:
        return "fp32"


def main() -> None:
    """Measure, print and save."""
    parser = measure.parser(__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=int, default=600)
    measure.add_engines(parser)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS)
    parser.add_argument("--peer-python", default=sys.executable)
    arguments = parser.parse_args()
    model, python = arguments.model.resolve(), arguments.peer_python
    versions = measure.versions(python)
    with sample_folder(model, arguments.images) as folder:
        sitting = measure.alternate(
            programs(folder, model, arguments.engines) | scripts(folder, model, arguments.peers, python),
            arguments.repeats,
        )
    judged = targets.judge(sitting.rates, f"openvino {own_precision('openvino')}")
    print(targets.table(sitting.median, judged))
    measure.save(
        f"engines-{model.stem}",
        {
            "images": arguments.images,
            "versions_of_scripts": versions,
            "median": sitting.median,
            "targets": [target.to_json() for target in judged],
            "left_out": measure.left_out(sitting, arguments.engines),
            "rates": sitting.rates,
            "reports": {name: runs[-1].report for name, runs in sitting.runs.items()},
        },
    )


if __name__ == "__main__":
    main()
