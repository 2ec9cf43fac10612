"""The night after a million images: how long until it is known what is new, and in how much memory?

usage: python -m benchmarks.known [--sources 1000000] [--repeats 3] [--folder FOLDER]

The images are files of nothing but a size, ten thousand in a directory. The ledger is made by the package's
own code; each of its shards has one row. Each night is planned by `run --dry-run`, in a process of its own:
one with nothing new, one with a thousand more images, and one in which a hundredth have changed. The first
is run as well. Printed are the seconds from the command to its end, of the clock and of processors, and the
peak of its memory; and the floor below them: plain Python that lists the files, and asks for size and time of
each.

A folder that is given keeps what is made for the next time; a million files take two minutes to make.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks import measure
from benchmarks.overhead import JOB, write_one_layer

from resnet_pipe.job.job import load
from resnet_pipe.job.resolve import Resolved, resolve
from resnet_pipe.ledger import fingerprint
from resnet_pipe.ledger.ledger import LEDGER, Ledger
from resnet_pipe.ledger.record import Entries, Entry, File, Record
from resnet_pipe.store.digest import file_sha256

PER_DIRECTORY = 10_000
MORE, ONE_OF = 1000, 100
BYTES = 100_000
PROGRAM = (
    "import atexit; from resnet_pipe.machine.memory import peak_rss_kb;"
    " atexit.register(lambda: print(peak_rss_kb()));"
    " from resnet_pipe.__main__ import main; main()"
)
"""The command line, which prints the peak of its memory in KiB in the end."""


def main() -> None:
    """Measure, print and save."""
    parser = measure.parser(__doc__, repeats=3)
    parser.add_argument("--sources", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = (arguments.folder or Path(name)).resolve()
        images, job = directory / "images", directory / "job.yaml"
        if not job.exists():
            make(images, job, arguments.sources)
        figures = {"floor": median(lambda: floor(images), arguments.repeats)}
        nights: dict[str, tuple[AbstractContextManager[None], int]] = {
            "nothing new": (nullcontext(), 0),
            f"{MORE} new": (more(images), MORE),
            f"1 of {ONE_OF} changed": (changed(images), -(-arguments.sources // ONE_OF)),
        }
        for night, (as_it_is, planned) in nights.items():
            said = f"sources  {planned} to process"
            with as_it_is:
                figures[night] = median(partial(program, said, job, "--dry-run"), arguments.repeats)
        figures["run with nothing new"] = median(lambda: program("", job, "--quiet"), arguments.repeats)
    for what, figure in figures.items():
        print(f"{what:<28}", *(f"{value:9.1f} {name}" for name, value in figure.items()))
    measure.save("known", {"sources": arguments.sources, **figures})


def median(measured: Callable[[], dict[str, float]], repeats: int) -> dict[str, float]:
    """Measure several times, and return the medians."""
    several = []
    for _ in range(repeats):
        several.append(measured())
        print(several[-1], flush=True)
    return {name: statistics.median(one[name] for one in several) for name in several[0]}


def program(says: str, job: Path, *flags: str) -> dict[str, float]:
    """Return what one run of a job takes, whose output begins so."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    printed = measure.output([sys.executable, "-c", PROGRAM, "run", str(job), *flags])
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if not printed.startswith(says):
        raise measure.ProgramError(f"expected: {says}, but it was: {printed}")
    return {
        "seconds": seconds,
        "processor_s": after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime,
        "peak_mb": int(printed.split()[-1]) * 1024 / 1e6,
    }


def floor(images: Path) -> dict[str, float]:
    """Return what it takes to list all files, sorted, and to ask for the state of each."""
    started, used = time.perf_counter(), time.process_time()
    for directory in sorted(os.listdir(images)):  # noqa: PTH208 - a Path would take as long as all else
        prefix = f"{images}/{directory}/"
        for name in sorted(os.listdir(prefix)):  # noqa: PTH208
            os.stat(prefix + name)  # noqa: PTH116
    return {"seconds": time.perf_counter() - started, "processor_s": time.process_time() - used}


def make(images: Path, job: Path, count: int) -> None:
    """Make images, and a job with a ledger that has them all."""
    started = time.perf_counter()
    add(images, range(count))
    model, unfinished = job.with_name("one_layer.onnx"), job.with_suffix(".tmp")
    write_one_layer(model)
    unfinished.write_text(JOB.format(images=images, model=model, directory=job.parent))
    commit(resolve(*load(unfinished)))
    unfinished.replace(job)
    print(f"{count} images and their ledger, made in {time.perf_counter() - started:.0f} s", flush=True)


def add(images: Path, numbers: range) -> None:
    """Make images with these numbers."""
    for number in numbers:
        directory = images / f"{number // PER_DIRECTORY:04d}"
        if number % PER_DIRECTORY == 0:
            directory.mkdir(parents=True)
        with (directory / f"image_{number:08d}.jpg").open("xb") as file:
            file.truncate(BYTES + number % BYTES)


def commit(resolved: Resolved) -> None:
    """Commit the chunks that a run would, each with a shard of one row."""
    job, ledger = resolved.job, Ledger(resolved.job.output)
    sources = job.reader.make_reader().list_sources()
    ledger.store.make(LEDGER, parents=True)
    with fingerprint.saving(ledger.store, resolved.fingerprint, has_rows=False):
        pass
    number = 0
    while entries := [Entry(source, rows=1) for source in islice(sources, job.run.chunk_items)]:
        chunk = f"{number:06d}"
        shard = ledger.stage(chunk) / f"part-{chunk}.parquet"
        pq.write_table(pa.table({"path": [entries[0].source.key]}), shard)
        files = (File(shard.name, file_sha256(shard)),)
        record = Record(chunk, files, resolved.digest, "2026-01-01T00:00:00+00:00", Entries.of(entries))
        ledger.commit(record, None)
        number += 1


@contextmanager
def more(images: Path) -> Iterator[None]:
    """Have some new images while a block runs."""
    directory = images / "new"
    directory.mkdir()
    try:
        for number in range(MORE):
            (directory / f"{number:08d}.jpg").write_bytes(b"new")
        yield
    finally:
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()


@contextmanager
def changed(images: Path) -> Iterator[None]:
    """Have a share of the images be of another time while a block runs."""
    paths = sorted(images.glob("*/*.jpg"))[::ONE_OF]
    times = [path.stat().st_mtime_ns for path in paths]
    try:
        for path, time_ns in zip(paths, times, strict=True):
            os.utime(path, ns=(time_ns, time_ns + 10**9))
        yield
    finally:
        for path, time_ns in zip(paths, times, strict=True):
            os.utime(path, ns=(time_ns, time_ns))


if __name__ == "__main__":
    main()
