"""A bucket of a server on this machine against its disk, for images, results, or both: whole runs, in turns.

usage: python -m benchmarks.buckets --model models/resnet18.onnx [--images 1600] [--repeats 3]

JPEGs of 500x375 pixels to Parquet. The server, SeaweedFS, shares the processors with the runs: what it takes
of them is part of the difference.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import measure
from benchmarks.folder import sample_folder
from tests.buckets import BUCKET, open_bucket, serving, upload

from resnet_pipe.reader.images.section import ImagesSection


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1600)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with (
        TemporaryDirectory() as directory,
        sample_folder(arguments.model.resolve(), arguments.images) as folder,
        serving(Path(directory)) as endpoint,
    ):
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
        sitting = measure.alternate(programs, arguments.repeats)
    shares = {name: rate / sitting.median["disk"] for name, rate in sitting.median.items()}
    print(f"of the disk's rate: {', '.join(f'{name} {share:.2f}' for name, share in shares.items())}")
    print(f"{listed} objects listed in {listing_s:.2f} s")
    measure.save("buckets", {"images": listed, "rates": sitting.rates, "listing_s": listing_s})


if __name__ == "__main__":
    main()
