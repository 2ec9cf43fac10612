"""Does memory grow with the number of sources? Peak of the run and its workers, small and large folders.

usage: python -m benchmarks.memory [--small 1000] [--large 100000]

JPEGs of 64x48 pixels, a network of one layer, Parquet.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

from benchmarks import measure
from benchmarks.overhead import JOB, write_one_layer
from jobs.samples import Photograph, photographs
from PIL import Image

SIZE = (64, 48)


def encode(photo: Photograph) -> bytes:
    """Return a small JPEG of a photograph."""
    file = io.BytesIO()
    Image.fromarray(photo).resize(SIZE).save(file, "JPEG")
    return file.getvalue()


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--large", type=int, default=100_000)
    arguments = parser.parse_args()
    peaks: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        images, model, job = directory / "images", directory / "one_layer.onnx", directory / "job.yaml"
        images.mkdir()
        write_one_layer(model)
        job.write_text(JOB.format(images=images, model=model, directory=directory))
        encoded = [encode(photo) for photo in photographs()]
        written = 0
        for count in (arguments.small, arguments.large):
            for number in range(written, count):
                (images / f"{number:07d}.jpg").write_bytes(encoded[number % len(encoded)])
            written = count
            peaks[count] = measure.resnet_pipe(job).report["peak_rss_mb"]
            print(f"{count} images: peak {peaks[count]:.1f} MB", flush=True)
    ratio = peaks[arguments.large] / peaks[arguments.small]
    print(f"ratio {ratio:.3f}")
    measure.save("memory", {"peak_rss_mb": peaks, "ratio": ratio})


if __name__ == "__main__":
    main()
