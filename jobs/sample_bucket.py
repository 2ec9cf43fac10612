"""Fill the bucket for the example job bucket.yaml: the sample images, below images/.

usage: python jobs/sample_bucket.py FOLDER SERVER BUCKET

The server must take requests without credentials, as one on this machine does that has no users.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen


def put(address: str, data: bytes = b"") -> None:
    """Put something there."""
    urlopen(Request(address, data, method="PUT"), timeout=30).close()  # noqa: S310 - as the user says


def wait_for(server: str) -> None:
    """Wait until a server that has just been started answers, half a minute at most."""
    deadline = time.monotonic() + 30
    while True:
        try:
            urlopen(server, timeout=5).close()  # noqa: S310 - as the user says
        except HTTPError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                sys.exit(f"error: {server} does not answer: {error}")
            time.sleep(0.5)
        else:
            return


def main(folder: Path, server: str, bucket: str) -> None:
    """Make a bucket, unless it is there, and put the files of a folder into it."""
    wait_for(server)
    with suppress(HTTPError):  # it is there
        put(f"{server}/{bucket}")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for file in files:
        put(f"{server}/{bucket}/images/{quote(str(file.relative_to(folder)))}", file.read_bytes())
    print(f"put {len(files)} sample images into s3://{bucket}/images/")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
