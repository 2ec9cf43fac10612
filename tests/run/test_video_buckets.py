"""Jobs over videos in a bucket: the rows and the drawn videos of a folder, and no copy is left."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from resnet_pipe.job.job import load
from resnet_pipe.run.stop import Stop
from resnet_pipe.study.trial import open_trials
from tests.buckets import BUCKET, open_bucket, upload
from tests.flaky_proxy import Faults, before
from tests.run.faults import SHORT_SPANS, shorten_spans
from tests.run.jobs import Cli, VideoFolder, assert_clean, read_rows
from tests.videos import cut_off

WRITERS = "[{kind: parquet, path: out, fields: [features, logits]}, {kind: video, k: 1}]"
ROWS = 12 + 60 + 12
"""Of the videos that are whole."""


class BucketVideos(VideoFolder):
    """A job over a folder of videos, and over the same in a bucket."""

    def __init__(self, folder: Path, network: Path, endpoint: str) -> None:
        super().__init__(folder, network)
        self.endpoint = endpoint
        self.prefix = f"{folder.parent.name}/films"
        self.cache = folder / "cache/resnet-pipe/videos"
        for name, frames, shift in (("a.mkv", 12, 0), ("long.mp4", 60, 20), ("z.mkv", 12, 100)):
            self.add_video(name, frames, shift)
        cut_off(self.videos / "a.mkv", self.videos / "cut.mkv", 0.8)
        upload(open_bucket(endpoint, self.prefix), self.videos)

    def read_bucket(self, keys: str = "", endpoint: str = "") -> None:
        """Have the job read the bucket."""
        storage = f"{{endpoint: '{endpoint or self.endpoint}', anonymous: true}}"
        ours = f"path: 's3://{BUCKET}/{self.prefix}/', storage: {storage}{keys and ', ' + keys}"
        self.file.write_text(self.file.read_text().replace("path: videos", ours, 1))

    def copies(self) -> list[Path]:
        """Return the copies that there are."""
        return [path for path in self.cache.glob("*") if path.name != "lock"]


@pytest.fixture
def job(tmp_path: Path, pixels: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> BucketVideos:
    (tmp_path / "job").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "job/cache"))
    return BucketVideos(tmp_path / "job", pixels, endpoint)


def failures(out: Path) -> list[dict[str, Any]]:
    """Return failures.jsonl, without the versions: they are of other files."""
    lines = map(json.loads, (out / "failures.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "mtime_ns"} for line in lines]


@pytest.mark.parametrize("keys", ["", "copies_gib: 0"])
def test_rows_and_drawn_videos_are_those_of_the_folder(
    keys: str, job: BucketVideos, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_spans(monkeypatch)
    job.describe(writer=WRITERS, workers=2)
    job.run().expect(3)
    disk = job.out.rename(job.folder / "disk")
    job.describe(writer=WRITERS, workers=2, canary=2)
    job.read_bucket(keys)
    job.run("--set", "run.report=true").expect(3)
    assert job.copies() == []
    assert job.cache.exists() == (keys == "")
    assert job.rows() == read_rows(disk)
    assert failures(job.out) == failures(disk)
    names = sorted(path.relative_to(disk) for path in (disk / "video").rglob("*.mp4"))
    assert len(names) == 4
    assert all((job.out / name).read_bytes() == (disk / name).read_bytes() for name in names)
    assert (job.last_run() / "report.html").exists()
    assert_clean(job.out)
    assert "0 sources done, 0 failed, 3 already done, 1 failed before" in job.run().expect(0).stdout


def test_workers_share_the_copy_of_a_long_video(job: BucketVideos, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_spans(monkeypatch)
    faults, fetched = Faults(), list[str]()
    faults.before = lambda request: fetched.append(request[1]) if request[0] == "GET" else None
    with before(job.endpoint, faults) as address:
        job.describe(workers=3)
        job.read_bucket(endpoint=address)
        job.run().expect(3)
    assert sum(path.partition("?")[0].endswith("long.mp4") for path in fetched) == 1
    assert len(job.rows()) >= ROWS
    assert job.copies() == []


def test_what_a_killed_run_leaves_goes_with_the_next_one(job: BucketVideos) -> None:
    faults, reached, killed = Faults(), Event(), Event()

    def stop_at(request: tuple[str, str]) -> None:
        if request[0] == "GET" and "long.mp4" in request[1] and not killed.is_set():
            reached.set()
            killed.wait(30)

    faults.before = stop_at
    with before(job.endpoint, faults) as address:
        job.read_bucket(endpoint=address)
        with job.start(faults=SHORT_SPANS) as running:
            assert reached.wait(60)
            assert job.copies() != []
            running.signal_group(signal.SIGKILL)
        killed.set()
        time.sleep(0.2)
        assert job.copies() != []
        job.run().expect(3)
    assert job.copies() == []
    assert len(job.rows()) >= ROWS
    assert_clean(job.out)


def test_a_server_that_loses_requests_and_answers_costs_no_row(job: BucketVideos) -> None:
    job.run().expect(3)
    disk = job.out.rename(job.folder / "disk")
    faults = Faults(seed=1)
    with before(job.endpoint, faults) as address:
        job.read_bucket(endpoint=address)
        faults.lost = faults.unanswered = 0.2
        job.run().expect(3)
    assert job.rows() == read_rows(disk)


def test_the_other_commands_take_such_a_job(job: BucketVideos, cli: Cli) -> None:
    job.read_bucket()
    assert "4 to process" in cli("run", job.file, "--dry-run").expect(0).stdout
    cli("verify", job.file, "--count", 3, "--engine", "opencv").expect(0)
    loaded, _ = load(job.file)
    with open_trials(loaded, Stop()) as trials:
        assert trials.sample.found == 4
        assert [path.read_bytes() for path in trials.sample.paths] == [
            path.read_bytes() for path in sorted(job.videos.iterdir())
        ]
        result = trials.run(20, {"infer.batch_size": 4}, 60)
    assert result["sources"]["done"]
    assert job.copies() == []


def test_keys_of_buckets_are_refused_where_there_is_none(job: BucketVideos) -> None:
    job.describe("copies_gib: 2")
    assert "copies_gib is for buckets, but reader.path is on a disk" in job.run().expect(2).stderr
    job.describe()
    job.read_bucket("copies_gib: -1")
    assert "reader.copies_gib" in job.run().expect(2).stderr
