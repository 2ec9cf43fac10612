"""What a job could reach at most: cores / (seconds that one core spends on an image).

usage: python -m benchmarks.limit JOB.yaml [--set KEY=VALUE]...

On one core, with one thread, each alone: the reader and the preprocessing, in a loop like that of a worker;
the engine with one stream, on whole batches of the size that the job would have. Prints one line of JSON:
images and seconds that give this rate, and what they are made of. Needs Linux, to keep to a core.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_pipe.job.resolve import Resolved

SECONDS = 2.0
"""Each part is repeated for at least this time."""
WARM_UP = 8
"""Images that are not counted: with the first, libraries are loaded."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("job", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    # Before any library makes threads, which would keep the cores they are born with.
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])

    from resnet_pipe.job import job as jobs
    from resnet_pipe.job.resolve import resolve
    from resnet_pipe.machine.memory import keep_freed_memory

    keep_freed_memory()
    resolved = resolve(*jobs.load(arguments.job, arguments.overrides))
    reader_s, preprocess_s, batch = decode(resolved)
    network_s, info = forward(resolved, batch)
    report = {
        "images": len(cores),
        "seconds": reader_s + preprocess_s + network_s,
        "reader_ms": round(1000 * reader_s, 3),
        "preprocess_ms": round(1000 * preprocess_s, 3),
        "network_ms": round(1000 * network_s, 3),
        "batch_size": len(batch),
        "engine": info,
    }
    print(json.dumps(report))


def decode(resolved: Resolved) -> tuple[float, float, NDArray[np.uint8]]:
    """Return the seconds that reading an image takes, and preprocessing it, and a batch of images."""
    import numpy as np

    reader, geometry = resolved.job.reader.make_reader(), resolved.geometry
    keys = [source.key for source in reader.list_sources()]
    batch = np.empty((resolved.batch_size, *geometry.size, 3), np.uint8)
    read = prepared = 0.0
    for number in count(-WARM_UP):
        started = time.perf_counter()
        item = next(reader.read(keys[number % len(keys)], geometry.min_side, None, None, lambda: None))
        decoded = time.perf_counter()
        geometry.apply(item.frame, batch[number % len(batch)])
        ended = time.perf_counter()
        if number >= 0:
            read += decoded - started
            prepared += ended - decoded
        if number >= len(batch) and read + prepared >= SECONDS:
            break
    return read / (number + 1), prepared / (number + 1), batch


def forward(resolved: Resolved, batch: NDArray[np.uint8]) -> tuple[float, dict[str, Any]]:
    """Return the seconds that the network takes for an image of a whole batch, and what runs."""
    from resnet_pipe.infer import engine as engines

    request = engines.EngineRequest(
        model=resolved.model.path,
        preprocessing=resolved.preprocessing.network_input,
        outputs=resolved.head.names,
        batch_size=len(batch),
        device=resolved.job.infer.first_device,
        precision=resolved.precision,
        threads=1,
        streams=1,
    )
    engine = engines.load(resolved.job.infer.engine, request)
    engine.infer(batch)
    started = time.perf_counter()
    for number in count(1):
        engine.infer(batch)
        seconds = time.perf_counter() - started
        if number >= 2 and seconds >= SECONDS:
            break
    return seconds / (number * len(batch)), asdict(engine.describe())


if __name__ == "__main__":
    main()
