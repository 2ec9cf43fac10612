"""A bucket of a server on this machine against its disk, for images, results, or both: whole runs, in turns.

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
from tests.buckets import BUCKET, open_bucket, serving, upload

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
    programs = {
        "disk": partial(measure.resnet_pipe, folder.job),
        "images": partial(measure.resnet_pipe, remote),
        "results": partial(measure.resnet_pipe, folder.job, *results),
        "both": partial(measure.resnet_pipe, remote, *results),
    }
    sitting = measure.alternate(programs, repeats)
    shares = {name: rate / sitting.median["disk"] for name, rate in sitting.median.items()}
    print(f"of the disk's rate: {', '.join(f'{name} {share:.2f}' for name, share in shares.items())}")
    print(f"{listed} objects listed in {listing_s:.2f} s")
    measure.save("buckets", {"images": listed, "rates": sitting.rates, "listing_s": listing_s})


if __name__ == "__main__":
    main()
