"""What attempts stage for a run that publishes it: on a disk, and in a bucket."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from resnet_pipe.errors import LockedError
from resnet_pipe.store.address import Address
from resnet_pipe.store.bucket import Bucket
from resnet_pipe.store.connection import Storage
from resnet_pipe.store.disk import Disk
from resnet_pipe.store.lock import own_folder
from resnet_pipe.store.objects import Objects
from resnet_pipe.store.store import Change, Store
from tests.buckets import BUCKET

RECORDS = "_resnet_pipe/ledger"
RECORD = f"{RECORDS}/000000.json"
MakeStore = Callable[[str, str], Store]
"""Makes a store of one output, for the tag of a division and the name of an attempt."""


@pytest.fixture
def make_bucket(tmp_path: Path, endpoint: str, request: pytest.FixtureRequest) -> MakeStore:
    """Make the store of a place in a bucket, for a run or an attempt on a machine of its own."""
    address = f"s3://{BUCKET}/{''.join(sign if sign.isalnum() else '-' for sign in request.node.name)}"
    objects = Objects(Address(address), Storage(endpoint, anonymous=True))

    def make(tag: str = "", attempt: str = "") -> Bucket:
        store = Bucket(objects, tmp_path / (tag or attempt or "run"), tag, attempt)
        store.make(RECORDS, parents=True)
        return store

    return make


@pytest.fixture(params=["disk", "bucket"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Make a store of each kind."""
    if request.param == "bucket":
        made: MakeStore = request.getfixturevalue("make_bucket")
        return made
    (tmp_path / "out" / RECORDS).mkdir(parents=True)
    return lambda tag, attempt: Disk(tmp_path / "out", tag, attempt)


def stage(store: Store, data: bytes) -> None:
    """Have an attempt stage one file for the record."""
    (store.stage(RECORD) / "part-0").write_bytes(data)
    store.complete(RECORD)


def publish(store: Store, data: bytes) -> None:
    """Publish the record of one file, which is staged."""
    change = Change({"part-0": hashlib.sha256(data).hexdigest()}, (), store.attempt(RECORD))
    store.publish(RECORD, json.dumps(change).encode(), change)


def recover(store: Store) -> None:
    store.recover(RECORDS, lambda name: Change(*json.loads(store.read(name))), [])


def test_what_an_attempt_has_completed_is_published_by_its_run_alone(make: MakeStore) -> None:
    run, first, second = make("", ""), make("", "first"), make("", "second")
    with first.attempted(), second.attempted():
        stage(first, b"one")
        stage(second, b"two")
        assert run.look("part-0") is None
        run.take_over(RECORD, "second", {"part-0"})
        publish(run, b"two")
        stage(first, b"late")
        assert run.read("part-0") == b"two"
    run.drop(["first", "second"])
    recover(run)
    assert run.read("part-0") == b"two"
    assert [*run.list(RECORDS)] == [run.look(RECORD)]


def test_what_replaces_a_record_is_published_as_well(make: MakeStore) -> None:
    run = make("", "")
    for name, data in (("first", b"old"), ("second", b"new")):
        with make("", name).attempted():
            stage(make("", name), data)
            run.take_over(RECORD, name, {"part-0"})
        publish(run, data)
        assert run.read("part-0") == data


def test_a_sign_is_seen_where_it_is_left_and_nothing_stays_of_it(make: MakeStore) -> None:
    run, other = make("", ""), make("", "")
    with run.shown("sign"):
        other.see("sign")
        with pytest.raises(FileNotFoundError):
            other.see("another")
    with pytest.raises(FileNotFoundError):
        other.see("sign")


def staged(store: Bucket) -> list[str]:
    """Return what is staged in a bucket."""
    assert isinstance(store.root, Objects)
    return [found.name for found in store.root.list("_resnet_pipe/staged")]


@pytest.fixture
def bucket(make_bucket: MakeStore) -> Iterator[Bucket]:
    """The store of a run, and an attempt that has staged."""
    run, attempt = make_bucket("", ""), make_bucket("", "first")
    assert isinstance(run, Bucket)
    with attempt.attempted():
        stage(attempt, b"data")
        yield run


def test_a_publication_that_was_cut_off_is_finished_and_not_dropped(bucket: Bucket) -> None:
    bucket.take_over(RECORD, "first", {"part-0"})
    with mock.patch.object(Objects, "copy", side_effect=TimeoutError), pytest.raises(TimeoutError):
        publish(bucket, b"data")
    bucket.drop(["first"])
    recover(bucket)
    assert bucket.read("part-0") == b"data"
    assert staged(bucket) == []


def test_a_run_that_was_taken_for_dead_publishes_nothing_that_an_attempt_has_staged(
    bucket: Bucket, make_bucket: MakeStore
) -> None:
    bucket.claim([RECORD])
    later = make_bucket("", "")
    recover(later)
    assert staged(bucket) == []
    bucket.take_over(RECORD, "first", {"part-0"})
    with pytest.raises(LockedError):
        publish(bucket, b"data")
    assert bucket.look("part-0") is None


def test_a_run_that_was_taken_for_dead_replaces_nothing_that_is_gone(
    bucket: Bucket, make_bucket: MakeStore
) -> None:
    bucket.take_over(RECORD, "first", {"part-0"})
    publish(bucket, b"data")
    stage(make_bucket("", "second"), b"new")
    recover(make_bucket("", ""))
    with pytest.raises(LockedError):
        bucket.take_over(RECORD, "second", {"part-0"})
    assert bucket.read("part-0") == b"data"


def test_what_another_run_has_put_in_place_meanwhile_is_there(
    bucket: Bucket, make_bucket: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Objects.create

    def create_and_recover(self: Objects, name: str, data: bytes) -> str:
        tag = create(self, name, data)
        if name == RECORD:
            recover(make_bucket("", ""))
        return tag

    monkeypatch.setattr(Objects, "create", create_and_recover)
    bucket.take_over(RECORD, "first", {"part-0"})
    publish(bucket, b"data")
    assert bucket.read("part-0") == b"data"
    assert staged(bucket) == []


def test_what_a_neighbour_is_about_to_publish_is_left_alone(make_bucket: MakeStore) -> None:
    first, second = make_bucket("1of2", ""), make_bucket("2of2", "")
    (first.stage(RECORD) / "part-0").write_bytes(b"old")
    publish(first, b"old")
    attempt = make_bucket("1of2", "again")
    stage(attempt, b"new")
    recover(second)
    first.take_over(RECORD, "again", {"part-0"})
    publish(first, b"new")
    assert second.read("part-0") == b"new"
    recover(make_bucket("", ""))
    assert isinstance(second, Bucket)
    assert staged(second) == []


HOLD = """
import sys
from pathlib import Path
from resnet_pipe.store.lock import own_folder

with own_folder(Path(sys.argv[1]), Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_of_a_process_stays_while_it_lives(tmp_path: Path) -> None:
    def hold(name: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, tmp_path / "all" / name, tmp_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    def there() -> list[str]:
        return sorted(os.listdir(tmp_path / "all"))  # noqa: PTH208 - names, not paths

    with hold("living") as living:
        with hold("dead") as dead:
            dead.kill()
        assert there() == ["dead", "living"]
        with own_folder(tmp_path / "all" / "own", tmp_path):
            assert there() == ["living", "own"]
        assert there() == ["living"]
        living.communicate("")
    assert there() == []
