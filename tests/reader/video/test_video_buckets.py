"""Videos in a bucket: the frames of those on a disk, with a copy or without, and what becomes of copies."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any
from unittest import mock

import obstore
import pytest

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.buckets import copies
from resnet_pipe.reader.files import Folder
from resnet_pipe.reader.opened import DiskFile, Opened
from resnet_pipe.reader.source import FrameCounts
from resnet_pipe.reader.video.reader import VideoReader
from resnet_pipe.reader.video.sampling import Sampling
from resnet_pipe.reader.video.section import VideoSection
from tests.buckets import BUCKET, open_bucket, upload
from tests.flaky_proxy import Faults, before
from tests.reader.reading import Reading, read, read_span
from tests.run.jobs import wait_until
from tests.videos import SAMPLES, cut_off

PREFIX = "test-video-buckets"
COPIED: dict[str, Any] = {}
IN_PARTS: dict[str, Any] = {"copies_gib": 0}
WAYS = [COPIED, IN_PARTS]


@pytest.fixture(scope="module", autouse=True)
def damaged(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Damaged videos, by name."""
    folder = tmp_path_factory.mktemp("damaged")
    made = {}
    for name in ("h264.mp4", "h264-open.mkv", "h264.ts", "mpeg2.ts"):
        size = (videos / name).stat().st_size
        made[f"cut-{name}"] = cut_off(videos / name, folder / f"cut-{name}", size * 2 // 3 + 50)
        data = bytearray((videos / name).read_bytes())
        data[size // 2 : size // 2 + 188] = os.urandom(188)
        made[f"torn-{name}"] = folder / f"torn-{name}"
        made[f"torn-{name}"].write_bytes(data)
    (folder / "text.mp4").write_bytes(b"no video" * 1000)
    return {**made, "text.mp4": folder / "text.mp4"}


@pytest.fixture(scope="module", autouse=True)
def uploaded(videos: Path, damaged: dict[str, Path], endpoint: str) -> None:
    store = open_bucket(endpoint, PREFIX)
    upload(store, videos)
    for name, path in damaged.items():
        obstore.put(store, name, path.read_bytes())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the copies, none of which may be left."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "cache/resnet-pipe/videos"
    yield folder
    assert names_in(folder) == []


def names_in(folder: Path) -> list[str]:
    """Return the copies that there are."""
    return sorted(path.name for path in folder.glob("*") if path.name != "lock")


def reader(endpoint: str, name: str = "", **keys: Any) -> VideoReader:  # noqa: ANN401 - as in a job
    storage = {"endpoint": endpoint, "anonymous": True}
    path = f"s3://{BUCKET}/{PREFIX}/{name}"
    return VideoSection.model_validate(
        {"kind": "video", "path": path, "storage": storage, **keys}
    ).make_reader()


def assert_same(found: Reading, expected: Reading) -> None:
    assert (found.indices, found.times, found.numbers) == (expected.indices, expected.times, expected.numbers)
    assert all((one.frame == other.frame).all() for one, other in zip(found.rows, expected.rows, strict=True))
    assert found.counts == expected.counts
    assert str(found.failure) == str(expected.failure)
    assert found.error == expected.error


@pytest.mark.parametrize("way", WAYS, ids=["copied", "in parts"])
@pytest.mark.parametrize("name", SAMPLES)
def test_frames_are_those_of_the_file(name: str, way: dict[str, Any], endpoint: str, videos: Path) -> None:
    assert_same(read_span(reader(endpoint, name, **way), name, None), read(videos / name))


@pytest.mark.parametrize("way", WAYS, ids=["copied", "in parts"])
def test_damage_is_that_of_the_file(way: dict[str, Any], endpoint: str, damaged: dict[str, Path]) -> None:
    found = {name: read_span(reader(endpoint, name, **way), name, None) for name in damaged}
    for name, path in damaged.items():
        assert_same(found[name], read(path))
    assert {"truncated", "damaged", "unknown_format"} <= {one.error for one in found.values()}


class Requests:
    """Counts what is asked of a server, by method and name."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def __call__(self, request: tuple[str, str]) -> None:
        self.seen[f"{request[0]} {request[1].partition('?')[0].rpartition('/')[2]}"] += 1


@pytest.mark.parametrize("way", WAYS, ids=["copied", "in parts"])
def test_spans_give_what_one_pass_gives_and_share_one_copy(
    way: dict[str, Any], endpoint: str, videos: Path, home: Path
) -> None:
    faults, requests = Faults(), Requests()
    faults.before = requests
    with before(endpoint, faults) as address:
        # Its own defaults: `replace` would give the key of the other fields.
        with mock.patch.object(VideoReader.__init__, "__defaults__", (0.4, 0)):
            ours = reader(address, "h264.mp4", **way)
        (source,) = ours.list_sources()
        spans = ours.spans(source)
        assert len(spans) > 2
        kept = names_in(home)
        assert len(kept) == (way is COPIED)
        rows = [row for span in spans for row in read_span(ours, source.key, span).rows]
        assert names_in(home) == kept, "another span may come"
    expected = read(videos / "h264.mp4")
    assert_same(Reading(rows, expected.counts), expected)
    if way is COPIED:
        assert requests.seen["GET h264.mp4"] == 1
    read_span(ours, "vp9.webm", None)
    assert names_in(home) == [], "who asks for another one gives it back"


CHILD = """
import sys, time
from resnet_pipe.reader.buckets import copies
from resnet_pipe.reader.video.section import VideoSection

storage = {"endpoint": sys.argv[1], "anonymous": True}
section = VideoSection.model_validate({"kind": "video", "path": sys.argv[2], "storage": storage})
print(sum(1 for _ in section.make_reader().read(sys.argv[2].rpartition("/")[2], None)), flush=True)
"""


def start(endpoint: str, name: str) -> subprocess.Popen[str]:
    """Start a process that reads a video, and prints how many frames it has."""
    command = [sys.executable, "-c", CHILD, endpoint, f"s3://{BUCKET}/{PREFIX}/{name}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_share_a_copy(endpoint: str, home: Path) -> None:
    faults, requests = Faults(), Requests()

    def late(request: tuple[str, str]) -> None:
        requests(request)
        if request[0] == "GET":
            while len(processes) < 3 or requests.seen["HEAD h264.mp4"] < 3:
                time.sleep(0.05)

    faults.before = late
    processes: list[subprocess.Popen[str]] = []
    with before(endpoint, faults) as address:
        processes += [start(address, "h264.mp4") for _ in range(3)]
        assert [process.communicate(timeout=60)[0].strip() for process in processes] == ["40"] * 3
    assert requests.seen["GET h264.mp4"] == 1
    assert names_in(home) == []


def test_what_a_killed_process_leaves_goes_with_the_next_copy(endpoint: str, home: Path) -> None:
    faults, requests = Faults(), Requests()
    reached = False

    def never(request: tuple[str, str]) -> None:
        nonlocal reached
        requests(request)
        if request[0] == "GET" and not reached:
            reached = True
            time.sleep(3)

    faults.before = never
    with before(endpoint, faults) as address, start(address, "h264.mp4") as killed:
        while not reached:
            time.sleep(0.05)
        (left,) = names_in(home)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert names_in(home) == [left]
        assert len(read_span(reader(endpoint), "vp9.webm", None).rows) == 40
        assert names_in(home) == []
        (home / left).write_bytes(b"x" * int(left.partition("-")[2].partition(".")[0]))
        assert len(read_span(reader(endpoint), "h264.mp4", None).rows) == 40, "it is not believed"
        (home / left).touch()
        copies.sweep()


def test_who_waits_for_a_process_that_is_killed_makes_the_copy(endpoint: str) -> None:
    faults, requests, killed = Faults(), Requests(), Event()

    def hold(request: tuple[str, str]) -> None:
        requests(request)
        if request[0] == "GET":
            killed.wait(60)

    faults.before = hold
    with before(endpoint, faults) as address, start(address, "h264.mp4") as first:
        wait_until(lambda: requests.seen["GET h264.mp4"] == 1, "the first one makes its copy")
        with start(address, "h264.mp4") as second:
            wait_until(lambda: requests.seen["HEAD h264.mp4"] == 2, "the second one wants it")
            time.sleep(0.5)
            first.send_signal(signal.SIGKILL)
            first.wait()
            killed.set()
            assert second.communicate(timeout=60)[0].strip() == "40"


def test_a_copy_is_never_taken_for_a_later_one_of_its_name(endpoint: str, home: Path) -> None:
    bucket = reader(endpoint).files.bucket  # type: ignore[attr-defined]
    with closing(bucket.open("h264.mp4")) as opened:
        first = copies.take(opened, None, lambda: None)
        assert first is not None
        first.path.unlink()
        second = copies.take(opened, None, lambda: None)
        assert second is not None
        assert second.path == first.path
        first.give_back()
        assert names_in(home) == [second.path.name]
        second.give_back()


class Failing:
    """A file that cannot be read from its middle on, though its end can."""

    def __init__(self, path: Path) -> None:
        self._file = DiskFile(path)
        self.size, self.version, self.stamp = self._file.size, self._file.version, self._file.stamp
        self.place = f"s3://b/{path.name}"

    def is_current(self) -> bool:
        return True

    def read_at(self, offset: int, size: int, _alive: object = None) -> bytes:
        if offset < self.size // 2 < offset + size:
            size = self.size // 2 - offset
        if self.size // 2 <= offset < self.size - 4096:
            raise OSError(errno.EIO, "503 Service Unavailable")
        return self._file.read_at(offset, size)

    def announce(self, offset: int, size: int) -> None:
        pass

    def let_go(self, offset: int, size: int) -> None:
        pass

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class FailingFolder(Folder):
    """A folder of them."""

    @contextmanager
    def at_hand(self, key: str, _alive: object, again: bool = False) -> Iterator[Opened]:  # type: ignore[override]
        with closing(Failing(self.root / key)) as opened:
            yield opened


@pytest.mark.parametrize(
    "name", sorted(SAMPLES.keys() - {"one.mp4", "two.webm"})
)  # whose middle is their end
def test_what_cannot_be_read_on_is_not_damage(name: str, videos: Path) -> None:
    files = FailingFolder(videos, (videos / name,), False, frozenset())
    found = read_span(VideoReader(files, Sampling(), "pyav", 10**7), name, None)
    assert found.failure is not None
    assert (found.error, found.failure.transient) == ("unreadable", True)
    assert "503" in found.failure.message


@pytest.mark.parametrize("way", WAYS, ids=["copied", "in parts"])
def test_an_object_that_is_replaced_while_it_is_read_is_tried_again(
    way: dict[str, Any], endpoint: str, videos: Path
) -> None:
    store, name = open_bucket(endpoint, PREFIX), f"replaced-{len(way)}.mp4"
    obstore.put(store, name, (videos / "h264.mp4").read_bytes())
    faults = Faults()
    replaced = False

    def replace_it(request: tuple[str, str]) -> None:
        nonlocal replaced
        if request[0] == "GET" and not replaced:
            replaced = True
            obstore.put(store, name, (videos / "mjpeg.mov").read_bytes())

    faults.before = replace_it
    with before(endpoint, faults) as address:
        failed = read_span(reader(address, **way), name, None)
        assert failed.failure is not None
        assert (failed.error, failed.failure.transient, failed.rows) == ("unreadable", True, [])
        assert "replaced while it was read" in failed.failure.message
        assert_same(read_span(reader(address, **way), name, None), read(videos / "mjpeg.mov"))


@pytest.mark.parametrize("way", WAYS, ids=["copied", "in parts"])
def test_a_server_that_goes_away_is_not_damage(way: dict[str, Any], endpoint: str, videos: Path) -> None:
    name = "h264-open.mkv"
    faults = Faults()
    with (
        before(endpoint, faults) as address,
        mock.patch("resnet_pipe.reader.buckets.in_bucket.PATIENCE_S", 0.5),
    ):
        ours = reader(address, **way)
        faults.refused = lambda request: 503 if request[0] == "GET" else None
        failed = read_span(ours, name, None)
        assert failed.failure is not None
        assert (failed.error, failed.failure.transient) == ("unreadable", True)
        faults.refused = lambda _request: None
        assert_same(read_span(ours, name, None), read(videos / name))


@pytest.mark.parametrize("way", WAYS, ids=["copied", "in parts"])
def test_lost_requests_and_answers_are_not_noticed(way: dict[str, Any], endpoint: str, videos: Path) -> None:
    faults = Faults(seed=3)
    with before(endpoint, faults) as address:
        ours = reader(address, **way)
        faults.lost = faults.unanswered = 0.3
        for name in ("h264.mp4", "vp9.webm", "h264.ts"):
            assert_same(read_span(ours, name, None), read(videos / name))


def test_what_does_not_fit_is_read_in_parts_and_opencv_refuses_it(
    endpoint: str, videos: Path, home: Path
) -> None:
    size = (videos / "h264.mp4").stat().st_size
    tight: dict[str, Any] = {"copies_gib": (size - 1) / 2**30}
    assert_same(read_span(reader(endpoint, **tight), "h264.mp4", None), read(videos / "h264.mp4"))
    assert not home.exists()
    refused = read_span(reader(endpoint, backend="opencv", **tight), "h264.mp4", None)
    assert refused.failure is not None
    assert refused.error == "too_large"
    assert "copies_gib" in refused.failure.message
    assert "backend: pyav" in refused.failure.message
    enough: dict[str, Any] = {"copies_gib": (size + 1) / 2**30}
    opened = read_span(reader(endpoint, backend="opencv", **enough), "h264.mp4", None)
    assert_same(opened, read(videos / "h264.mp4", backend="opencv"))
    first = reader(endpoint, **enough).read("h264.mp4", None)
    next(first)
    assert len(names_in(home)) == 1
    second = read_span(reader(endpoint, **enough), "h264.mp4", None)
    assert_same(second, read(videos / "h264.mp4"))  # which shares the copy
    third = reader(endpoint, **enough).read("h264.ts", None)
    next(third)
    assert len(names_in(home)) == 1, "there is room for one"
    first.close()  # type: ignore[attr-defined]
    third.close()  # type: ignore[attr-defined]


def test_a_disk_that_is_full_costs_time_and_no_source(endpoint: str, videos: Path, home: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        found = read_span(reader(endpoint), "h264.mp4", None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_same(found, read(videos / "h264.mp4"))
    assert names_in(home) == []


def test_without_a_place_for_copies_it_says_what_to_do(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "")
    with mock.patch("pwd.getpwuid", side_effect=KeyError):
        failed = read_span(reader(endpoint), "h264.mp4", None)
        assert failed.failure is not None
        assert failed.failure.transient
        assert "copies_gib: 0" in failed.failure.message
        assert read_span(reader(endpoint, **IN_PARTS), "h264.mp4", None).failure is None


def test_a_source_that_fails_gives_its_copy_back(endpoint: str, home: Path) -> None:
    counts = FrameCounts()
    with pytest.raises(SourceError), closing(reader(endpoint).read("text.mp4", None, None, counts)) as items:  # type: ignore[type-var]
        next(items)
    assert names_in(home) == []
