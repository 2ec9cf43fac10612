"""What both backends owe for every sample video: the right frames with their numbers, times and pixels."""

from __future__ import annotations

import os
import pickle
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_pipe.reader.source import FrameCounts
from tests.reader.reading import Reading, read, reader_of
from tests.videos import FRAMES, SAMPLES, frame_times, picture, plain_pass

BACKENDS = ("pyav", "opencv")
SAMPLINGS: tuple[dict[str, Any], ...] = (
    {"every": 3},
    {"every": 13},
    {"fps": 7},
    {"count": 5},
    {"keyframes": True},
    {"start": 0.5, "end": 1.1},
    {"start": 0.9, "every": 2, "max_frames": 3},
    {"end": 1.2, "fps": 12.5},
    {"max_frames": 14},
)


@pytest.fixture(
    scope="module", params=[(name, backend) for name in SAMPLES for backend in BACKENDS], ids="-".join
)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A sample and a backend that can decode it."""
    name, backend = request.param
    reason = SAMPLES[name].opencv
    if backend == "opencv" and reason:
        pytest.skip(f"not with this backend: {reason}")
    return name, backend


@pytest.fixture(scope="module")
def whole(case: tuple[str, str], videos: Path) -> Reading:
    """All frames of the case."""
    name, backend = case
    return read(videos / name, backend=backend)


def test_every_frame_comes_once_and_in_order(case: tuple[str, str], whole: Reading) -> None:
    frames = SAMPLES[case[0]].frames
    assert whole.error is None
    assert whole.indices == list(range(frames))
    assert whole.numbers == list(range(frames))
    assert whole.counts.notes == []


def test_the_pixels_are_those_that_were_encoded(case: tuple[str, str], whole: Reading) -> None:
    width, height = SAMPLES[case[0]].size
    for row in whole.rows:
        assert row.frame.shape == (height, width, 3)
        below = slice(height // 4, None)
        expected = picture(row.number, width, height)[below].astype(int)
        assert np.abs(row.frame[below] - expected).mean() < 8


def test_the_times_are_those_of_ffprobe(case: tuple[str, str], whole: Reading, videos: Path) -> None:
    times = frame_times(videos / case[0])
    assert len(times) == len(whole.rows)
    for ours, theirs in zip(whole.times, times, strict=True):
        assert theirs is None or ours == pytest.approx(theirs, abs=1e-6)
    assert whole.times == sorted(whole.times)


def test_a_frame_keeps_the_time_that_it_was_encoded_with(case: tuple[str, str], whole: Reading) -> None:
    recipe = SAMPLES[case[0]]
    pts = recipe.pts or range(recipe.frames)
    gaps = np.diff([float(each * recipe.time_base) for each in pts])
    assert np.diff(whole.times) == pytest.approx(gaps, abs=0.0011)  # Matroska and FLV count milliseconds


def test_the_tally_is_that_of_the_frames(case: tuple[str, str], whole: Reading) -> None:
    assert whole.counts.decoded == whole.counts.used == len(whole.rows)
    shown = whole.times[-1] - whole.times[0]
    assert whole.counts.seconds == pytest.approx(shown * (1 + 1 / max(1, len(whole.rows) - 1)), abs=0.002)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_a_sample_is_taken_from_the_very_frames_of_the_whole(
    case: tuple[str, str], whole: Reading, videos: Path, sampling: dict[str, Any]
) -> None:
    name, backend = case
    taken = read(videos / name, backend=backend, **sampling)
    if SAMPLES[name].frames < FRAMES and "start" in sampling:
        assert taken.error == "no_frames"
        return
    assert taken.error is None
    assert taken.rows
    if "keyframes" not in sampling:
        assert taken.indices == expected(whole.times, **sampling)
    for row in taken.rows:
        same = whole.rows[row.frame_index]
        assert row.pts_s == same.pts_s
        assert np.array_equal(row.frame, same.frame)
    assert taken.counts.used == len(taken.rows) <= taken.counts.decoded


def expected(
    times: list[float],
    every: int | None = None,
    fps: float | None = None,
    count: int | None = None,
    start: float | None = None,
    end: float | None = None,
    max_frames: int | None = None,
) -> list[int]:
    """Return the frames to take, by the plainest means."""
    origin = times[0] + (start or 0)
    stop = times[0] + (1e9 if end is None else end)
    within = [n for n, time in enumerate(times) if origin - 1e-9 <= time < stop - 1e-9]
    if every is not None:
        within = within[::every]
    elif fps is not None:
        grid = [origin + k / fps for k in range(10_000) if origin + k / fps <= times[within[-1]] + 1e-9]
        nearest = {min(within, key=lambda n: (round(abs(times[n] - point), 9), n)) for point in grid}
        within = sorted(nearest)
    elif count is not None:
        parts = min(count, len(within))
        within = [within[int((part + 0.5) * len(within) / parts)] for part in range(parts)]
    return within[:max_frames]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_key_frames_are_those_that_a_decoder_names(name: str, videos: Path) -> None:
    keys = [number for number, (_, frame) in enumerate(plain_pass(videos / name)) if frame.key_frame]
    if name == "refresh.mkv":
        assert keys == [0]  # the container has more: the beginnings of refreshes
        assert set(keys) < set(read(videos / name, keyframes=True).indices)
    else:
        assert read(videos / name, keyframes=True).indices == keys


def test_a_reader_pickled_to_a_worker_reads_the_same(videos: Path) -> None:
    reader = reader_of(videos / "h264.mp4", fps=3)
    copy = pickle.loads(pickle.dumps(reader))  # noqa: S301
    assert copy == reader
    assert [item.frame_index for item in copy.read("h264.mp4", None)] == [0, 8, 17, 25, 33]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_reading_that_is_given_up_leaves_no_file_open(videos: Path, backend: str) -> None:
    reader = reader_of(videos, backend=backend)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for name in ("h264.mp4", "mpeg4.avi"):
        items = reader.read(name, None)
        assert isinstance(items, Generator)
        next(items)
        assert len(os.listdir("/proc/self/fd")) > before  # noqa: PTH208
        items.close()
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tally_is_added_to_before_each_item(videos: Path, backend: str) -> None:
    counts = FrameCounts(decoded=100, used=100, seconds=100)
    seen = []
    for _ in reader_of(videos, backend=backend, every=4).read("mjpeg.mov", None, None, counts):
        seen.append((counts.used, round(counts.seconds, 9)))
    assert seen == [(101 + n, round(100 + (4 * n + 1) / 25, 9)) for n in range(10)]
    assert counts.seconds == pytest.approx(100 + FRAMES / 25)
    total, before = FrameCounts(), FrameCounts(decoded=100, used=100, seconds=100)
    total.add(counts, before)
    total.add(FrameCounts(used=5))
    assert total.used == 15
    assert total.decoded == (10 if backend == "pyav" else 37)


def test_times_are_exact_fractions_of_seconds(videos: Path) -> None:
    assert read(videos / "ntsc.mp4").times == [float(Fraction(1001, 30000) * n) for n in range(FRAMES)]
