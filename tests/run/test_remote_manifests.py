"""Jobs over manifests and files in buckets and on web servers: the rows of a folder, and what servers do."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from resnet_pipe.reader.buckets import in_bucket
from tests.buckets import BUCKET, open_bucket, upload
from tests.gate import Gate
from tests.manifests import write_manifest
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
from tests.web import Site, publishing

COUNT = 8
NAMES = ["sub/a b%20+#?.jpg", "sub-1/ä.jpg", *numbered(COUNT)]


class RemoteJob(JobFolder):
    """A job over images that are in `images/`, on a web server, and, once uploaded, in a bucket."""

    def __init__(self, folder: Path, network: Path, site: Site) -> None:
        super().__init__(folder, network)
        self.site = site
        self.web = f"{site.address}/{folder.name}/images"
        self.list_file = folder / "list.csv"

    def read(self, root: str, path: str = "list.csv", more: str = "") -> None:
        """Have the job read what a manifest names below a root."""
        ours = f"{{kind: manifest, path: '{path}', root: '{root}'{more and ', ' + more}"
        self.file.write_text(self.file.read_text().replace("{kind: images, path: images", ours))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(in_bucket, "PATIENCE_S", 0.3)
    with publishing(tmp_path) as site:
        yield site


@pytest.fixture
def job(tmp_path: Path, network: Path, site: Site) -> RemoteJob:
    (tmp_path / "job").mkdir()
    return RemoteJob(tmp_path / "job", network, site)


@pytest.mark.parametrize(
    ("lists", "files"),
    [("disk", "bucket"), ("disk", "web"), ("bucket", "disk"), ("bucket", "bucket"), ("bucket", "web")],
)
def test_the_rows_are_those_of_the_folder_wherever_lists_and_files_are(
    job: RemoteJob, endpoint: str, tmp_path: Path, lists: str, files: str
) -> None:
    job.add(*NAMES)
    expected = read_rows(job.undisturbed())
    prefix = f"{tmp_path.name}/{lists}-{files}"
    address = f"s3://{BUCKET}/{prefix}"
    root = {"disk": str(job.images), "bucket": f"{address}/images", "web": job.web}[files]
    whole = [f"{root}/{quote(name) if files == 'web' else name}" for name in NAMES]
    write_manifest(job.list_file, [*reversed(NAMES), *whole])
    path = f"{address}/list.csv" if lists == "bucket" else "list.csv"
    storage = f"storage: {{endpoint: '{endpoint}', anonymous: true}}" if "bucket" in (lists, files) else ""
    job.read(f"{root}/", path, storage)

    def publish() -> None:
        """Put everything into the bucket; the web server has it."""
        upload(open_bucket(endpoint, prefix), job.folder)

    publish()
    job.run("--set", "run.workers=2", "--set", "run.chunk_items=3").expect(0)
    assert job.rows() == expected
    assert_clean(job.out)
    before = states(job.out)
    assert f"0 sources done, 0 failed, {len(NAMES)} already done" in job.run().expect(0).stdout
    assert states(job.out) == before
    job.change("0003.jpg")
    publish()
    assert f"1 source done, 0 failed, {len(NAMES) - 1} already done" in job.run().expect(0).stdout


def test_a_file_that_is_gone_keeps_its_rows_and_one_that_never_was_is_a_failure(job: RemoteJob) -> None:
    job.add(*numbered(COUNT))
    write_manifest(job.list_file, [*numbered(COUNT), "gone.jpg", "../job.yaml"])
    job.read(job.web)
    job.run().expect(3)
    failures = {path: (line["error"], line["message"]) for path, line in job.failures().items()}
    outside = job.web.removesuffix("/images") + "/job.yaml"
    assert failures == {
        "gone.jpg": ("missing", "no such object"),
        outside: ("unsupported", f"not below {job.web}; reader.root says where files may be"),
    }
    before = states(job.out)
    (job.images / "0002.jpg").unlink()
    assert "1 disappeared" in job.run("--dry-run").expect(0).stdout
    job.run().expect(0)
    assert states(job.out) == before
    job.add("gone.jpg")
    job.run("--prune", "--set", "run.max_disappeared=1").expect(0)
    assert job.paths() == sorted({*numbered(COUNT), "gone.jpg"} - {"0002.jpg"})


def test_nothing_is_touched_where_the_server_has_nothing_or_is_not_there(job: RemoteJob) -> None:
    job.add(*numbered(COUNT))
    write_manifest(job.list_file, numbered(COUNT))
    job.read(job.web)
    job.run().expect(0)
    before = states(job.out)
    job.site.refused = lambda _method, _path: 404
    for flag in ([], ["--prune"], ["--fresh"]):
        assert "no images found in" in job.run(*flag).expect(1).stderr.replace("\n", " ")
    job.site.refused = lambda _method, path: 500 if "0003" in path else None
    said = job.run("--prune").expect(1).stderr.replace("\n", " ")
    assert f"{job.web}/0003.jpg cannot be looked at" in said
    assert "500" in said
    assert states(job.out) == before


def test_a_server_that_goes_away_ends_the_run_and_no_source_fails(job: RemoteJob) -> None:
    job.write(chunk_items=4, workers=2)
    job.add(*numbered(60))
    undisturbed = job.undisturbed()
    write_manifest(job.list_file, numbered(60))
    gate = Gate(urlsplit(job.web).port or 0)
    job.read(f"http://127.0.0.1:{gate.port}/job/images/")
    gate.closes_when = lambda: any((job.out / HOME / "ledger").glob("*.json"))
    failed = job.run(faults=HASTY).expect(1)
    assert "run the same command again" in failed.stderr.replace("\n", " ")
    assert 0 < len(job.rows()) < 60
    assert not (job.out / "failures.jsonl").exists() or not job.failures()
    gate.open()
    job.run().expect(0)
    gate.close()
    assert_same_rows(job.out, undisturbed)
    assert_clean(job.out)


def test_with_versions_in_the_manifest_only_what_they_tell_is_fetched(job: RemoteJob) -> None:
    job.add("a.jpg", "b.jpg")
    job.list_file.write_text("path,etag\na.jpg,1\nb.jpg,1\ngone.jpg,1\n")
    job.read(job.web, more="version: etag")
    job.run().expect(3)
    assert job.site.asked("HEAD") == ["/job/images"], "is the server still there?"
    assert job.failures()["gone.jpg"]["error"] == "missing"
    job.site.requests.clear()
    job.change("a.jpg")
    job.run().expect(0)
    assert job.site.requests == []
    job.list_file.write_text("path,etag\na.jpg,1\nb.jpg,2\ngone.jpg,1\n")
    job.run().expect(0)
    assert job.site.requests == [("GET", "/job/images/b.jpg")]


def test_no_password_is_kept(job: RemoteJob) -> None:
    job.add("a.jpg")
    write_manifest(job.list_file, ["a.jpg", "https://me:hidden@h/a.jpg", f"{job.web}/a.jpg?signature=hidden"])
    job.read(job.web)
    said = job.run("--set", "run.report=true").expect(3)
    assert sorted(job.failures()) == [f"{job.web}/a.jpg?***", "https://***@h/a.jpg"]
    kept = b"".join(path.read_bytes() for path in job.out.rglob("*") if path.is_file())
    assert b"hidden" not in kept
    assert "hidden" not in said.stdout + said.stderr
    shutil.rmtree(job.out)
    root = job.web.replace("//", "//me:hidden@")
    said = job.run("--set", f"reader.root={root}").expect(2)
    assert "credentials do not belong in an address" in said.stderr
    assert "hidden" not in said.stdout + said.stderr
    assert not job.out.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_listing_that_waits_for_a_server_is_left_at_once(
    job: RemoteJob, number: signal.Signals, code: int
) -> None:
    asked, answered = threading.Event(), threading.Event()

    def hang(_method: str, _path: str) -> None:
        asked.set()
        answered.wait(60)

    job.add(*numbered(COUNT))
    write_manifest(job.list_file, numbered(COUNT))
    job.read(job.web)
    job.site.before = hang
    with job.start() as run:
        assert asked.wait(60)
        began = time.monotonic()
        run.signal(number)
        said = run.end().expect(code).stderr
        assert time.monotonic() - began < 5
    answered.set()
    assert "stopped while listing the sources" in said
    assert not list(job.out.glob("part-*"))


def test_pictures_that_a_run_has_drawn_are_not_read_from_their_bucket(
    job: RemoteJob, endpoint: str, tmp_path: Path
) -> None:
    place = f"s3://{BUCKET}/{tmp_path.name}"
    storage = f"{{endpoint: '{endpoint}', anonymous: true}}"
    job.add("a.jpg")
    job.write(writer=f"{{kind: images, path: '{place}/out', k: 1, storage: {storage}}}")
    job.read(place, more=f"storage: {storage}")
    upload(open_bucket(endpoint, tmp_path.name), job.images)
    write_manifest(job.list_file, ["a.jpg"])
    assert "1 to process" in job.run("--dry-run").expect(0).stdout
    write_manifest(job.list_file, ["a.jpg", "out/images/a.jpg"])
    assert "leads to this job's own results" in job.run("--dry-run").expect(2).stderr.replace("\n", " ")


def test_the_other_commands_take_such_a_job(job: RemoteJob, cli: Cli) -> None:
    job.add(*numbered(COUNT))
    write_manifest(job.list_file, numbered(COUNT))
    job.read(job.web)
    assert_other_commands(job, cli, COUNT)
