"""Many small files on a cold disk: how long listing takes, and images a second, cold against warm.

usage: python -m benchmarks.cold [--images 100000] [--repeats 3] [--folder FOLDER]

JPEGs of 240x180 pixels, each a file of its own, through a network of one layer to Parquet. Cold means that
Linux has dropped the files from memory; as root, also what it knows of names and inodes, of all programs.
In a folder that is given, the images stay for the next time.
"""

from __future__ import annotations

import io
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import measure
from benchmarks.measure import Measurement
from benchmarks.overhead import JOB, write_one_layer
from jobs.samples import photographs, sample
from numpy.random import default_rng
from PIL import Image

SIZE = (240, 180)
DISTINCT = 600
PER_FOLDER = 1000


def make_images(folder: Path, count: int) -> None:
    """Write as many images as are missing, of `DISTINCT` pictures, 1000 in a subfolder."""
    folder.mkdir(exist_ok=True)
    photos, rng, encoded = photographs(), default_rng(7), []
    for _ in range(min(count, DISTINCT)):
        file = io.BytesIO()
        Image.fromarray(sample(photos, rng)).resize(SIZE).save(file, "JPEG", quality=90)
        encoded.append(file.getvalue())
    for number in range(count):
        path = folder / f"{number // PER_FOLDER:04d}" / f"{number:06d}.jpg"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(encoded[number % len(encoded)])
    os.sync()


def forget(folder: Path) -> None:
    """Have Linux drop files from memory and, as root, names and inodes."""
    for path in folder.rglob("*.jpg"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    names = Path("/proc/sys/vm/drop_caches")
    if os.access(names, os.W_OK):
        names.write_text("2")


def listing_s(folder: Path) -> float:
    """Return how long it takes to list the images as a run does."""
    from resnet_pipe.reader.images.section import ImagesSection

    reader = ImagesSection.model_validate({"kind": "images", "path": str(folder)}).make_reader()
    started = time.perf_counter()
    for _ in reader.list_sources():
        pass
    return time.perf_counter() - started


def run(job: Path, cold: Path | None) -> Measurement:
    """Run a job; the folder is made cold before. The report has the processor time of all processes."""
    if cold is not None:
        forget(cold)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = measure.resnet_pipe(job)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measurement(done.rate, {**done.report, "processor_ms": 1000 * used / done.report["items"]})


@contextmanager
def _place(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def main() -> None:
    """Measure, print and save."""
    parser = measure.parser(__doc__, repeats=3)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with _place(arguments.folder) as directory:
        images, model, job = directory / "images", directory / "one_layer.onnx", directory / "job.yaml"
        make_images(images, arguments.images)
        write_one_layer(model)
        job.write_text(JOB.format(images=images, model=model, directory=directory))
        forget(images)
        listing = {"cold": listing_s(images), "warm": listing_s(images)}
        print(f"listing: cold {listing['cold']:.2f} s, warm {listing['warm']:.2f} s", flush=True)
        kinds = {"cold": images, "warm": None}
        sitting = measure.alternate(
            {kind: lambda cold=cold: run(job, cold) for kind, cold in kinds.items()},  # type: ignore[misc]
            arguments.repeats,
        )
        about = {}
        for kind, runs in sitting.runs.items():
            last = runs[-1].report
            about[kind] = {"processor_ms": [one.report["processor_ms"] for one in runs]}
            about[kind]["stages"] = last["stages"]
            print(f"{kind}: {sitting.median[kind]:.0f} images/s, {about[kind]['processor_ms']} ms an image")
        measure.save("cold", {"listing_s": listing, "rates": sitting.rates, **about})


if __name__ == "__main__":
    main()
