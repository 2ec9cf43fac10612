"""Which run may create which records in a bucket: whatever several runs do, and however late."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from resnet_pipe.errors import LockedError, UsageError
from resnet_pipe.store import conditions
from resnet_pipe.store.address import Address
from resnet_pipe.store.bucket import Bucket
from resnet_pipe.store.connection import Storage
from resnet_pipe.store.objects import Objects
from resnet_pipe.store.store import Change
from tests import flaky_proxy
from tests.buckets import BUCKET, content, environment, open_bucket
from tests.flaky_proxy import Faults

RECORDS = "_resnet_pipe/ledger"
ONE, TWO = f"{RECORDS}/000000.json", f"{RECORDS}/000001.json"
Make = Callable[..., Bucket]


@pytest.fixture(autouse=True)
def _server(endpoint: str) -> Iterator[None]:
    """The environment names the server."""
    with mock.patch.dict(os.environ, environment(endpoint)):
        yield


@pytest.fixture
def make(endpoint: str, tmp_path: Path, request: pytest.FixtureRequest) -> Make:
    """Make a store in a place of the test's own, as another run on another machine would."""
    name = "".join(sign if sign.isalnum() else "-" for sign in request.node.name)
    count = itertools.count()

    def make_it(tag: str = "") -> Bucket:
        store = Bucket(Objects(Address(f"s3://{BUCKET}/{name}")), tmp_path / str(next(count)), tag)
        store.make(RECORDS, parents=True)
        return store

    return make_it


def recover(store: Bucket) -> None:
    store.recover(RECORDS, lambda name: Change({}, (), store.read(name).decode()), [])


def publish(store: Bucket, record: str, text: bytes = b"by somebody") -> None:
    (store.stage(record) / "part").write_bytes(text)
    store.publish(record, text, Change({"part": ""}, (), text.decode()))


def test_of_two_runs_that_begin_at_once_one_is_refused(make: Make) -> None:
    first, second = make(), make()
    recover(first)
    recover(second)
    first.claim([ONE])
    with pytest.raises(LockedError, match="has begun"):
        second.claim([ONE])
    publish(first, ONE)
    assert first.read(ONE) == b"by somebody"


def test_a_run_that_was_taken_for_dead_creates_nothing_any_more(make: Make) -> None:
    dead = make()
    recover(dead)
    dead.claim([ONE, TWO])
    publish(dead, ONE)
    later = make()
    recover(later)
    assert [file.name for file in later.list(RECORDS)] == [ONE]
    assert [*later.used(RECORDS)] == [ONE, TWO], "its name is used up"
    with pytest.raises(LockedError, match="meanwhile"):
        publish(dead, TWO)
    recover(dead)
    assert later.look(TWO) is None
    assert later.read("part") == b"by somebody"


def test_one_that_goes_on_does_not_cancel_what_a_later_run_claims(make: Make) -> None:
    dead, later = make(), make()
    recover(dead)
    dead.claim([ONE])
    recover(later)
    later.claim([TWO])
    recover(dead)
    publish(later, TWO)
    assert later.read(TWO) == b"by somebody"


def test_a_record_is_replaced_by_one_of_two_that_know_it(make: Make) -> None:
    first = make()
    recover(first)
    first.claim([ONE])
    publish(first, ONE, b"first")
    second, third = make(), make()
    for store in (second, third):
        recover(store)
        assert store.read(ONE) == b"first"
    publish(third, ONE, b"third")
    with pytest.raises(LockedError):
        publish(second, ONE, b"second")
    recover(make())
    assert third.read(ONE) == b"third"
    assert third.read("part") == b"third"


def test_what_was_removed_does_not_come_again(make: Make) -> None:
    store, asleep = make(), make()
    recover(store)
    store.claim([ONE])
    publish(store, ONE)
    assert asleep.read(ONE)
    store.delete(["part", ONE])
    assert [*store.list(RECORDS)] == []
    for late in (asleep, make()):
        with pytest.raises(LockedError):
            publish(late, ONE, b"late")
    store.clear(RECORDS)
    assert store.look("part") is None
    with pytest.raises(LockedError):
        publish(make(), ONE, b"later still")


def test_divisions_leave_each_other_alone_and_a_whole_job_stops_them(make: Make) -> None:
    one, two, of_four, whole = make("1of2"), make("2of2"), make("1of4"), make()
    names = {store: f"{RECORDS}/{store.tag}-000000.json" for store in (one, two, of_four)}
    recover(one)
    recover(two)
    one.claim([names[one]])
    two.claim([names[two]])
    publish(one, names[one])
    recover(one)
    publish(two, names[two])
    recover(of_four)
    of_four.claim([names[of_four]])
    recover(whole)
    with pytest.raises(LockedError):
        publish(of_four, names[of_four])
    assert {file.name for file in whole.list(RECORDS)} == {names[one], names[two]}


def test_files_that_somebody_else_cleared_away_are_put_again(make: Make, endpoint: str) -> None:
    store, other = make(), make()
    recover(store)
    store.claim([ONE])
    (store.stage(ONE) / "part").write_bytes(b"data")
    place = str(store.root).rpartition("/")[2]

    def clear_away(request: flaky_proxy.Request) -> None:
        if request[0] == "PUT" and request[1].endswith("/part") and "staged" not in request[1]:
            bucket = open_bucket(endpoint, place)
            names = [name for name in content(bucket) if "staged" in name]
            other._objects.delete(names)

    faults = Faults()
    faults.before = clear_away
    with flaky_proxy.before(endpoint, faults) as address:
        store._patient = Objects(store._objects.address, Storage(address))
        store.publish(ONE, b"data", Change({"part": ""}, (), "data"))
    assert other.read("part") == b"data"


def test_a_file_is_exchanged_only_for_the_one_that_is_known(make: Make) -> None:
    one, two = make("1of2"), make("2of2")
    assert one.mark("file") == two.mark("file") == ""
    mark = one.exchange("file", [b"fi", b"rst"], "")
    assert mark == two.mark("file") != ""
    assert two.exchange("file", [b"second"], "") is None
    assert two.exchange("file", [b"first"], "") == mark, "it is there, whoever has put it"
    assert two.exchange("file", [b"second"], mark) == one.mark("file")
    assert one.exchange("file", [b"third"], mark) is None
    assert one.read("file") == b"second"


def test_an_exchange_whose_answer_gets_lost_has_been_made(make: Make, endpoint: str) -> None:
    store, faults = make(), Faults()
    requests = []

    def lose_the_first(request: flaky_proxy.Request) -> None:
        requests.append(request)
        faults.unanswered = 0.0 if len(requests) > 1 else 1.0

    faults.before = lose_the_first
    faults.unanswered = 1.0
    with flaky_proxy.before(endpoint, faults) as address:
        store._patient = Objects(store._objects.address, Storage(address))
        assert store.exchange("file", [b"data"], "") == make().mark("file") != ""
    assert len(requests) > 1


@pytest.mark.parametrize("lost", [0.0, 0.2])
def test_a_server_that_keeps_conditions_is_accepted(endpoint: str, lost: float) -> None:
    faults = Faults()
    faults.unanswered = lost
    with (
        flaky_proxy.before(endpoint, faults) as address,
        mock.patch.dict(os.environ, AWS_ENDPOINT_URL=address),
    ):
        place = Objects(Address(f"s3://{BUCKET}/conditions-{lost}"))
        conditions.require(place, "whole")
    assert content(open_bucket(endpoint, f"conditions-{lost}")) == {}


def test_a_server_that_ignores_conditions_is_refused(endpoint: str) -> None:
    faults = Faults()
    faults.ignore_conditions = True
    with (
        flaky_proxy.before(endpoint, faults) as address,
        pytest.raises(UsageError, match="only where there is none"),
    ):
        conditions.require(Objects(Address(f"s3://{BUCKET}/ignored"), Storage(address)), "whole")
