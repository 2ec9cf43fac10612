"""The rate of PyAV alone, with all cores: every frame decoded and brought to RGB, and nothing else.

usage: python -m benchmarks.decode_video VIDEO

Prints one line of JSON: frames and seconds.
"""

from __future__ import annotations

import json
import sys
import time

import av


def main(path: str) -> None:
    """Decode one video."""
    started = time.perf_counter()
    count = 0
    with av.open(path) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            frame.to_ndarray(format="rgb24")
            count += 1
    print(json.dumps({"images": count, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main(sys.argv[1])
