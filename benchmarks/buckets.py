"""A bucket of a server on this machine against its disk, for images, results, or both: whole runs, in turns.

The same images in one tar file, and in one table, are read from both, too.

usage: python -m benchmarks.buckets [--images 6400] [--repeats 5]

JPEGs of 500x375 pixels to Parquet, with a network of one layer, so that only reading to writing remains. The
server, SeaweedFS, shares the processors with the runs: what it takes of them is part of the difference.
"""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import measure
from benchmarks.folder import Folder, sample_folder
from benchmarks.overhead import JOB, write_one_layer
from tests.archives import pack
from tests.buckets import BUCKET, open_bucket, serving, upload
from tests.tables import write_table

from resnet_pipe.reader.images.section import ImagesSection


def main() -> None:
    """Measure, print and save."""
    parser = measure.parser(__doc__)
    parser.add_argument("--images", type=int, default=6400)
    arguments = parser.parse_args()
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


if __name__ == "__main__":
    main()
