"""The five depths on every engine: images/s from end to end, and what the machine could reach at most.

usage: python -m benchmarks.depths [--models models] [--engines openvino ...] [--seconds 8] [--repeats 3]

From JPEGs of 500x375 pixels to Parquet files of logits, on the CPU, in the precision that each engine takes
by itself, with as many images as take about the given time. The limit is that of benchmarks/limit.py,
measured in turns with the runs. benchmarks/chart.py draws the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.folder import DISTINCT, Folder, sample_folder

from resnet_pipe.model.depths import DEPTHS, resnet
from resnet_pipe.model.model import models_dir

SMALLEST, LARGEST = 16, 6000
"""Images of a run."""


@dataclass
class Pair:
    """A network on an engine, its limit, and the number of images that fits both.

    Attributes:
        folder: of the images.
        overrides: of its job.
        seconds: that a run should take.
        images: of a run; 0 until the limit has been measured for the first time.
    """

    folder: Folder
    overrides: tuple[str, ...]
    seconds: float
    images: int = 0

    def limit(self) -> measure.Measurement:
        """Measure the limit."""
        limit = measure.script("limit", self.folder.job, *measure.set_flags(self.overrides))
        self.images = self.images or min(max(round(limit.rate * self.seconds), SMALLEST), LARGEST)
        return limit

    def run(self) -> measure.Measurement:
        """Measure a run."""
        if not self.images:
            raise measure.ProgramError("its limit could not be measured")
        path = f"reader.path={self.folder.of(self.images)}"
        return measure.resnet_pipe(self.folder.job, *self.overrides, path)


def main() -> None:
    """Measure, print and save."""
    parser = measure.parser(__doc__, repeats=3)
    parser.add_argument("--models", type=Path, default=models_dir())
    measure.add_engines(parser)
    parser.add_argument("--seconds", type=float, default=8)
    arguments = parser.parse_args()
    models = {name: arguments.models.resolve() / f"{name}.onnx" for name in map(resnet, DEPTHS)}
    with sample_folder(models["resnet18"], DISTINCT) as folder:
        pairs = {
            f"{engine}, {name}": Pair(
                folder, (f"infer.engine={engine}", f"infer.model={model}"), arguments.seconds
            )
            for engine in arguments.engines
            for name, model in models.items()
        }
        programs: dict[str, measure.Program] = {}
        for name, pair in pairs.items():
            programs |= {f"limit of {name}": pair.limit, name: pair.run}
        sitting = measure.alternate(programs, arguments.repeats)
    results = [row(name, pair, sitting) for name, pair in pairs.items() if name in sitting.runs]
    print(f"{'engine':<18}{'model':<11}{'images/s':>9}{'limit':>9}{'of limit':>10}")
    for result in results:
        engine = f"{result['engine']} {result['precision']}"
        rates = f"{result['rate']:>9.1f}{result['limit']:>9.1f}{result['rate'] / result['limit']:>10.3f}"
        print(f"{engine:<18}{result['model']:<11}{rates}")
    measure.save("depths", {"results": results, "left_out": measure.left_out(sitting, arguments.engines)})


def row(name: str, pair: Pair, sitting: measure.Sitting) -> dict[str, Any]:
    """Return what is saved of an engine and a depth."""
    engine, model = name.split(", ")
    limit, last = sitting.runs[f"limit of {name}"], sitting.runs[name][-1].report
    return {
        "engine": engine,
        "precision": last["engine"]["precision"],
        "model": model,
        "images": pair.images,
        "rate": sitting.median[name],
        "limit": sitting.median[f"limit of {name}"],
        "rates": sitting.rates[name],
        "limits": sitting.rates[f"limit of {name}"],
        "limit_ms": {part: limit[-1].report[part] for part in ("reader_ms", "preprocess_ms", "network_ms")},
        "stages": last["stages"],
    }


if __name__ == "__main__":
    main()
