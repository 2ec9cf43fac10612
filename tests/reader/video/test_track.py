"""Of a file with several video tracks, the one that ffmpeg takes is read, or the one that is asked for."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from tests.photographs import encode, photograph
from tests.reader.reading import Reading, read, read_span, splitting
from tests.remuxing import joined
from tests.videos import Recipe, make, x264

UNMARKED, DEFAULT, COVER = Disposition(0), Disposition.default, Disposition.attached_pic
FRAMES = 20


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of small frames, numbered from 0. Do not change it."""
    folder = tmp_path_factory.mktemp("small")
    return make(folder, Recipe("small.mp4", "libx264", x264(), size=(64, 48), frames=FRAMES))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of large frames, numbered from 100. Do not change it."""
    folder = tmp_path_factory.mktemp("large")
    return make(folder, Recipe("large.mp4", "libx264", x264(), size=(160, 120), frames=FRAMES, first=100))


def first_number(reading: Reading) -> int:
    assert reading.failure is None
    assert len(reading.rows) == FRAMES
    return reading.numbers[0]


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "ts"])
def test_the_default_track_is_read_and_among_equals_the_largest(
    container: str, small: Path, large: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"video.{container}"
    for marks, reverse in product(product((UNMARKED, DEFAULT), repeat=2), (False, True)):
        order = slice(None, None, -1 if reverse else 1)
        joined([small, large][order], path, marks[order])
        with av.open(str(path)) as made:  # some containers mark the first, some cannot mark any
            default = [bool(stream.disposition & DEFAULT) for stream in made.streams.video][order]
        assert first_number(read(path)) == (0 if default == [True, False] else 100)


def test_of_equal_tracks_the_first_is_read(small: Path, tmp_path: Path) -> None:
    twin = make(tmp_path, Recipe("twin.mp4", "libx264", x264(), size=(64, 48), frames=FRAMES, first=50))
    for order in ((small, twin), (twin, small)):
        path = joined(order, tmp_path / "video.mkv", (UNMARKED, UNMARKED))
        assert first_number(read(path)) == (0 if order[0] == small else 50)


def test_many_more_pixels_outweigh_being_the_default(small: Path, tmp_path: Path) -> None:
    huge = Recipe("huge.mp4", "libx264", x264(), size=(2560, 1984), frames=1, first=100)
    path = joined((small, make(tmp_path, huge)), tmp_path / "video.mp4", (DEFAULT, UNMARKED))
    assert read(path).numbers == [100]


def test_the_track_that_is_asked_for_is_read(small: Path, large: Path, tmp_path: Path) -> None:
    path = joined((small, large), tmp_path / "video.mp4", (DEFAULT, UNMARKED))
    assert [first_number(read(path, track=track)) for track in (0, 1)] == [0, 100]


def test_a_choice_that_nobody_made_is_noted(small: Path, large: Path, tmp_path: Path) -> None:
    path = joined((small, large), tmp_path / "video.mp4", (UNMARKED, DEFAULT))
    (note,) = read(path).counts.notes
    assert note == "it has 2 video tracks (0 to 1): track 1 was read; reader.track selects another"
    assert read(path, track=1).counts.notes == []
    assert read(small).counts.notes == []


def test_a_track_that_is_not_there_is_a_failure_that_says_which_are(
    small: Path, large: Path, tmp_path: Path
) -> None:
    path = joined((small, large), tmp_path / "video.mp4")
    for video, there in ((path, "2 video tracks (0 to 1)"), (small, "1 video track (number 0)")):
        reading = read(video, track=2)
        assert reading.error == "no_video"
        assert f"it has {there}, but reader.track is 2" in str(reading.failure)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_cover_is_never_taken_for_the_video(container: str, small: Path, tmp_path: Path) -> None:
    path = tmp_path / f"video.{container}"
    if container == "mp4":
        picture = Recipe("picture.mp4", "mjpeg", pixels="yuvj420p", size=(2560, 1984), frames=1)
        joined((small, make(tmp_path, picture)), path, (UNMARKED, COVER))
    else:
        joined((small,), path, cover=encode(photograph(), "JPEG"))
    reading = read(path)
    assert first_number(reading) == 0
    assert reading.counts.notes == []
    assert "a picture, not a video" in str(read(path, track=1).failure)


def without_decoder(path: Path, track: int) -> Path:
    """Give a track of an MP4 file a codec that nobody has heard of."""
    data, place = bytearray(path.read_bytes()), -1
    for _ in range(track + 1):
        place = data.index(b"avc1", data.index(b"stsd", place + 1))
    data[place : place + 4] = b"none"
    path.write_bytes(data)
    return path


def test_a_default_track_without_a_decoder_is_a_failure_that_names_the_way_out(
    small: Path, large: Path, tmp_path: Path
) -> None:
    marks = (UNMARKED, DEFAULT)
    path = without_decoder(joined((small, large), tmp_path / "video.mp4", marks), 1)
    reading = read(path)
    assert reading.error == "unsupported"
    for words in ("no decoder for its video track 1", "reader.track selects another"):
        assert words in str(reading.failure)
    assert first_number(read(path, track=0)) == 0


def test_a_track_without_a_decoder_beside_the_default_one_does_no_harm(
    small: Path, large: Path, tmp_path: Path
) -> None:
    path = without_decoder(joined((small, large), tmp_path / "video.mp4", (DEFAULT, UNMARKED)), 1)
    assert first_number(read(path)) == 0


def test_all_spans_are_of_the_track(small: Path, large: Path, tmp_path: Path) -> None:
    path = joined((small, large), tmp_path / "video.mp4", (UNMARKED, DEFAULT))
    for keys, first in (({}, 100), ({"track": 0}, 0)):
        reader, source = splitting(path, **keys)
        spans = reader.spans(source)
        assert len(spans) > 1
        parts = [read_span(reader, source.key, span) for span in spans]
        assert [number for part in parts for number in part.numbers] == list(range(first, first + FRAMES))


def test_opencv_refuses_a_track_that_it_does_not_read(small: Path, large: Path, tmp_path: Path) -> None:
    path = joined((small, large), tmp_path / "video.mp4", (UNMARKED, DEFAULT))
    reading = read(path, backend="opencv")
    assert reading.error == "unsupported"
    assert "OpenCV can only read video track 0, not 1" in str(reading.failure)
    assert first_number(read(path, backend="opencv", track=0)) == 0
    first = joined((large, small), tmp_path / "video.mkv", (UNMARKED, UNMARKED))
    assert first_number(read(first, backend="opencv")) == 100
