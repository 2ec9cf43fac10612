"""A server of buckets that has no room any more: a real one, whose disk is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest import mock

import numpy as np
import obstore
import pytest
from PIL import Image

from resnet_pipe.store import connection
from tests.buckets import content, open_bucket, serving
from tests.photographs import encode
from tests.run.bucket_jobs import BucketJob, check
from tests.run.jobs import wait_until

COUNT = 24


def noise(number: int) -> bytes:
    """Return a JPEG of some 150 kB."""
    pixels = np.random.default_rng(number).integers(0, 256, (320, 400, 3), np.uint8)
    return encode(Image.fromarray(pixels), "JPEG", quality=90)


def is_readable(job: BucketJob) -> bool:
    """Tell whether the server gives everything that it lists; it is busy with itself for a while."""
    with suppress(obstore.exceptions.BaseError):
        return bool(content(job.server))
    return False


@contextmanager
def hasty() -> Iterator[None]:
    """A server that refuses is asked again for a moment only."""
    with (
        mock.patch("resnet_pipe.store.objects.PATIENCE_S", 0.3),
        mock.patch("resnet_pipe.store.bucket_files.PATIENCE_S", 0.3),
    ):
        yield


@pytest.mark.slow
def test_a_full_server_ends_the_run_and_when_it_has_room_the_same_command_completes(
    network: Path, tmp_path: Path
) -> None:
    server = tmp_path / "server"
    server.mkdir()
    (tmp_path / "job").mkdir()
    with serving(server, volumes=8, volume_mb=1) as endpoint:
        for number in range(50):
            obstore.put(open_bucket(endpoint), f"of somebody else/{number}", bytes(100_000))
        job = BucketJob(tmp_path / "job", network, endpoint, "results")
        writers = f"[{{kind: parquet, path: '{job.address}', fields: [features]}}, {{kind: images}}]"
        job.write(writer=writers)
        for number in range(COUNT):
            (job.images / f"{number:02d}.jpg").write_bytes(noise(number))
        with hasty():
            said = job.here().expect(1).stderr.replace("\n", " ")
        assert job.address in said
        assert "has room" in said
        assert "run the same command again" in said
        wait_until(lambda: is_readable(job), "the server reads again")
        committed = job.keys()
        assert 0 < len(committed) < COUNT
        assert "no problems" in job.command("check", job.address).expect(0).stdout
    with serving(server, volumes=40, volume_mb=1) as endpoint:
        job.variables["AWS_ENDPOINT_URL"] = endpoint
        job.server = open_bucket(endpoint, "results")
        wait_until(lambda: is_readable(job), "the server has found what it keeps")
        assert set(committed) <= {*job.keys()}
        connection.connected.cache_clear()  # of the first server
        job.here().expect(0)
        check(job)
