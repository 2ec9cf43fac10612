"""A source fails only on evidence about it: it is tried again alone, afresh, and by later runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.run.faults import DECODER, ENGINE, FRAMES, GATE, Gate, shorten_spans
from tests.run.jobs import (
    HOME,
    JobFolder,
    VideoFolder,
    assert_clean,
    assert_same_rows,
    keys,
    numbered,
    records,
    wait_until,
)

ONCE = f"""
{DECODER}
    always = obey

    def obey(word):
        word, _, marker = word.partition("@")
        if marker:
            if (FOLDER / marker).exists():
                return
            (FOLDER / marker).touch()
        always(word)
"""
"""What follows an @ in the comment of a JPEG names a marker: the decoder obeys only if that is not there."""

DISK = f"""
{GATE}
import errno, os
pread = os.pread

def pread_(descriptor, *arguments):
    name = os.path.basename(os.readlink(f"/proc/self/fd/{{descriptor}}"))
    if name.startswith("io") and not (FOLDER / f"{{name}}.once").exists():
        if "once" in name:
            (FOLDER / f"{{name}}.once").touch()
        raise OSError(errno.EIO, "Input/output error", name)
    return pread(descriptor, *arguments)

if IN_WORKER:
    os.pread = pread_
"""
"""Files named io... cannot be read; if `once` is in the name, only the first time."""


def test_what_happens_to_a_source_once_costs_nothing(job: JobFolder) -> None:
    job.write(batch_size=4, chunk_items=4, workers=2, reader="timeout_s: 2")
    for number, word in enumerate(["segfault", "", "kill", "", "", "exit", "", "hang", "", ""]):
        job.add(f"{number:04d}.jpg", comment=f"{word}@{number}" if word else "")
    job.add("io-once.jpg")
    job.run(children=ONCE + DISK).expect(0)
    assert_same_rows(job.out, job.undisturbed())
    assert job.failures() == {}
    assert job.events("source_failed") == []
    retried = {event["source"]: event["error"] for event in job.events("source_retried")}
    died = ["0000.jpg", "0002.jpg", "0005.jpg"]
    assert retried == {
        **dict.fromkeys(died, "worker_died"),
        "0007.jpg": "timeout",
        "io-once.jpg": "unreadable",
    }
    assert_clean(job.out)


NOTES = f"""
{ONCE}
    os_open, decode_once = os.open, simplejpeg.decode_jpeg

    def note(text):
        with (FOLDER / "notes").open("a") as file:
            file.write(f"{{os.getpid()}} {{text}}\\n")

    def open_(path, *arguments, **options):
        if str(path).endswith(".jpg"):
            note(os.path.basename(path))
        return os_open(path, *arguments, **options)

    def noted(*arguments, **options):
        pixels = decode_once(*arguments, **options)
        note("decoded")
        return pixels

    os.open, simplejpeg.decode_jpeg = open_, noted
"""
"""Every worker notes which files it opens, and when it has decoded one, in `notes`."""


def test_a_suspect_is_tried_again_alone_by_a_process_that_has_read_nothing_before(job: JobFolder) -> None:
    job.write(batch_size=8, chunk_items=16)
    for number in range(16):
        job.add(f"{number:04d}.jpg", comment="kill@once" if number == 5 else "")
    job.run(children=NOTES).expect(0)
    notes: dict[str, list[str]] = {}
    for line in (job.folder / "notes").read_text().splitlines():
        pid, text = line.split(" ", 1)
        notes.setdefault(pid, []).append(text)
    *_, alone = notes.values()
    assert alone[:2] == ["0005.jpg", "decoded"]
    assert_same_rows(job.out, job.undisturbed())


@pytest.fixture
def struck(job: JobFolder) -> JobFolder:
    """A job that has run: 0001 kills its worker every time, io cannot be read, 0003 is no image."""
    job.add("0000.jpg", "0002.jpg")
    job.add("0001.jpg", comment="kill")
    job.add_bad("0003.jpg")
    job.add("0004.jpg", "io.jpg", "last.jpg")
    job.run(children=DECODER + DISK).expect(3)
    return job


def attempts(job: JobFolder) -> dict[str, int]:
    return {path: line["attempts"] for path, line in job.failures().items()}


def test_what_may_be_the_machines_fault_is_tried_by_three_runs_in_all(struck: JobFolder) -> None:
    assert attempts(struck) == {"0001.jpg": 1, "0003.jpg": 1, "io.jpg": 1}
    assert [struck.failures()[name]["error"] for name in ("0001.jpg", "io.jpg")] == [
        "worker_died",
        "unreadable",
    ]
    for run in (2, 3):
        struck.run(children=DECODER + DISK).expect(3)
        assert struck.summary()["sources"]["planned"] == struck.summary()["sources"]["failed"] == 2
        assert attempts(struck) == {"0001.jpg": run, "0003.jpg": 1, "io.jpg": run}
    struck.run(children=DECODER + DISK).expect(0)
    assert struck.summary()["sources"]["planned"] == 0
    struck.run("--retry-failed", children=DECODER + DISK).expect(3)
    assert attempts(struck) == {"0001.jpg": 4, "0003.jpg": 2, "io.jpg": 4}
    assert_clean(struck.out)
    struck.run("--retry-failed").expect(3)
    assert attempts(struck) == {"0003.jpg": 3}


def test_a_source_that_has_changed_has_all_its_attempts_before_it(struck: JobFolder) -> None:
    struck.run(children=DECODER + DISK).expect(3)
    struck.change("io.jpg")
    struck.run(children=DECODER + DISK).expect(3)
    assert attempts(struck) == {"0001.jpg": 3, "0003.jpg": 1, "io.jpg": 1}


def test_the_next_run_completes_what_the_machine_had_failed_on(struck: JobFolder) -> None:
    struck.run().expect(0)
    assert list(struck.failures()) == ["0003.jpg"]
    assert struck.paths() == ["0000.jpg", "0001.jpg", "0002.jpg", "0004.jpg", "io.jpg", "last.jpg"]
    assert_clean(struck.out)


def test_a_record_of_version_1_which_has_no_attempts_means_one(struck: JobFolder) -> None:
    for path in (struck.out / HOME / "ledger").glob("*.json"):
        record = json.loads(path.read_text())
        del record["sha256"]
        for source in record["sources"]:
            source.pop("attempts", None)
        path.write_text(json.dumps({**record, "schema_version": 1}))
    assert not any("attempts" in source for record in records(struck.out) for source in record["sources"])
    struck.run(children=DECODER + DISK).expect(3)
    assert attempts(struck) == {"0001.jpg": 2, "0003.jpg": 1, "io.jpg": 2}


def disk_of(job: JobFolder, failing: int, good: int = 0) -> None:
    """Fill a job with two good images, some that cannot be read, and good ones after these."""
    job.add(*numbered(2))
    job.add(*(f"io-{number:04d}.jpg" for number in range(failing)))
    job.add(*(f"last-{number:04d}.jpg" for number in range(good)))


def test_five_in_a_row_are_no_fault_of_theirs_and_end_the_run(job: JobFolder) -> None:
    disk_of(job, failing=6, good=2)
    said = job.run(children=DISK).expect(1).stderr
    assert "5 sources in a row" in said
    assert "io-0004.jpg: Input/output error" in said
    assert "what to do" in said
    assert [source["key"] for record in records(job.out) for source in record["sources"]] == numbered(2)
    assert job.failures() == {}
    assert job.events("source_failed") == []
    assert_clean(job.out)
    job.run().expect(0)
    assert_same_rows(job.out, job.undisturbed())


@pytest.mark.parametrize("good", [0, 1])
def test_four_in_a_row_fail_whether_a_row_follows_or_nothing(job: JobFolder, good: int) -> None:
    disk_of(job, failing=4, good=good)
    job.write(run="max_failures: 4", workers=2)
    job.run(children=DISK).expect(3)
    assert attempts(job) == dict.fromkeys((f"io-{number:04d}.jpg" for number in range(4)), 1)
    assert len(job.rows()) == 2 + good
    assert_clean(job.out)


def test_those_that_failed_in_an_earlier_run_are_no_streak(job: JobFolder) -> None:
    names = [f"{place}/io.jpg" for place in "abcdef"]
    for name in names:
        job.add(name, name.replace("io", "z"))
    job.run(children=DISK).expect(3)
    job.run(children=DISK).expect(3)
    assert attempts(job) == dict.fromkeys(names, 2)
    assert_clean(job.out)


NO_MEMORY = f"""
{GATE}
if IN_WORKER:
    import PIL.Image

    def resize(*arguments, **options):
        raise MemoryError

    PIL.Image.Image.resize = resize
"""


def test_sources_do_not_fail_because_there_is_no_memory(job: JobFolder) -> None:
    job.add(*numbered(7))
    said = job.run(children=NO_MEMORY).expect(1).stderr
    assert "5 sources in a row" in said
    assert "not enough memory" in said
    assert records(job.out) == []
    job.run().expect(0)
    assert job.paths() == numbered(7)


@pytest.mark.parametrize("library", ["simplejpeg", "cv2", "numpy"])
def test_a_worker_that_cannot_import_what_it_needs_ends_the_run_and_no_source_fails(
    job: JobFolder, library: str
) -> None:
    job.add(*numbered(3))
    lacks = f"{GATE}\nif IN_WORKER:\n    sys.modules['{library}'] = None"
    said = job.run(children=lacks).expect(1).stderr
    assert f"import of {library} halted" in said
    assert "what to do" in said
    assert records(job.out) == []
    assert job.failures() == {}
    job.run().expect(0)
    assert job.paths() == numbered(3)


IMPORTS_LATE = f"""
{GATE}
if IN_WORKER:
    import simplejpeg

    def decode(*arguments, **options):
        import a_library_that_is_not_there

    simplejpeg.decode_jpeg = decode
"""


def test_a_library_that_is_missing_only_when_a_source_is_read_ends_the_run_as_well(job: JobFolder) -> None:
    job.add(*numbered(3))
    assert "a_library_that_is_not_there" in job.run(children=IMPORTS_LATE).expect(1).stderr
    assert records(job.out) == []


def test_videos_are_not_charged_for_a_library_that_cannot_be_imported(film: VideoFolder) -> None:
    film.add_video("a.mkv")
    said = film.run(children=f"{GATE}\nif IN_WORKER:\n    sys.modules['av'] = None").expect(1).stderr
    assert "No module named 'av" in said or "import of av halted" in said
    assert records(film.out) == []


@pytest.mark.parametrize("whole", [False, True], ids=["the worker", "all"])
def test_a_worker_that_is_stopped_and_continued_does_not_hang(job: JobFolder, whole: bool) -> None:
    job.write(reader="timeout_s: 2")
    job.add("0000.jpg", comment="gate")
    job.add("0001.jpg")
    with job.start(faults=DECODER) as run:
        Gate(job).wait()
        (worker,) = run.workers()
        stopped = [run.pid, worker] if whole else [worker]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(3)  # longer than reader.timeout_s
        Gate(job).open()
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)
        run.end().expect(0)
    assert job.paths() == numbered(2)
    assert job.events("source_retried") == []
    assert job.summary()["workers_replaced"] == 0


BUSY = f"""
{GATE}
if IN_WORKER:
    import simplejpeg
    decode_jpeg = simplejpeg.decode_jpeg

    def decode(*arguments, **options):
        (FOLDER / "gate.reached").touch()
        while not (FOLDER / "gate.open").exists():
            pass
        return decode_jpeg(*arguments, **options)

    simplejpeg.decode_jpeg = decode
"""
"""Decoding takes all the processor time there is, until the gate is open."""


def schedule(pid: int, policy: int, cores: set[int]) -> None:
    """Set how all threads of a process get processors."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)
        with suppress(PermissionError):  # not everybody may raise it again
            os.sched_setscheduler(int(thread.name), policy, os.sched_param(0))


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="needs Linux")
def test_a_worker_that_gets_no_processor_does_not_hang(job: JobFolder) -> None:
    job.write(reader="timeout_s: 3")
    job.add(*numbered(2))
    cores = os.sched_getaffinity(0)
    with (
        job.start(faults=BUSY) as run,
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) as others,
    ):
        try:
            os.sched_setaffinity(others.pid, {min(cores)})
            Gate(job).wait()
            (worker,) = run.workers()
            schedule(worker, os.SCHED_IDLE, {min(cores)})
            time.sleep(4)  # longer than reader.timeout_s
            schedule(worker, os.SCHED_OTHER, cores)
        finally:
            others.kill()
        Gate(job).open()
        run.end().expect(0)
    assert job.paths() == numbered(2)
    assert job.events("source_retried") == []


def test_a_worker_that_computes_for_longer_than_its_time_is_replaced(job: JobFolder) -> None:
    job.write(reader="timeout_s: 1")
    job.add("0000.jpg")
    job.run(children=BUSY).expect(3)
    assert job.failures()["0000.jpg"]["error"] == "timeout"


LONG = 60


@pytest.fixture
def videos(film: VideoFolder) -> VideoFolder:
    """A job of a long video between two short ones."""
    film.add_video("a.mkv", shift=200)
    film.add_video("long.mkv", LONG)
    film.add_video("z.mkv", shift=100)
    return film


def expected() -> list[tuple[str, int, int]]:
    """Return path, frame index and picture of all rows of `videos`."""
    return [
        *(("a.mkv", index, 200 + index) for index in range(12)),
        *(("long.mkv", index, index) for index in range(LONG)),
        *(("z.mkv", index, 100 + index) for index in range(12)),
    ]


BREAKS = f"""
{FRAMES}
    import errno

    def before_frame(key, index):
        marker = FOLDER / "broken"
        if key != "long.mkv" or index not in AT or (marker.exists() and ONCE):
            return
        marker.touch()
        if HOW == "dies":
            os.kill(os.getpid(), 9)
        raise OSError(errno.EIO, "Input/output error")
"""


def breaks(how: str, *at: int, once: bool = True) -> str:
    """Return a fault: the worker dies on frames of the long video, or gets no more of it."""
    return f"HOW, AT, ONCE = {how!r}, {at}, {once}\n{BREAKS}"


@pytest.mark.parametrize("spans", [False, True], ids=["whole", "spans"])
@pytest.mark.parametrize("how", ["dies", "fails"])
def test_trouble_in_the_middle_of_a_video_loses_and_doubles_no_row(
    videos: VideoFolder, monkeypatch: pytest.MonkeyPatch, how: str, spans: bool
) -> None:
    videos.describe(workers=2)
    if spans:
        shorten_spans(monkeypatch)
    videos.run(children=breaks(how, 30)).expect(0)
    assert videos.numbers() == expected()
    assert keys(videos.events("source_retried")) == ["long.mkv"]
    if how == "dies":  # where it fails, the fault comes after the reader has counted the frame
        assert videos.summary()["video"]["frames_used"] == LONG + 24
    assert_clean(videos.out)


def test_of_a_video_that_fails_twice_all_rows_that_came_before_stay(videos: VideoFolder) -> None:
    videos.run(children=breaks("fails", 30, once=False)).expect(3)
    assert videos.numbers() == [row for row in expected() if row[0] != "long.mkv" or row[1] < 30]
    (failure,) = videos.failures().values()
    assert (failure["error"], failure["status"], failure["rows"]) == ("unreadable", "partial", 30)
    assert_clean(videos.out)
    videos.run().expect(0)
    assert videos.numbers() == expected()


WAITS_FOR_ROOM = f"""
{ENGINE}
def before_forward(blob):
    wait_at("gate")
"""


def test_trouble_with_what_has_been_posted_already_doubles_no_row(videos: VideoFolder) -> None:
    shutil.move(videos.videos / "a.mkv", videos.folder)
    only_after_the_kill = """
    before = before_frame

    def before_frame(key, index):
        (FOLDER / f"{key}-{index}").touch()
        if (FOLDER / "killed").exists():
            before(key, index)
"""
    with videos.start(faults=WAITS_FOR_ROOM + breaks("fails", 5) + only_after_the_kill) as run:
        wait_until((videos.folder / "long.mkv-12").exists, "three batches are posted")
        time.sleep(0.3)
        (worker,) = run.workers()
        (videos.folder / "killed").touch()
        os.kill(worker, signal.SIGKILL)
        wait_until((videos.folder / "broken").exists, "its successor cannot read a frame that was posted")
        Gate(videos).open()
        run.end().expect(0)
    assert videos.numbers() == [row for row in expected() if row[0] != "a.mkv"]
    assert_clean(videos.out)


def test_a_disk_that_fails_under_a_decoder_is_not_damage(
    samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resnet_pipe.errors import SourceError
    from resnet_pipe.reader.opened import DiskFile
    from resnet_pipe.reader.video import demux, input

    def no_disk(path: Path, alive: object) -> None:
        raise SourceError("reader", "unreadable", "Input/output error", transient=True)

    opened = DiskFile(samples / "h264.mp4")
    with closing(opened), demux.Video(opened, 1 << 20) as video:
        assert video.fault("a packet is not whole").error == "damaged"
        monkeypatch.setattr(input, "check_readable", no_disk)
        assert (video.fault("x").error, video.fault("x").transient) == ("unreadable", True)
