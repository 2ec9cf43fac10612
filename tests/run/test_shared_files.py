"""What two divisions on two machines write together in a bucket: nothing of either is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from resnet_pipe.ledger import generation, merged, standing
from resnet_pipe.ledger.ledger import Ledger, chunk_of
from resnet_pipe.run.plan import Division
from resnet_pipe.store.bucket import Bucket
from resnet_pipe.store.bucket_files import is_record
from tests.run.bucket_jobs import BucketJob, check, place_of
from tests.run.found import use_boxes
from tests.run.jobs import HOME

Meanwhile = Callable[[], None]


@pytest.fixture
def job(network: Path, tmp_path: Path, endpoint: str, request: pytest.FixtureRequest) -> BucketJob:
    """A job of eight images, two a chunk, whose results go to a place of their own in the bucket."""
    job = BucketJob(tmp_path, network, endpoint, place_of(request.node.name))
    job.describe()
    job.add(*(f"{index:02d}.jpg" for index in range(4, 12)))  # four of each division
    return job


@pytest.fixture
def meanwhile(job: BucketJob) -> Meanwhile:
    """Run the second division on another machine, but only once."""
    codes: list[int] = []

    def run() -> None:
        if not codes:
            codes.append(-1)
            before = job.variables["XDG_CACHE_HOME"]
            job.variables["XDG_CACHE_HOME"] = str(job.folder / "another machine")
            codes[0] = job.here("--divide", "2/2").code
            job.variables["XDG_CACHE_HOME"] = before
            assert codes[0] in (0, 3)

    return run


def test_failures_of_both_are_listed_though_they_end_at_once(
    job: BucketJob, monkeypatch: pytest.MonkeyPatch, meanwhile: Meanwhile
) -> None:
    """The second one does everything after the first one has read the records."""
    bad = [f"bad-{index:02d}.jpg" for index in range(5, 11)]
    job.add_bad(*bad)
    lines = standing._lines

    def read_then_wait(ledger: Ledger, counts: Any) -> Iterable[bytes]:  # noqa: ANN401 - as there
        found = [*lines(ledger, counts)]
        if ledger.tag == "1of2":
            meanwhile()
        return found

    monkeypatch.setattr(standing, "_lines", read_then_wait)
    job.here("--divide", "1/2").expect(3)
    listed = [json.loads(line)["path"] for line in job.files()["failures.jsonl"].splitlines()]
    assert sorted(listed) == bad


@pytest.mark.parametrize("instant", ["when it has read the records", "when it has begun", "at its end"])
def test_one_file_of_all_chunks_has_those_of_both_though_they_end_at_once(
    job: BucketJob, monkeypatch: pytest.MonkeyPatch, meanwhile: Meanwhile, instant: str
) -> None:
    use_boxes(monkeypatch)
    job.write(writer=f"[{{path: '{job.address}', kind: parquet, fields: [boxes]}}, {{kind: coco}}]")
    digest_of, place = merged.digest_of, Bucket.place

    def digest(ledger: Ledger) -> str:
        found = digest_of(ledger)
        if ledger.tag == "1of2" and instant == "when it has read the records":
            meanwhile()
        return found

    def put(store: Bucket, record: str, names: Sequence[str], obsolete: Iterable[str]) -> None:
        if store.tag == "1of2" and instant == "when it has begun":
            meanwhile()
        place(store, record, names, obsolete)
        if store.tag == "1of2" and instant == "at its end":
            meanwhile()

    monkeypatch.setattr(merged, "digest_of", digest)
    monkeypatch.setattr(Bucket, "place", put)
    job.here("--divide", "1/2").expect(0)
    images = json.loads(job.files()["coco/images.json"])["images"]
    assert sorted(image["file_name"] for image in images) == job.names()
    told = job.command("check", job.address).expect(0).stdout
    assert "no problems" in told
    assert "the next run makes it" not in told


def test_both_complete_a_switch_and_what_one_commits_then_stays(
    job: BucketJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one does all of it, and commits, after the first one has read a record to move it."""
    job.here().expect(0)
    complete, exchange = generation.complete, Bucket.exchange

    def cut_off(ledger: Ledger) -> None:
        if generation.read_switch(ledger):
            raise OSError(5, "the server has gone away")
        complete(ledger)

    with monkeypatch.context() as patch:
        patch.setattr(generation, "complete", cut_off)
        job.here("--fresh").expect(1)
    assert f"{HOME}/switch.json" in job.hidden("switch")
    for name in job.names():
        job.change(name)

    first, other = iter([True]), Division(1, 2)  # whose chunks these are

    def later(store: Bucket, name: str, data: Iterable[bytes], mark: str) -> str | None:
        if is_record(name) and other.owns(chunk_of(name)) and next(first, False):
            env = {**job.variables, "XDG_CACHE_HOME": str(job.folder / "another machine")}
            job.start("--divide", "1/2", env=env).end().expect(0)
        return exchange(store, name, data, mark)

    monkeypatch.setattr(Bucket, "exchange", later)
    job.here("--divide", "2/2").expect(0)
    check(job)
    assert next(first, None) is None
    monkeypatch.undo()
    assert "0 sources done" in job.here().expect(0).stdout
    check(job)
