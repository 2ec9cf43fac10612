"""Jobs over buckets: the rows of a folder, and what a run does when objects, or the server, go and come."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import obstore
import pytest

from resnet_pipe.job.job import load
from resnet_pipe.reader.buckets import in_bucket
from resnet_pipe.reader.source import Source
from resnet_pipe.run.stop import Stop
from resnet_pipe.study.trial import open_trials
from tests.answers import answering, error
from tests.buckets import BUCKET, open_bucket, upload
from tests.gate import Gate
from tests.run.faults import HASTY
from tests.run.jobs import (
    HOME,
    Cli,
    JobFolder,
    assert_clean,
    assert_other_commands,
    assert_same_rows,
    numbered,
    read_rows,
    states,
)

COUNT = 8


class BucketJob(JobFolder):
    """A job over a folder of a bucket, with what is in `images/`."""

    def __init__(self, folder: Path, network: Path, endpoint: str) -> None:
        super().__init__(folder, network)
        self.endpoint = endpoint
        self.prefix = f"{folder.parent.name}/pictures"
        self.store = open_bucket(endpoint, self.prefix)
        self.add(*numbered(COUNT))
        self.upload()

    def upload(self) -> None:
        """Put the images into the bucket."""
        upload(self.store, self.images)

    def read_bucket(self, path: str = "", storage: str = "") -> None:
        """Have the job read the bucket."""
        path = path or f"s3://{BUCKET}/{self.prefix}/"
        storage = storage or f"{{endpoint: '{self.endpoint}', anonymous: true}}"
        ours = f"{{kind: images, path: '{path}', storage: {storage}"
        self.file.write_text(self.file.read_text().replace("{kind: images, path: images", ours))


@pytest.fixture
def job(tmp_path: Path, network: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> BucketJob:
    monkeypatch.setattr(in_bucket, "PATIENCE_S", 0.3)
    (tmp_path / "job").mkdir()
    return BucketJob(tmp_path / "job", network, endpoint)


@pytest.fixture
def gate(endpoint: str) -> Iterator[Gate]:
    gate = Gate(urlsplit(endpoint).port or 0)
    yield gate
    gate.close()


def test_the_rows_are_those_of_the_folder(job: BucketJob) -> None:
    job.add("sub/a b%20+#.jpg", "sub-1/x.jpg", "sub.jpg", ".hidden.jpg")
    job.upload()
    expected = read_rows(job.undisturbed())
    job.read_bucket()
    job.run("--set", "run.workers=2", "--set", "run.chunk_items=3").expect(0)
    assert job.rows() == expected
    assert_clean(job.out)
    before = states(job.out)
    assert f"0 sources done, 0 failed, {COUNT + 3} already done" in job.run().expect(0).stdout
    assert states(job.out) == before


def test_only_objects_that_are_new_or_changed_are_processed(job: BucketJob) -> None:
    job.read_bucket()
    job.run().expect(0)
    job.add("9999.jpg")
    job.change("0003.jpg")
    job.upload()  # the others are put again, with the same content
    obstore.delete(job.store, "0005.jpg")
    said = job.run("--dry-run").expect(0).stdout
    assert f"2 to process, {COUNT - 2} already done, 1 disappeared" in said
    job.run().expect(0)
    assert len(job.rows()) == COUNT + 1, "rows of what is gone are kept"
    job.run("--prune", "--set", "run.max_disappeared=1").expect(0)
    assert job.paths() == [*numbered(5), "0006.jpg", "0007.jpg", "9999.jpg"]
    assert_clean(job.out)


def test_an_empty_folder_of_a_bucket_is_no_reason_to_drop_rows(job: BucketJob) -> None:
    job.read_bucket()
    job.run().expect(0)
    before = states(job.out)
    obstore.delete(job.store, numbered(COUNT))
    said = job.run("--prune").expect(1).stderr.replace("\n", " ")
    assert f"no images found in s3://{BUCKET}/{job.prefix}/" in said
    said = job.run("--prune", "--set", "reader.allow_empty=true").expect(1).stderr.replace("\n", " ")
    assert f"{job.prefix}/ is empty now, but {COUNT} known sources were in it" in said
    assert states(job.out) == before


def test_what_cannot_be_decoded_is_recorded_with_its_key(job: BucketJob) -> None:
    job.add_bad("bad.jpg")
    (job.images / "empty.jpg").touch()
    (job.images / "cut.jpg").write_bytes((job.images / "0000.jpg").read_bytes()[:600])
    job.upload()
    job.read_bucket()
    job.run().expect(3)
    assert {path: line["error"] for path, line in job.failures().items()} == {
        "bad.jpg": "unknown_format",
        "cut.jpg": "truncated",
        "empty.jpg": "empty",
    }
    assert job.paths() == numbered(COUNT)


def test_an_object_that_is_gone_costs_itself_and_a_bucket_that_is_gone_the_run(
    job: BucketJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the listing and the reading."""

    def remove_after(count: int) -> None:
        def sources(*arguments: Any) -> Iterator[Source]:  # noqa: ANN401 - of a method
            yield from list(listing(*arguments))
            obstore.delete(job.store, numbered(count))

        monkeypatch.setattr(in_bucket.InBucket, "list_sources", sources)

    listing = in_bucket.InBucket.list_sources
    job.read_bucket()
    remove_after(2)
    job.run().expect(3)
    assert {path: line["error"] for path, line in job.failures().items()} == {
        "0000.jpg": "missing",
        "0001.jpg": "missing",
    }
    job.upload()
    remove_after(COUNT)
    said = job.run("--fresh").expect(1).stderr.replace("\n", " ")
    assert f"the input is gone: s3://{BUCKET}/{job.prefix} cannot be read or is empty now" in said
    assert len(job.rows()) == COUNT - 2


def test_a_server_that_goes_away_ends_the_run_and_no_source_fails(job: BucketJob, gate: Gate) -> None:
    job.write(chunk_items=4, workers=2)
    job.add(*numbered(60))
    job.upload()
    undisturbed = job.undisturbed()
    job.endpoint = f"http://127.0.0.1:{gate.port}"
    job.read_bucket()
    gate.closes_when = lambda: any((job.out / HOME / "ledger").glob("*.json"))
    failed = job.run(faults=HASTY).expect(1)
    assert "run the same command again" in failed.stderr.replace("\n", " ")
    rows = len(job.rows())
    assert 0 < rows < 60
    assert not (job.out / "failures.jsonl").exists() or not job.failures()
    gate.open()
    job.run().expect(0)
    assert_same_rows(job.out, undisturbed)
    assert_clean(job.out)


def test_a_short_break_is_not_noticed(job: BucketJob, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second without a server, at its beginning, costs a run as much."""
    job.endpoint = f"http://127.0.0.1:{gate.port}"
    job.read_bucket()
    gate.close()
    monkeypatch.setattr(in_bucket, "PATIENCE_S", 20)
    opening = Timer(0.5, gate.open)
    opening.start()
    job.run().expect(0)
    opening.join()
    assert job.paths() == numbered(COUNT)


@pytest.mark.parametrize(
    ("path", "storage", "why", "remedy"),
    [
        ("s3://elsewhere/x/", "", "NoSuchBucket", "correct the bucket"),
        ("", "{endpoint: 'http://127.0.0.1:9', anonymous: true}", "Connection refused", "AWS_ENDPOINT_URL"),
        (f"s3://{BUCKET}/none.jpg", "", "there is no object", "if it is a folder, write"),
    ],
)
def test_what_cannot_be_listed_is_refused_and_nothing_is_touched(
    job: BucketJob, path: str, storage: str, why: str, remedy: str
) -> None:
    job.run().expect(0)
    before = states(job.out)
    job.read_bucket(path, storage)
    for option in ("--prune", "--fresh", "--dry-run"):
        said = job.run(option).expect(1).stderr.replace("\n", " ")
        assert why in said
        assert remedy in said
    assert states(job.out) == before


def test_wrong_credentials_are_refused_with_where_they_come_from(job: BucketJob) -> None:
    with answering(lambda _: (403, error("InvalidAccessKeyId"))) as address:
        job.read_bucket(storage=f"{{endpoint: '{address}', anonymous: true}}")
        said = job.run().expect(1).stderr.replace("\n", " ")
    assert "403 Forbidden: InvalidAccessKeyId: says the server" in said
    assert "AWS_PROFILE" in said


def test_an_object_whose_name_cannot_be_a_key_is_named(job: BucketJob) -> None:
    target = Request(f"{job.endpoint}/{BUCKET}/{job.prefix}/new%0Aline.jpg", method="PUT", data=b"x")  # noqa: S310
    urlopen(target).close()  # noqa: S310 - http, to the server of the tests
    job.read_bucket()
    said = job.run().expect(1).stderr.replace("\n", " ")
    assert f"{job.prefix}/new\\nline.jpg" in said
    assert "rename or remove that object" in said


def test_no_credential_is_left_in_any_file(job: BucketJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDSEEN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "never-to-be-seen")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "never-to-be-seen")
    monkeypatch.setenv("AWS_ENDPOINT_URL", job.endpoint)
    job.add_bad("bad.jpg")
    job.upload()
    job.read_bucket(storage="{}")
    result = job.run("--set", "run.trace=true").expect(3)
    files = [path.read_bytes() for path in job.out.rglob("*") if path.is_file()]
    assert len(files) > 5
    for seen in [*files, result.stdout.encode(), result.stderr.encode()]:
        assert b"never-to-be-seen" not in seen
        assert b"AKIDSEEN" not in seen


def test_without_the_library_the_extra_is_named(job: BucketJob, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "obstore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "obstore", None)
    job.read_bucket()
    assert "pip install 'resnet-pipe[cloud]'" in job.run().expect(2).stderr


def test_pictures_are_drawn_on_as_those_of_a_folder(job: BucketJob) -> None:
    job.write(writer="{kind: images, path: out, k: 2}")
    expected = job.undisturbed()
    job.read_bucket()
    job.run().expect(0)
    drawn = sorted(path.relative_to(expected) for path in (expected / "images").rglob("*.jpg"))
    assert len(drawn) == COUNT
    assert all((job.out / path).read_bytes() == (expected / path).read_bytes() for path in drawn)


def test_the_other_commands_take_such_a_job(job: BucketJob, cli: Cli) -> None:
    job.read_bucket()
    assert_other_commands(job, cli, COUNT)


def test_trials_read_what_is_downloaded(job: BucketJob) -> None:
    job.read_bucket()
    loaded, _ = load(job.file)
    with open_trials(loaded, Stop()) as trials:
        assert trials.sample.found == COUNT
        assert [path.read_bytes() for path in trials.sample.paths] == [
            (job.images / name).read_bytes() for name in numbered(COUNT)
        ]
        result = trials.run(20, {"infer.batch_size": 4}, 60)
    assert result["sources"] == {**result["sources"], "done": 20, "failed": 0}
