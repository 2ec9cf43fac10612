"""A bucket of a server on this machine against its disk, for images, results, or both: whole runs, in turns.

The same images in one tar file, and in one table, are read from both, too.

usage: python -m benchmarks.buckets [--images 6400] [--repeats 5]
       python -m benchmarks.buckets --memory 1600 6400 12800

JPEGs of 500x375 pixels to Parquet, with a network of one layer, so that only reading to writing remains. The
server, SeaweedFS, shares the processors with the runs: what it takes of them is part of the difference.

With --memory: the peak of the process that drives a run, and of its worker, over so many JPEGs of 64x48.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import obstore
from benchmarks import measure
from benchmarks.folder import Folder, sample_folder
from benchmarks.memory import encode
from benchmarks.overhead import JOB, write_one_layer
from jobs.samples import photographs
from tests.archives import pack
from tests.buckets import BUCKET, open_bucket, serving, upload
from tests.run.jobs import command_of, group
from tests.tables import write_table

from resnet_pipe.reader.images.section import ImagesSection


def main() -> None:
    """Measure, print and save."""
    parser = measure.parser(__doc__)
    parser.add_argument("--images", type=int, default=6400)
    parser.add_argument("--memory", type=int, nargs="+", metavar="IMAGES")
    arguments = parser.parse_args()
    if arguments.memory:
        _memory(sorted(arguments.memory))
        return
    with TemporaryDirectory() as directory, TemporaryDirectory() as server:
        model = Path(directory, "one_layer.onnx")
        write_one_layer(model)
        with sample_folder(model, arguments.images, JOB) as folder, serving(Path(server)) as endpoint:
            _compare(folder, endpoint, arguments.repeats)


def _compare(folder: Folder, endpoint: str, repeats: int) -> None:
    upload(open_bucket(endpoint), folder.images, "images/")
    storage = {"endpoint": endpoint, "anonymous": True}
    section = ImagesSection.model_validate(
        {"kind": "images", "path": f"s3://{BUCKET}/images/", "storage": storage}
    )
    started = time.perf_counter()
    listed = sum(1 for _ in section.make_reader().list_sources())
    listing_s = time.perf_counter() - started
    remote = folder.job.with_name("bucket.yaml")
    ours = f"path: 's3://{BUCKET}/images/', storage: {{endpoint: '{endpoint}', anonymous: true}}"
    remote.write_text(folder.job.read_text().replace(f"path: {folder.images}", ours))
    results = (f"writer.path=s3://{BUCKET}/results", f"writer.storage={json.dumps(storage)}")
    programs: dict[str, measure.Program] = {
        "disk": partial(measure.resnet_pipe, folder.job),
        "images": partial(measure.resnet_pipe, remote),
        "results": partial(measure.resnet_pipe, folder.job, *results),
        "both": partial(measure.resnet_pipe, remote, *results),
        **_packed(folder, endpoint),
    }
    sitting = measure.alternate(programs, repeats)
    shares = {name: rate / sitting.median["disk"] for name, rate in sitting.median.items()}
    print(f"of the disk's rate: {', '.join(f'{name} {share:.2f}' for name, share in shares.items())}")
    print(f"{listed} objects listed in {listing_s:.2f} s")
    measure.save("buckets", {"images": listed, "rates": sitting.rates, "listing_s": listing_s})


def _packed(folder: Folder, endpoint: str) -> dict[str, measure.Program]:
    """Return the jobs over a tar file and over a table with the images, on the disk and in the bucket."""
    packed = folder.directory / "packed"
    packed.mkdir()
    pack(folder.images, packed / "images.tar")
    images = [path.read_bytes() for path in sorted(folder.images.iterdir())]
    write_table(packed / "images.parquet", images, rows=500)
    upload(open_bucket(endpoint), packed, "packed/")
    text, programs = folder.job.read_text(), dict[str, measure.Program]()
    for kind, name in (("archive", "images.tar"), ("table", "images.parquet")):
        storage = f"{{endpoint: '{endpoint}', anonymous: true}}"
        for place, path in (
            ("disk", str(packed / name)),
            ("bucket", f"'s3://{BUCKET}/packed/{name}', storage: {storage}"),
        ):
            job = folder.job.with_name(f"{kind}-{place}.yaml")
            job.write_text(
                text.replace(f"kind: images, path: {folder.images}", f"kind: {kind}, path: {path}")
            )
            results = f"writer.path={folder.directory / 'out'}-{kind}"
            programs[f"{kind}, {place}"] = partial(measure.resnet_pipe, job, results)
    return programs


def _memory(counts: Sequence[int]) -> None:
    """Run over ever more images, each time from nothing; both the images and the results are in a bucket."""
    encoded = [encode(photo) for photo in photographs()]
    peaks: dict[int, dict[str, float]] = {}
    with TemporaryDirectory() as name, TemporaryDirectory() as server, serving(Path(server)) as endpoint:
        directory, bucket = Path(name), open_bucket(endpoint)
        write_one_layer(directory / "one_layer.onnx")
        job = directory / "job.yaml"
        where = f"s3://{BUCKET}/images/"
        job.write_text(JOB.format(images=where, model=directory / "one_layer.onnx", directory=directory))
        storage = f"storage={json.dumps({'endpoint': endpoint, 'anonymous': True})}"
        written = 0
        for count in counts:
            for number in range(written, count):
                obstore.put(bucket, f"images/{number:07d}.jpg", encoded[number % len(encoded)])
            written = count
            results = f"writer.path=s3://{BUCKET}/results-{count}"
            rest = (f"reader.{storage}", f"writer.{storage}", "run.report=false", "run.chunk_items=800")
            peaks[count] = _peaks(job, results, *rest, "run.workers=1")
            told = ", ".join(f"{who} {peak:.1f} MB" for who, peak in peaks[count].items())
            print(f"{count} images: {told}", flush=True)
    measure.save("buckets-memory", {"peak_rss_mb": peaks})


def _peaks(job: Path, *overrides: str) -> dict[str, float]:
    """Run a job; return the peak resident memory of its processes, MB, by what they are."""
    command = [sys.executable, "-m", "resnet_pipe", "run", str(job), "--quiet", *measure.set_flags(overrides)]
    kinds = {"worker": "resnet_pipe.run.workers.worker_process", "driver": str(job)}
    peaks = dict.fromkeys(sorted(kinds), 0.0)
    with subprocess.Popen(command, start_new_session=True) as run:
        while run.poll() is None:
            for pid in group(run.pid):
                words = command_of(pid)
                for kind, word in kinds.items():
                    if word in words:
                        peaks[kind] = max(peaks[kind], _peak_mb(pid))
            time.sleep(0.02)
    if run.returncode:
        raise measure.ProgramError(f"the run ended with exit code {run.returncode}")
    return peaks


def _peak_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0  # it has ended
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


if __name__ == "__main__":
    main()
