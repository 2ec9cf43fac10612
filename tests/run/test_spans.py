"""Long videos are read in spans: with the rows of one pass, and a crash costs only the spans in flight."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from resnet_pipe.preprocess.network_input import Placement
from resnet_pipe.reader.source import Source, Span
from resnet_pipe.run.spool import SpanResult, Spool
from resnet_pipe.run.workers.messages import Note, Row
from tests.run.faults import ENGINE, FRAMES, SHORT_SPANS, Gate, shorten_spans
from tests.run.jobs import (
    HOME,
    VideoFolder,
    assert_clean,
    assert_same_rows,
    read_rows,
    records,
    wait_until,
)

LONG = 120
"""Frames of a long video: ten spans of twelve."""
SPAN = 12


@pytest.fixture(scope="module")
def one_pass(tmp_path_factory: pytest.TempPathFactory, pixels: Path) -> VideoFolder:
    """A job of a long video between two short ones that has run in one pass. Do not change it."""
    job = VideoFolder(tmp_path_factory.mktemp("one-pass"), pixels)
    job.add_video("a.mkv")
    job.add_video("long.mkv", LONG)
    job.add_video("z.mkv", shift=200)
    job.run().expect(0)
    assert len(job.rows()) == LONG + 2 * SPAN
    return job


@pytest.fixture
def job(one_pass: VideoFolder, tmp_path: Path, pixels: Path) -> VideoFolder:
    """The same job before it has run."""
    return copy(one_pass, tmp_path / "job", pixels, "out", HOME)


@pytest.fixture
def spans_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every video of more than 0.4 seconds is read in spans."""
    shorten_spans(monkeypatch)


def copy(job: VideoFolder, folder: Path, network: Path, *without: str) -> VideoFolder:
    shutil.copytree(job.folder, folder, ignore=shutil.ignore_patterns("faults", *without))
    return VideoFolder(folder, network)


def shards(job: VideoFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(job.out.glob("part-*"))}


def spooled(job: VideoFolder) -> list[Path]:
    """Return the finished spans that are kept for the next run."""
    return sorted((job.out / HOME / "spool").rglob("*.npz"))


@pytest.mark.usefixtures("spans_are_short")
def test_spans_give_byte_for_byte_the_shards_of_one_pass(job: VideoFolder, one_pass: VideoFolder) -> None:
    job.describe(workers=2)
    job.run().expect(0)
    assert shards(job) == shards(one_pass)
    assert job.numbers() == [
        *(("a.mkv", index, index) for index in range(SPAN)),
        *(("long.mkv", index, index) for index in range(LONG)),
        *(("z.mkv", index, 200 + index) for index in range(SPAN)),
    ]
    video = job.summary()["video"]
    assert (video["frames_decoded"], video["frames_used"]) == (LONG + 2 * SPAN, LONG + 2 * SPAN)
    assert video["seconds"] == pytest.approx((LONG + 2 * SPAN) / 25)
    assert job.summary()["sources"]["done"] == 3
    assert_clean(job.out)


@pytest.mark.usefixtures("spans_are_short")
def test_a_long_video_has_all_workers_however_few_frames_are_taken_of_it(film: VideoFolder) -> None:
    film.add_video("long.mkv", LONG)
    film.describe(reader="keyframes: true", batch_size=32, workers=2)
    film.run().expect(0)
    assert film.numbers() == [("long.mkv", index, index) for index in range(0, LONG, SPAN)]
    assert film.summary()["workers"] == 2


FIRST_SPAN_HANGS = f"""
{SHORT_SPANS}
{FRAMES}
    def before_frame(key, index):
        if (key, index) == ("long.mkv", 0):
            wait_at("gate")
"""
"""The worker that reads the first span waits; another goes on with those after it."""


@pytest.fixture(scope="module")
def killed(one_pass: VideoFolder, tmp_path_factory: pytest.TempPathFactory, pixels: Path) -> VideoFolder:
    """The job, killed when all spans were finished but two: the first, and the one its worker had as well."""
    job = copy(one_pass, tmp_path_factory.mktemp("killed") / "job", pixels, "out")
    job.describe(workers=2)
    with job.start(faults=FIRST_SPAN_HANGS) as run:
        Gate(job).wait()
        wait_until(lambda: len(spooled(job)) == LONG // SPAN - 2, "the other worker has read all it has")
        run.signal_group(signal.SIGKILL)
        run.end().expect(-signal.SIGKILL)
    assert records(job.out) == []
    return job


@pytest.fixture
def resumed(killed: VideoFolder, tmp_path: Path, pixels: Path) -> VideoFolder:
    """The killed job, to be run again."""
    return copy(killed, tmp_path / "resumed", pixels)


@pytest.mark.usefixtures("spans_are_short")
def test_after_a_kill_the_finished_spans_are_not_decoded_again(
    resumed: VideoFolder, one_pass: VideoFolder
) -> None:
    resumed.run().expect(0)
    assert shards(resumed) == shards(one_pass)
    summary = resumed.summary()
    assert summary["items"] == summary["video"]["frames_used"] == 2 * SPAN + 2 * SPAN
    assert summary["video"]["frames_decoded"] == 2 * SPAN + 2 * SPAN
    assert summary["sources"]["done"] == 3
    assert_clean(resumed.out)


@pytest.mark.usefixtures("spans_are_short")
def test_a_file_that_has_changed_is_decoded_as_a_whole(resumed: VideoFolder) -> None:
    (resumed.videos / "long.mkv").unlink()
    resumed.add_video("long.mkv", LONG, shift=100)
    resumed.run().expect(0)
    rows = [number for path, _, number in resumed.numbers() if path == "long.mkv"]
    assert rows == list(range(100, 100 + LONG))
    assert resumed.summary()["items"] == LONG + 2 * SPAN
    assert_clean(resumed.out)


@pytest.mark.usefixtures("spans_are_short")
def test_finished_spans_of_another_making_are_not_used(resumed: VideoFolder) -> None:
    resumed.describe(writer="{kind: parquet, path: out, fields: [features]}")
    resumed.run("--fresh").expect(0)
    assert resumed.summary()["items"] == LONG + 2 * SPAN
    assert_clean(resumed.out)


def test_finished_spans_of_a_video_that_has_gone_are_not_kept(resumed: VideoFolder) -> None:
    for video in resumed.videos.iterdir():
        video.unlink()
    resumed.run("--set", "reader.allow_empty=true").expect(0)
    assert spooled(resumed) == []


@pytest.mark.usefixtures("spans_are_short")
def test_a_finished_span_that_cannot_be_read_again_ends_the_run_and_the_next_one_decodes_it(
    resumed: VideoFolder, one_pass: VideoFolder
) -> None:
    spooled(resumed)[0].write_bytes(b"the disk has lost it")
    said = resumed.run().expect(1).stderr
    assert "a finished part of long.mkv can no longer be read" in said
    resumed.run().expect(0)
    assert shards(resumed) == shards(one_pass)
    assert_clean(resumed.out)


CRASHES = f"""
{FRAMES}
    def before_frame(key, index):
        if (key, index) == ("long.mkv", 30):
            ctypes.string_at(0)
"""


@pytest.mark.usefixtures("spans_are_short")
def test_a_worker_that_dies_on_a_span_costs_the_source_its_later_rows_and_the_others_nothing(
    job: VideoFolder, one_pass: VideoFolder
) -> None:
    job.describe(workers=2)
    job.run(children=CRASHES).expect(3)
    whole = read_rows(one_pass.out)
    posted = 28  # the last full batch before frame 30
    assert job.rows() == [row for row in whole if row["path"] != "long.mkv" or row["frame_index"] < posted]
    (path, failure), *others = job.failures().items()
    assert (path, failure["status"], failure["rows"]) == ("long.mkv", "partial", posted)
    assert (failure["error"], others) == ("worker_died", [])
    assert [event["source"] for event in job.events("source_failed")] == ["long.mkv"]
    assert job.summary()["sources"] == {"planned": 3, "skipped": 0, "done": 2, "partial": 1, "failed": 0}
    assert_clean(job.out)


WAITS_FOR_ROOM = f"""
{ENGINE}
def before_forward(blob):
    wait_at("gate")

{FRAMES}
    def before_frame(key, index):
        (FOLDER / f"{{key}}-{{index}}").touch()
"""


def test_a_worker_killed_between_two_batches_of_a_video_loses_and_doubles_no_row(
    job: VideoFolder, one_pass: VideoFolder
) -> None:
    with job.start(faults=WAITS_FOR_ROOM) as run:
        # Three batches are posted, and for the fourth there is no room.
        wait_until((job.folder / "a.mkv-11").exists, "the first video is read")
        wait_until((job.folder / "long.mkv-0").exists, "so is the first frame of the second")
        time.sleep(0.3)
        (worker,) = run.workers()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: run.workers() not in ([worker], []), "another takes its place")
        time.sleep(0.3)
        Gate(job).open()
        run.end().expect(0)
    assert_same_rows(job.out, one_pass.out)
    assert job.summary()["workers_replaced"] == 1
    assert job.summary()["video"]["frames_used"] == LONG + 2 * SPAN
    assert_clean(job.out)


def test_a_damaged_span_gives_the_rows_of_one_pass(
    job: VideoFolder, tmp_path: Path, pixels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = job.videos / "long.mkv"
    data = bytearray(video.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    video.write_bytes(data)
    in_one = copy(job, tmp_path / "in-one", pixels)
    in_one.run().expect(3)
    job.describe(workers=2)
    shorten_spans(monkeypatch)
    job.run().expect(3)
    (failure,) = job.failures().values()
    assert SPAN < failure["rows"] < LONG - SPAN
    assert failure["status"] == "partial"
    assert failure["error"] == in_one.failures()["long.mkv"]["error"]
    assert_same_rows(job.out, in_one.out)
    assert_clean(job.out)


def test_a_finished_span_is_kept_with_its_notes_even_without_rows(tmp_path: Path) -> None:
    source, notes = Source("a.mkv", 1, 2), (Note("a.mkv", "its times begin again"), Note("a.mkv", "ünd mehr"))
    features = np.ones((1, 3), np.float32)
    place = Placement(641, 480, -3, 0, 299, 224)
    row, span = Row("a.mkv", 5, 0.2, place, ("ä\0", None)), Span(0, 2, None, 12, 0, 12)
    spool = Spool(tmp_path / "spool", tmp_path, "digest")
    spool.save(source, span, [SpanResult([row], {"features": features}, notes), SpanResult([], {}, ())])
    kept = spool.load(source, span)
    assert (kept.rows, kept.notes) == ([row], notes)
    assert np.array_equal(kept.outputs["features"], features)
    elsewhere = Row("a.mkv", 5, 0.2)
    spool.save(source, span, [SpanResult([elsewhere], {"features": features}, ())])
    assert spool.load(source, span).rows == [elsewhere]
    spool.save(source, span, [SpanResult([], {}, notes[:1])])
    assert spool.load(source, span) == SpanResult([], {}, notes[:1])
