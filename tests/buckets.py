"""A server of buckets for tests: SeaweedFS on this machine, which speaks S3, and what is put into it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from obstore.store import S3Store

KEYS = {"AWS_ACCESS_KEY_ID": "anybody", "AWS_SECRET_ACCESS_KEY": "anything", "AWS_REGION": "us-east-1"}
"""Credentials: this server takes any."""
BUCKET = "bucket"
_PATIENCE_S = 60


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def serving(folder: Path, volumes: int = 300, volume_mb: int = 1000) -> Iterator[str]:
    """Serve one bucket, kept in a folder, perhaps by an earlier server; yield the server's address.

    The server has room for so many volumes of that size; the first object takes seven.
    """
    server, endpoint = _start(folder, f"-volume.max={volumes}", f"-master.volumeSizeLimitMB={volume_mb}")
    try:
        yield endpoint
    finally:
        _end(server)


def _start(folder: Path, *room: str) -> tuple[subprocess.Popen[bytes], str]:
    weed = shutil.which("weed") or str(Path(sys.executable).with_name("weed"))
    # It takes keys in its environment for those that it has to ask for.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    plain["TMPDIR"] = str(folder)  # for its log
    for _ in range(3):  # somebody may take a port that was free
        ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
        # The ports of gRPC are these, unless they are named.
        grpc = {f"{name}.port.grpc": free_port() for name in ports}
        command = [weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-s3", *room]
        command += [f"-{name}.port={port}" for name, port in ports.items()]
        command += [f"-{name}={port}" for name, port in grpc.items()]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=plain)
        endpoint = f"http://127.0.0.1:{ports['s3']}"
        if _has_started(endpoint, server):
            return server, endpoint
        _end(server)
    raise RuntimeError(f"the server of buckets does not start; see {folder / 'log'}")


def _end(server: subprocess.Popen[bytes]) -> None:
    """End a server at once, as a fault does, and remove the sockets that it leaves outside of its folder."""
    server.kill()
    server.wait()
    ports = {part.rpartition("=")[2] for part in cast(list[str], server.args) if ".port" in part}
    for socket_file in Path("/tmp").glob("seaweedfs-*.sock"):  # noqa: S108 - it takes no other place for them
        if socket_file.stem.rpartition("-")[2] in ports:
            socket_file.unlink(missing_ok=True)


def _has_started(endpoint: str, server: subprocess.Popen[bytes]) -> bool:
    """Make the bucket, unless it is there; tell whether it takes an object."""
    import obstore

    end = time.monotonic() + _PATIENCE_S
    while server.poll() is None and time.monotonic() < end:
        with suppress(HTTPError, URLError, ConnectionError, obstore.exceptions.BaseError):
            bucket = Request(f"{endpoint}/{BUCKET}", method="PUT")  # noqa: S310 - http, as made above
            try:
                urlopen(bucket, timeout=5).close()  # noqa: S310
            except HTTPError as error:
                if error.code != HTTPStatus.CONFLICT:
                    raise
            obstore.put(open_bucket(endpoint, retry=False), "ready", b"")
            return True
        time.sleep(0.1)
    return False


def open_bucket(endpoint: str, prefix: str = "", retry: bool = True) -> S3Store:
    """Return the bucket, or what is below a prefix in it."""
    from obstore.store import S3Store

    return S3Store(
        BUCKET,
        prefix=prefix or None,
        endpoint=endpoint,
        access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region=KEYS["AWS_REGION"],
        client_options={"allow_http": True},
        retry_config=None if retry else {"max_retries": 0},
    )


def upload(store: S3Store, folder: Path, prefix: str = "") -> None:
    """Put the files of a folder into a bucket, under the same names below a prefix."""
    import obstore

    for path in sorted(folder.rglob("*")):
        if path.is_file():
            obstore.put(store, f"{prefix}{path.relative_to(folder)}", path.read_bytes())


def names_in(store: S3Store) -> list[str]:
    """Return the names of everything in a bucket, or below its prefix, sorted."""
    return sorted(found["path"] for group in store.list() for found in group)


def content(store: S3Store) -> Mapping[str, bytes]:
    """Return everything in a bucket, or below its prefix."""
    import obstore

    return {name: obstore.get(store, name).bytes().to_bytes() for name in names_in(store)}


def environment(endpoint: str) -> dict[str, str]:
    """Return the environment of a process that uses the server, without naming it in a job."""
    return {**os.environ, **KEYS, "AWS_ENDPOINT_URL": endpoint}
