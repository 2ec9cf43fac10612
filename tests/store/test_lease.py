"""The note of a run that writes to a bucket: it excludes others while it is renewed, by whatever clock."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from threading import Event, Thread
from unittest import mock

import pytest

from resnet_pipe.errors import LockedError
from resnet_pipe.store.address import Address
from resnet_pipe.store.lease import NOTES, leased
from resnet_pipe.store.objects import Objects
from tests.buckets import BUCKET, environment

OFF = timedelta(minutes=14)
DIRECTIONS = pytest.mark.parametrize("off", [OFF, -OFF, timedelta(days=-20_000), timedelta(days=20_000)])


@pytest.fixture
def place(endpoint: str, request: pytest.FixtureRequest) -> Iterator[Objects]:
    """A place of the test's own, where a note is watched for less than a second."""
    name = "".join(sign if sign.isalnum() else "-" for sign in request.node.name)
    with (
        mock.patch.dict(os.environ, environment(endpoint)),
        mock.patch("resnet_pipe.store.lease.WATCH_S", 0.6),
    ):
        yield Objects(Address(f"s3://{BUCKET}/{name}"))


def note(off: timedelta, beats: int) -> bytes:
    """Return the note of a run on another machine, whose clock is off."""
    started_at = (datetime.now(timezone.utc) + off).isoformat("T", "seconds")
    return json.dumps({"host": "far", "pid": 7, "started_at": started_at, "beats": beats}).encode()


@DIRECTIONS
def test_a_note_that_is_renewed_is_of_a_run_that_lives(place: Objects, off: timedelta) -> None:
    ended = Event()

    def renew() -> None:
        beats = 2
        while not ended.wait(0.05):
            place.put(f"{NOTES}.json", note(off, beats))
            beats += 1

    place.put(f"{NOTES}.json", note(off, 1))
    other = Thread(target=renew)
    other.start()
    try:
        with pytest.raises(LockedError, match="process 7 on far"), leased(place, ""):
            pass
    finally:
        ended.set()
        other.join()


@DIRECTIONS
def test_a_note_that_stays_as_it_is_was_left_by_a_run_that_is_dead(place: Objects, off: timedelta) -> None:
    place.put(f"{NOTES}.json", note(off, 1))
    with leased(place, ""):
        ours = json.loads(place.read(f"{NOTES}.json"))
        assert ours["pid"] == os.getpid()
    assert place.look(f"{NOTES}.json") is None
