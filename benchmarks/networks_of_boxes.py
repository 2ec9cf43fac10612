"""The networks of a job that finds objects, and nothing else: no decoding, no boxes.

usage: python -m benchmarks.networks_of_boxes JOB.yaml [--set KEY=VALUE]...

As many batches as the folder has images, of the size of the first one, go through the engine of the job on
all its streams; of a Faster R-CNN, a thousand parts of each image go through the second network. Prints one
line of JSON: images and seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("job", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()

    import numpy as np
    from PIL import Image

    from resnet_pipe.infer.engine import EngineRequest, load
    from resnet_pipe.infer.second import second_request
    from resnet_pipe.job import job as jobs
    from resnet_pipe.job.resolve import resolve
    from resnet_pipe.machine.limits import available_cores

    resolved = resolve(*jobs.load(arguments.job, arguments.overrides))
    folder = sorted(resolved.job.reader.on_disk[0].iterdir())
    name = resolved.job.infer.engine
    request = EngineRequest(
        model=resolved.model.path,
        preprocessing=resolved.network_input,
        outputs=resolved.head.names,
        batch_size=1,
        device="cpu",
        precision=resolved.precision,
        threads=available_cores(),
        extract=resolved.network.has_others(rows=False),
        rows=False,
    )
    first = load(name, request)
    second = second_request(request, resolved.network)
    box_head = load(name, second) if second is not None else None
    rng = np.random.default_rng(0)
    with Image.open(folder[0]) as image:
        size = resolved.geometry.size_of(*image.size)
    batch = (255 * rng.random((1, *size, 3))).astype(np.float32)
    parts = None if second is None else rng.random((1000, *(second.preprocessing.shape or ())), np.float32)

    def execute(_number: int) -> None:
        first.infer(batch)
        if box_head is not None and parts is not None:
            box_head.infer(parts)

    execute(0)
    started = time.perf_counter()
    with ThreadPoolExecutor(first.streams) as threads:
        list(threads.map(execute, range(len(folder))))
    print(json.dumps({"images": len(folder), "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
