"""The two measurements of benchmarks/gpu.py, each in processes of its own, and the time there is for them."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import measure
from benchmarks.folder import Folder

from resnet_pipe.infer.engine import ENGINES
from resnet_pipe.machine.limits import available_cores
from resnet_pipe.model.model import Model
from resnet_pipe.study.trial import steady_rate

FEWEST, MOST, PER_CORE = 64, 20_000, 400
"""Images of a job: limits, and how many a second each core is taken to decode."""
LIMIT_S = 60.0
"""The passes of one network on one engine, or a job, take longer only if they hang."""
OUT_OF_TIME = "out of time"

Record = dict[str, Any]
"""One measurement: `reason` is None, or says why there are no figures."""


class Deadline:
    """When the whole has to be over.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        """Return the seconds until then; 0 afterwards."""
        return max(0.0, self._end - time.monotonic())

    def limit_s(self) -> float:
        """Return how long a process may take that starts now."""
        return min(LIMIT_S, self.left_s)

    def explain(self, error: measure.ProgramError) -> str:
        """Return why a process gave nothing."""
        return str(error) if self.left_s else OUT_OF_TIME


@dataclass(frozen=True)
class Bench:
    """What is the same for all measurements.

    Attributes:
        device: cuda, cuda:N or cpu.
        batches: sizes.
        pass_s: for about so long passes of one size are repeated.
        run_s: a job should take about so long.
        deadline: of the whole.
        folder: of the images; None if they cannot be made.
    """

    device: str
    batches: list[int]
    pass_s: float
    run_s: float
    deadline: Deadline
    folder: Folder | None

    def forward(self, engine: str, precision: str, model: Model) -> list[Record]:
        """Measure the passes of a network on an engine, and return a record for each batch size."""
        if not self.deadline.left_s:
            return [missed(size, OUT_OF_TIME) for size in self.batches]
        with TemporaryDirectory() as place:
            file = Path(place, "records")
            file.touch()
            what = [ENGINES[engine], model.path, file, "--device", self.device, "--precision", precision]
            sizes = ["--batches", *self.batches, "--seconds", self.pass_s]
            reason = "its process said nothing"
            try:
                command = [sys.executable, "-m", "benchmarks.gpu_forward", *map(str, [*what, *sizes])]
                measure.output(command, self.deadline.limit_s())
            except measure.ProgramError as error:
                reason = self.deadline.explain(error)
            found = {record["batch"]: record for record in map(json.loads, file.read_text().splitlines())}
        return [found.get(size, missed(size, reason)) for size in self.batches]

    def run(self, engine: str, precision: str, model: Model, rate: float | None) -> Record:
        """Measure a job over as many images as fit, and return its record.

        Args:
            engine: its name.
            precision: of the network.
            model: the network.
            rate: images a second of the passes alone; None if there were none.
        """
        if not self.deadline.left_s:
            return {"reason": OUT_OF_TIME}
        if self.folder is None:
            return {"reason": "sample images need scikit-image: pip install scikit-image"}
        if rate is None:
            return {"reason": "no forward pass alone was measured"}
        likely = min(rate, PER_CORE * available_cores())
        images = min(max(round(likely * self.run_s), FEWEST), MOST)
        changes = {
            "reader.path": self.folder.of(images),
            "infer.model": model.path,
            "infer.engine": engine,
            "infer.device": self.device,
            "infer.precision": precision,
            "run.report": "false",
        }
        overrides = [f"{key}={value}" for key, value in changes.items()]
        try:
            done = measure.resnet_pipe(self.folder.job, *overrides, limit_s=self.deadline.limit_s())
        except measure.ProgramError as error:
            return {"reason": self.deadline.explain(error)}
        return {"reason": None, "images_per_second": round(steady_rate(done.report), 2), "run": done.report}


def missed(size: int, reason: str) -> Record:
    """Return the record of a batch size that was not measured."""
    return {"batch": size, "reason": reason}
