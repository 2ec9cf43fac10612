"""resnet-pipe against the script a user would write, and against the network alone, in one sitting.

usage: python -m benchmarks.throughput MODEL.onnx [--images 600] [--repeats 5]

All use cv2.dnn on the CPU: resnet-pipe and the network alone with batches of 32, resnet-pipe's default, the
script with 16. The folder has JPEGs of 500x375 pixels.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks import measure
from jobs.samples import main as make_samples

JOB = """\
name: throughput
reader: {{kind: images, path: {images}}}
infer: {{model: {model}, device: cpu}}
writer: {{kind: parquet, path: {out}, fields: [logits]}}
"""


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    model = arguments.model.resolve()
    with tempfile.TemporaryDirectory() as directory:
        images, job = Path(directory, "images"), Path(directory, "job.yaml")
        make_samples(images, arguments.images)
        job.write_text(JOB.format(images=images, model=model, out=Path(directory, "out")))
        parquet = Path(directory, "peer.parquet")
        results = measure.alternate(
            {
                "resnet-pipe": lambda: measure.resnet_pipe(job),
                "script": lambda: measure.script("peer_cv2.py", images, model, parquet),
                "network alone": lambda: measure.script("raw_cv2.py", model, 32, 19),
            },
            arguments.repeats,
        )
    rates = {name: measure.median_rate(runs) for name, runs in results.items()}
    ours = rates["resnet-pipe"]
    for name, rate in rates.items():
        print(f"{name:<14}{rate:8.2f} images/s   resnet-pipe / {name} = {ours / rate:.3f}")
    raw = {name: [run.rate for run in runs] for name, runs in results.items()}
    measure.save(f"throughput-{model.stem}", {"images": arguments.images, "median": rates, "rates": raw})


if __name__ == "__main__":
    main()
