"""Files that are too large for one request of a bucket's server: copied in parts, and never seen half."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from resnet_pipe.store.address import Address
from resnet_pipe.store.bucket import Bucket
from resnet_pipe.store.connection import Storage
from resnet_pipe.store.objects import Objects
from resnet_pipe.store.store import Change
from tests import flaky_proxy
from tests.buckets import BUCKET, environment
from tests.flaky_proxy import Faults, Request

RECORDS = "_resnet_pipe/ledger"
RECORD = f"{RECORDS}/000000.json"
DATA = random.Random(0).randbytes((12 << 20) + 345)
"""Three parts."""


@pytest.fixture(autouse=True)
def _small(endpoint: str) -> Iterator[None]:
    """What has more than 1 MiB is large, and goes in parts of 5 MiB, the least that Amazon takes."""
    with (
        mock.patch.dict(os.environ, environment(endpoint)),
        mock.patch("resnet_pipe.store.large_objects.LARGEST", 1 << 20),
        mock.patch("resnet_pipe.store.large_objects._PART_BYTES", 5 << 20),
        mock.patch("resnet_pipe.store.objects.PATIENCE_S", 0.3),
        mock.patch("resnet_pipe.store.bucket_files.PATIENCE_S", 0.3),
    ):
        yield


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def place(endpoint: str, faults: Faults, request: pytest.FixtureRequest) -> Iterator[Objects]:
    """A place of the test's own, which is reached through the faults."""
    with flaky_proxy.before(endpoint, faults) as address:
        yield Objects(Address(f"s3://{BUCKET}/{request.node.name}"), Storage(address))


def bucket(place: Objects, machine: Path) -> Bucket:
    """Return the store as a run on a machine has it, which has begun."""
    store = Bucket(place, machine)
    store.make(RECORDS, parents=True)
    store.recover(RECORDS, lambda _: Change({"part": ""}, (), "attempt"), [])
    return store


def publish(store: Bucket, data: bytes = DATA) -> None:
    store.claim([RECORD])
    (store.stage(RECORD) / "part").write_bytes(data)
    store.publish(RECORD, b"of a large file", Change({"part": ""}, (), "attempt"))


def is_of_place(request: Request) -> bool:
    """Tell whether a request is about the file in its place, and not as it is staged."""
    return "/part" in request[1] and "/staged/" not in request[1]


def test_it_is_copied_in_parts_and_appears_when_it_is_complete(
    place: Objects, faults: Faults, tmp_path: Path
) -> None:
    asked = []
    seen = []

    def before(request: Request) -> None:
        if is_of_place(request) and request[0] != "HEAD":
            asked.append(request[0])
            seen.append(direct.look("part"))

    store = bucket(place, tmp_path)
    direct = Objects(place.address)
    faults.before = before
    publish(store)
    assert asked == ["POST", "PUT", "PUT", "PUT", "POST"]
    assert {*seen} == {None}
    faults.before = lambda _request: None
    assert direct.read("part") == DATA
    assert [*direct.list("_resnet_pipe/staged")] == []


@pytest.mark.parametrize("number", [0, 2, 4, 5])
def test_a_copy_that_was_cut_off_is_made_again_of_what_is_staged(
    place: Objects, faults: Faults, tmp_path: Path, number: int
) -> None:
    """Before each request that it consists of; what was on that machine is lost."""
    count = 0

    def refused(request: Request) -> int | None:
        nonlocal count
        if is_of_place(request) and request[0] in ("POST", "PUT"):
            count += 1
            return 403 if count > number else None
        return None

    first = bucket(place, tmp_path / "first")
    first.put("part", [b"the file of before"])
    faults.refused = refused
    if number < 5:
        with pytest.raises(PermissionError):
            publish(first)
        assert place.read("part") == b"the file of before"
    else:
        publish(first)
        assert place.read("part") == DATA
    faults.refused = lambda _request: None
    second = bucket(place, tmp_path / "second")
    assert place.read("part") == DATA
    assert [*place.list("_resnet_pipe/staged")] == []
    assert second.read(RECORD) == b"of a large file"


@pytest.mark.parametrize("overtaken", [False, True])
def test_what_was_cleared_away_meanwhile_is_put_again_unless_something_else_has_come(
    place: Objects, faults: Faults, tmp_path: Path, overtaken: bool
) -> None:
    direct = Objects(place.address)
    store = bucket(place, tmp_path)

    def clear_away(request: Request) -> None:
        if request[0] == "POST" and is_of_place(request):
            faults.before = lambda _request: None
            direct.delete(found.name for found in direct.list("_resnet_pipe/staged"))
            if overtaken:
                direct.put("part", b"of a later run")

    faults.before = clear_away
    publish(store)
    assert direct.read("part") == (b"of a later run" if overtaken else DATA)


def test_a_large_file_of_new_results_takes_its_place(place: Objects, tmp_path: Path) -> None:
    store = bucket(place, tmp_path)
    store.put("next/part", [DATA])
    store.adopt("next", ["part"])
    assert place.read("part") == DATA
    assert place.look("next/part") is None
