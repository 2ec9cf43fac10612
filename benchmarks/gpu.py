"""What a machine with an NVIDIA GPU gives, for ResNet-18 to ResNet-152, within a given time.

usage: python -m benchmarks.gpu [--device cuda] [--seconds 470] [--engines opencv torch onnxruntime]
           [--networks resnet50 ...] [--models models] [--batches 1 8 32 128 256] [--out benchmarks/results]

For each network, each engine and precision: forward passes alone, for each batch size, and then a job from
JPEGs of 500x375 pixels to Parquet files of logits, with the engine's defaults. The most important comes
first, because time may run out: ResNet-50 with everything, then the smallest and the largest, then the rest.
Engines and jobs are processes of their own: a crash, a hang or too little memory costs one figure. What was
not measured is listed with its reason, and no figure stands for it.

Writes gpu.json and, for people, gpu.md. Exit code 0, or 1 if nothing at all could be measured.
benchmarks/gpu_check.sh installs what this needs, runs the tests, and then this.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path

from benchmarks import gpu_table, measure
from benchmarks.folder import sample_folder
from benchmarks.gpu_bench import Bench, Deadline, Record, missed

from resnet_pipe.errors import ModelError
from resnet_pipe.model.model import Model, models_dir, open_model

SUBJECTS = (
    ("opencv", "fp32"),
    ("opencv", "fp16"),
    ("torch", "fp16"),
    ("onnxruntime", "fp32"),
    ("onnxruntime", "fp16"),
)
"""Engine and precision, the most important first."""
NETWORKS = ("resnet50", "resnet18", "resnet152", "resnet34", "resnet101")
BATCHES = (1, 8, 32, 128, 256)
SAMPLES = 200
"""Distinct images; larger folders hold them several times."""


def compare(
    bench: Bench, models: Mapping[str, Model | str], engines: list[str]
) -> tuple[list[Record], list[Record]]:
    """Measure all networks with all engines, and return the records of passes and of jobs.

    Args:
        bench: how.
        models: by name, or why there is none.
        engines: names.
    """
    passes: list[Record] = []
    runs: list[Record] = []
    for name, model in models.items():
        rates: dict[tuple[str, str], float | None] = {}
        subjects = [subject for subject in SUBJECTS if subject[0] in engines]
        for engine, precision in subjects:
            if isinstance(model, Model):
                records = bench.forward(engine, precision, model)
            else:
                records = [missed(size, model) for size in bench.batches]
            what = {"model": name, "engine": engine, "precision": precision}
            passes += [told({**what, **record}) for record in records]
            measured = [record["images_per_second"] for record in records if record["reason"] is None]
            rates[engine, precision] = max(measured, default=None)
        for (engine, precision), rate in rates.items():
            done = {"reason": model} if isinstance(model, str) else bench.run(engine, precision, model, rate)
            runs.append(told({"model": name, "engine": engine, "precision": precision, **done}))
    return passes, runs


def find(path: Path) -> Model | str:
    """Return a converted model, or why there is none."""
    try:
        model = open_model(path.resolve())
    except ModelError as error:
        return measure.brief(str(error))
    remedy = "use a model made by `resnet-pipe convert`"
    return model if model.sidecar else f"{path.name} has no sidecar: {remedy}"


def told(record: Record) -> Record:
    """Print a record and return it."""
    result = f"{record['images_per_second']:.1f} images/s" if record["reason"] is None else record["reason"]
    print(f"{gpu_table.name(record)}: {result}", flush=True)
    return record


def gpus() -> Iterator[str]:
    """Return name, driver and memory of each GPU, as nvidia-smi tells them."""
    wanted = "name,driver_version,memory.total,power.limit"
    command = ["nvidia-smi", f"--query-gpu={wanted}", "--format=csv,noheader"]
    try:
        yield from subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N; cpu to try out this program")
    parser.add_argument("--seconds", type=float, default=470.0, help="total time; default: 470")
    names = list(dict.fromkeys(engine for engine, _ in SUBJECTS))
    parser.add_argument("--engines", nargs="+", choices=names, default=names)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="names of .onnx files in --models")
    parser.add_argument("--models", type=Path, default=models_dir())
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument(
        "--pass-seconds", type=float, default=0.5, help="time for the passes of one batch size"
    )
    parser.add_argument("--run-seconds", type=float, default=3.0, help="time for one job")
    parser.add_argument("--out", type=Path, default=measure.RESULTS, help="directory for gpu.json and gpu.md")
    arguments = parser.parse_args()
    started, started_at = time.monotonic(), datetime.now(timezone.utc)
    deadline = Deadline(arguments.seconds)
    models = {name: find(arguments.models / f"{name}.onnx") for name in arguments.networks}
    with ExitStack() as stack:
        folder = stack.enter_context(sample_folder(Path(), SAMPLES)) if find_spec("skimage") else None
        times = arguments.pass_seconds, arguments.run_seconds
        bench = Bench(arguments.device, sorted(arguments.batches), *times, deadline, folder)
        passes, runs = compare(bench, models, arguments.engines)
    result = {
        "gpus": list(gpus()),
        "started_at": started_at.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - started, 1),
        "allowed_s": arguments.seconds,
        "device": arguments.device,
        "weights": {
            name: model.sidecar.weights.describe()
            for name, model in models.items()
            if isinstance(model, Model) and model.sidecar
        },
        "forward": passes,
        "runs": runs,
    }
    path = measure.save("gpu", result, arguments.out)
    table = gpu_table.render(json.loads(path.read_text()))
    path.with_suffix(".md").write_text(table)
    print(f"wrote {path.with_suffix('.md')}\n\n{table}")
    if all(record["reason"] for record in [*passes, *runs]):
        sys.exit("nothing could be measured; the reasons are above")


if __name__ == "__main__":
    main()
