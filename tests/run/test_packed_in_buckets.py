"""Jobs over archives and tables in a bucket: the rows of the same files on a disk, whatever happens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest

from resnet_pipe.job.job import load
from resnet_pipe.reader.buckets import in_bucket
from resnet_pipe.reader.source import Source
from resnet_pipe.run.stop import Stop
from resnet_pipe.study.trial import open_trials
from tests import flaky_proxy
from tests.archives import compressed, tar_of
from tests.buckets import BUCKET, open_bucket, upload
from tests.flaky_proxy import Faults
from tests.run.faults import HASTY
from tests.run.jobs import (
    Cli,
    JobFolder,
    assert_clean,
    assert_same_rows,
    numbered,
    read_rows,
    states,
)
from tests.tables import write_table

PACKED = {"archive": ("a.tar", "b.tar.gz", "c.tar.zst"), "table": ("a.parquet", "b.parquet", "c.parquet")}
EACH, COUNT = 4, 12
STALE = """
import sys
from pathlib import Path

if "resnet_pipe.run.workers.worker_process" in sys.orig_argv:
    from resnet_pipe.store.objects import Objects

    read_part, mark = Objects.read_part, Path({mark!r})

    def replaced_once(self, name, offset, size):
        found, data = read_part(self, name, offset, size)
        if not mark.exists():
            mark.touch()
            found = found._replace(tag="another")
        return found, data

    Objects.read_part = replaced_once
"""
"""What makes the first part that a worker reads one of another object."""


class PackedJob(JobFolder):
    """A job over three archives or tables in `packed/` of four images each, and in a folder of a bucket."""

    def __init__(self, folder: Path, network: Path, endpoint: str, kind: str) -> None:
        super().__init__(folder, network)
        self.kind = kind
        self.packed = folder / "packed"
        self.packed.mkdir()
        self.prefix = f"{folder.parent.name}/packed"
        self.store = open_bucket(endpoint, self.prefix)
        self.add(*numbered(COUNT))
        for at, name in enumerate(PACKED[kind]):
            self.pack(name, numbered(COUNT)[at * EACH : (at + 1) * EACH])
        self.text = self.file.read_text()
        self.read_disk()

    def pack(self, name: str, images: list[str]) -> None:
        """Make an archive or table of some images, and put it into the bucket."""
        contents = [(self.images / image).read_bytes() for image in images]
        if self.kind == "table":
            write_table(self.packed / name, contents)
        else:
            data = tar_of(zip(images, contents, strict=True))
            (self.packed / name).write_bytes(compressed(data, name))
        upload(self.store, self.packed)

    def read_disk(self) -> None:
        """Have the job read what is on the disk."""
        ours = f"{{kind: {self.kind}, path: packed"
        self.file.write_text(self.text.replace("{kind: images, path: images", ours))

    def read_bucket(self, endpoint: str) -> None:
        """Have the job read what is in the bucket, from a server at this address."""
        storage = f"{{endpoint: '{endpoint}', anonymous: true}}"
        ours = f"{{kind: {self.kind}, path: 's3://{BUCKET}/{self.prefix}/', storage: {storage}"
        self.file.write_text(self.text.replace("{kind: images, path: images", ours))


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(params=PACKED)
def job(request: pytest.FixtureRequest, tmp_path: Path, network: Path, endpoint: str) -> PackedJob:
    (tmp_path / "job").mkdir()
    return PackedJob(tmp_path / "job", network, endpoint, request.param)


only_archives = pytest.mark.parametrize("job", ["archive"], indirect=True)


def test_the_rows_are_those_of_the_disk(job: PackedJob, endpoint: str) -> None:
    expected = read_rows(job.undisturbed())
    job.read_bucket(endpoint)
    job.run("--set", "run.workers=2", "--set", "run.chunk_items=5").expect(0)
    assert job.rows() == expected
    assert_clean(job.out)
    before = states(job.out)
    assert f"0 sources done, 0 failed, {COUNT} already done" in job.run().expect(0).stdout
    assert states(job.out) == before


def test_only_what_is_in_a_changed_one_is_processed_again(job: PackedJob, endpoint: str) -> None:
    job.read_bucket(endpoint)
    job.run().expect(0)
    job.change("0005.jpg")
    job.pack(PACKED[job.kind][1], numbered(EACH * 2)[EACH:])
    obstore.delete(job.store, PACKED[job.kind][2])
    said = job.run("--dry-run").expect(0).stdout
    assert f"{EACH} to process, {EACH} already done, {EACH} disappeared" in said
    job.run().expect(0)
    assert job.summary()["sources"]["done"] == EACH
    assert len(job.rows()) == COUNT, "rows of what is gone are kept"
    job.run("--prune", "--set", f"run.max_disappeared={EACH}").expect(0)
    assert len(job.rows()) == COUNT - EACH


@only_archives
def test_one_that_is_replaced_after_the_listing_is_read_now_and_again_by_the_next_run(
    job: PackedJob, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = in_bucket.InBucket.list_sources

    def sources(*arguments: Any) -> Iterator[Source]:  # noqa: ANN401 - of a method
        yield from list(listing(*arguments))
        if not (job.images / "changed").exists():
            (job.images / "changed").touch()
            job.change("0005.jpg")
            job.pack(PACKED[job.kind][1], numbered(EACH * 2)[EACH:])

    monkeypatch.setattr(in_bucket.InBucket, "list_sources", sources)
    job.read_bucket(endpoint)
    job.run().expect(0)
    job.run().expect(0)
    assert job.summary()["sources"]["done"] == EACH
    job.read_disk()
    assert_same_rows(job.out, job.undisturbed())


@only_archives
def test_one_that_is_replaced_while_it_is_read_costs_a_worker(
    job: PackedJob, endpoint: str, tmp_path: Path
) -> None:
    undisturbed = job.undisturbed()
    job.read_bucket(endpoint)
    job.run(faults=STALE.format(mark=str(tmp_path / "mark"))).expect(0)
    assert (tmp_path / "mark").exists()
    assert_same_rows(job.out, undisturbed)


def test_a_server_that_takes_longer_than_a_source_may_is_waited_for(job: PackedJob, endpoint: str) -> None:
    undisturbed = job.undisturbed()
    faults = Faults()
    faults.before = lambda request: time.sleep(2.5 if request[0] == "HEAD" else 0)
    with flaky_proxy.before(endpoint, faults) as address:
        job.read_bucket(address)
        job.run("--set", "reader.timeout_s=1.5", "--set", "run.workers=3").expect(0)
    assert_same_rows(job.out, undisturbed)


@only_archives
def test_a_server_that_goes_away_ends_the_run_and_no_source_fails(job: PackedJob, endpoint: str) -> None:
    expected = read_rows(job.undisturbed())
    faults = Faults()

    def lose_all_from_the_second_one_on(request: tuple[str, str]) -> None:
        if request == ("HEAD", f"/{BUCKET}/{job.prefix}/{PACKED[job.kind][1]}"):
            faults.lost = 1

    faults.before = lose_all_from_the_second_one_on
    with flaky_proxy.before(endpoint, faults) as address:
        job.read_bucket(address)
        one = "--set", "run.workers=1", "--set", f"run.chunk_items={EACH}"
        failed = job.run(*one, faults=HASTY).expect(1)
        assert "run the same command again" in failed.stderr.replace("\n", " ")
        assert len(job.rows()) == EACH
        assert not (job.out / "failures.jsonl").exists() or not job.failures()
        faults.lost, faults.before = 0, lambda _: None
        job.run(*one).expect(0)
    assert job.rows() == expected


def test_what_is_wrong_with_them_is_told_as_on_the_disk(job: PackedJob, endpoint: str) -> None:
    obstore.put(job.store, f"d{Path(PACKED[job.kind][0]).suffix}", b"neither a tar file nor a table" * 50)
    first = PACKED[job.kind][0]
    data = (job.packed / first).read_bytes()
    obstore.put(job.store, first, data[: int(0.6 * len(data))])
    obstore.delete(job.store, PACKED[job.kind][2])
    job.read_bucket(endpoint)
    job.run().expect(3)
    errors = {path: line["error"] for path, line in job.failures().items()}
    if job.kind == "table":
        assert errors == {first: "damaged", "d.parquet": "damaged"}
        assert len(job.rows()) == EACH
    else:
        assert errors == {first: "truncated", "d.tar": "unknown_format"}
        assert len(job.rows()) == EACH + 2
    obstore.put(job.store, first, data)
    obstore.delete(job.store, f"d{Path(first).suffix}")
    job.run().expect(0)
    assert len(job.rows()) == 2 * EACH


@only_archives
def test_pictures_are_drawn(job: PackedJob, endpoint: str) -> None:
    job.write(writer="{kind: images, path: out, k: 2}")
    job.text = job.file.read_text()
    job.read_disk()
    expected = job.undisturbed() / "images"
    job.read_bucket(endpoint)
    job.run().expect(0)
    drawn = sorted(path.relative_to(expected) for path in expected.rglob("*.jpg"))
    assert len(drawn) == COUNT
    assert all((job.out / "images" / path).read_bytes() == (expected / path).read_bytes() for path in drawn)


def test_the_other_commands_take_such_a_job(job: PackedJob, endpoint: str, cli: Cli) -> None:
    job.read_bucket(endpoint)
    assert str(COUNT) in cli("run", job.file, "--dry-run").expect(0).stdout
    assert not job.out.exists()
    cli("run", job.file, "--set", "run.canary=2").expect(0)
    cli("check", job.out).expect(0)
    verified = cli("verify", job.file, "--count", 3, "--engine", "opencv", "--json").expect(0).stdout
    assert json.loads(verified)["images"]["used"] == 3


def test_trials_read_what_is_unpacked(job: PackedJob, endpoint: str) -> None:
    job.read_bucket(endpoint)
    loaded, _ = load(job.file)
    with open_trials(loaded, Stop()) as trials:
        assert trials.sample.found == COUNT
        result = trials.run(20, {"infer.batch_size": 4}, 60)
    assert result["sources"]["done"] == result["items"] == 20
