"""A job whose results go to a bucket, for the tests of such runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq

from tests.buckets import BUCKET, KEYS, content, names_in, open_bucket
from tests.run.commands import Result, command
from tests.run.jobs import HOME, JobFolder


class BucketJob(JobFolder):
    """A job whose results go to a bucket."""

    def __init__(self, folder: Path, network: Path, endpoint: str, name: str) -> None:
        self.server = open_bucket(endpoint, name)
        self.address = f"s3://{BUCKET}/{name}"
        self.variables = {**KEYS, "AWS_ENDPOINT_URL": endpoint, "XDG_CACHE_HOME": str(folder / "cache")}
        super().__init__(folder, network)

    def describe(self, kind: str = "parquet", chunk_items: int = 2) -> None:
        """Write the job file; see `write`."""
        wanted = {"csv": "fields: [logits]", "npy": "field: features"}.get(kind, "fields: [features, logits]")
        self.write(writer=f"{{kind: {kind}, path: '{self.address}', {wanted}}}", chunk_items=chunk_items)

    def here(self, *arguments: str) -> Result:
        """Run the job in this process."""
        return self.command("run", str(self.file), *arguments)

    def command(self, *arguments: str) -> Result:
        """Run a command in this process."""
        with mock.patch.dict(os.environ, self.variables):
            return command(*arguments)

    def files(self) -> Mapping[str, bytes]:
        """Return what somebody sees who does not know of resnet-pipe."""
        return {name: data for name, data in content(self.server).items() if not name.startswith(HOME)}

    def keys(self) -> list[str]:
        """Return the paths of all rows that somebody sees."""
        tables = [
            pq.read_table(pa.BufferReader(data)) for name, data in self.files().items() if "part-" in name
        ]
        return sorted(key for table in tables for key in table.column("path").to_pylist())

    def names(self) -> list[str]:
        """Return the names of the images, sorted."""
        return sorted(path.name for path in self.images.iterdir())

    def hidden(self, *folders: str) -> list[str]:
        """Return the names in some folders of resnet-pipe's own."""
        return [
            name
            for name in names_in(self.server)
            if name.startswith(tuple(f"{HOME}/{one}" for one in folders))
        ]


def place_of(name: str) -> str:
    """Return the name of a test as that of a place in the bucket."""
    return "".join(sign if sign.isalnum() else "-" for sign in name)


def job_of_six(folder: Path, network: Path, endpoint: str, test: str) -> BucketJob:
    """Return a job of six images, two a chunk, with results in a place of the test's own in the bucket."""
    job = BucketJob(folder, network, endpoint, place_of(test))
    job.describe()
    job.add(*(f"{index}.jpg" for index in range(6)))
    return job


def of_job(job: BucketJob) -> dict[str, bytes]:
    """Return the shards that somebody sees, by name."""
    return {name: data for name, data in job.files().items() if name.startswith("part-")}


def shards(folder: Path) -> dict[str, bytes]:
    """Return the shards in a directory, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*"))}


def check(job: BucketJob) -> None:
    """Check that every image is in exactly one row, and all is as it was written."""
    assert job.keys() == job.names()
    assert "no problems" in job.command("check", job.address).expect(0).stdout
    assert job.hidden("staged", "probe", "lock") == []
