"""A run over much leaves no more in memory than was there before; one over little is fast the second time."""

from __future__ import annotations

import gzip
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.archives import tar_of
from tests.page_cache import forget, in_memory
from tests.run.jobs import JobFolder, VideoFolder, jpeg, numbered, read_rows
from tests.tables import write_table
from tests.videos import Recipe, make

pytestmark = pytest.mark.skipif("sys.platform != 'linux'")

COUNT = 90
KEPT_FILES = 64
DRAWN = "[{kind: images, path: out, draw: labels}, {kind: csv, path: out, fields: [top_k]}]"
KEPT_BYTES = (32 + 4 + 2) << 20
"""At most, of one large file: what was read last, a piece more, and a block that it may begin in."""


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine have 1 MiB of memory: all that tests read is much."""
    sysconf = os.sysconf
    monkeypatch.setattr("os.sysconf", lambda name: 256 if name == "SC_PHYS_PAGES" else sysconf(name))


@pytest.fixture
def many(tmp_path: Path, network: Path) -> JobFolder:
    """A job over so many images that a worker drops the first of them."""
    job = JobFolder(tmp_path, network)
    job.write(batch_size=8, chunk_items=50)
    job.add(*numbered(COUNT), comment="x" * 20_000)
    forget(*job.images.iterdir())
    return job


def shares(job: JobFolder) -> list[float]:
    return [in_memory(job.images / name) for name in numbered(COUNT)]


@pytest.mark.usefixtures("little_memory")
def test_of_much_nothing_stays_in_memory_but_what_was_read_last(many: JobFolder) -> None:
    many.run().expect(0)
    left = shares(many)
    assert left[: COUNT - KEPT_FILES] == [0.0] * (COUNT - KEPT_FILES)
    assert left[-1] == 1.0
    assert many.rows() == read_rows(many.undisturbed())


def test_little_stays_in_memory_for_the_next_run(many: JobFolder) -> None:
    many.run().expect(0)
    assert shares(many) == [1.0] * COUNT


def large(image: bytes, mib: int = 1) -> bytes:
    """Return a JPEG with the same pixels and so many MiB of comments."""
    comment = b"\xff\xfe" + (65_002).to_bytes(2, "big") + bytes(65_000)
    return image[:2] + 16 * mib * comment + image[2:]


def write_tar(path: Path, images: list[bytes]) -> None:
    path.write_bytes(tar_of(list(zip(numbered(len(images)), images, strict=True))))


def write_stored(path: Path, images: list[bytes]) -> None:
    """Write a tar file in the format of gzip, but no smaller."""
    tar = tar_of(list(zip(numbered(len(images)), images, strict=True)))
    made = io.BytesIO()
    with gzip.GzipFile(fileobj=made, mode="wb", compresslevel=0) as file:
        file.write(tar)
    path.write_bytes(made.getvalue())


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    ("kind", "name", "write"),
    [
        ("archive", "a.tar", write_tar),
        ("archive", "a.tar.gz", write_stored),
        ("table", "a.parquet", write_table),
    ],
)
def test_of_a_large_file_only_the_last_part_stays(
    tmp_path: Path,
    network: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    name: str,
    write: Callable[[Path, list[bytes]], None],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    job = JobFolder(tmp_path, network)
    job.write(batch_size=4, chunk_items=100)
    images = [jpeg(number) for number in range(56)]
    job.add(*numbered(len(images)))
    expected = [row["features"] for row in read_rows(job.undisturbed())]
    shutil.rmtree(job.images)
    job.images.mkdir()
    job.file.write_text(job.file.read_text().replace("{kind: images,", f"{{kind: {kind},"))
    file = job.images / name
    write(file, [large(image) for image in images])
    forget(file)
    job.run().expect(0)
    assert 0 < in_memory(file) * file.stat().st_size <= KEPT_BYTES
    assert [row["features"] for row in job.rows()] == expected


@pytest.mark.usefixtures("little_memory")
def test_a_video_goes_when_the_next_one_has_been_read(tmp_path: Path, pixels: Path) -> None:
    job = VideoFolder(tmp_path, pixels)
    videos = [job.add_video(name) for name in ("a.mp4", "b.mp4")]
    room = 20 << 20
    for video in videos:
        with video.open("ab") as file:
            file.write(room.to_bytes(4, "big") + b"free" + bytes(room - 8))
    shares: list[float] = []
    for _ in range(3):  # a kernel that is short of memory may drop pages of the second one by itself
        forget(*videos)
        for video in videos:
            video.read_bytes()
        job.run("--fresh").expect(0)
        shares = [in_memory(video) for video in videos]
        if shares == [0.0, 1.0]:
            break
    assert shares == [0.0, 1.0]
    assert len(job.rows()) == 24


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(("writer", "left"), [("", [0.0, 0.0, 1.0]), (DRAWN, [1.0, 1.0, 1.0])])
def test_pictures_that_are_drawn_on_are_read_twice_and_so_stay(
    tmp_path: Path, network: Path, writer: str, left: list[float]
) -> None:
    job = JobFolder(tmp_path, network)
    job.write(writer=writer)
    files = [job.images / name for name in numbered(3)]
    for number, file in enumerate(files):
        file.write_bytes(large(jpeg(number), mib=20))
    forget(*files)
    job.run().expect(0)
    assert [round(in_memory(file), 1) for file in files] == left


@pytest.mark.usefixtures("little_memory")
def test_of_a_video_that_is_too_large_for_a_second_pass_only_the_last_part_stays(
    tmp_path: Path, pixels: Path
) -> None:
    job = VideoFolder(tmp_path, pixels)
    job.describe("every: 50")
    video = make(job.videos, Recipe("a.avi", "rawvideo", size=(640, 480), frames=130))
    assert video.stat().st_size > 1.4 * KEPT_BYTES
    forget(video)
    job.run().expect(0)
    assert 0 < in_memory(video) * video.stat().st_size <= KEPT_BYTES
    assert [row["frame_index"] for row in job.rows()] == [0, 50, 100]
