"""Long videos in spans: read in any order, by any worker, they give exactly the items of one pass."""

from __future__ import annotations

import pickle
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_pipe.reader.opened import DiskFile
from resnet_pipe.reader.source import Source
from resnet_pipe.reader.video.demux import Video
from tests.reader.reading import Row, read, read_span, splitting
from tests.videos import SAMPLES, cut_off, make, named

SPLIT = [name for name, recipe in SAMPLES.items() if recipe.splits]
SAMPLINGS: tuple[dict[str, Any], ...] = (
    {},
    {"fps": 3},
    {"count": 4},
    {"keyframes": True},
    {"start": 0.3, "end": 1.3},
    {"every": 2, "max_frames": 13},
)


def same(ours: list[Row], theirs: list[Row]) -> bool:
    return [row[:3] for row in ours] == [row[:3] for row in theirs] and all(
        np.array_equal(our.frame, their.frame) for our, their in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("name", SPLIT)
def test_spans_give_what_one_pass_gives(name: str, sampling: dict[str, Any], videos: Path) -> None:
    reader, source = splitting(videos / name, **sampling)
    spans = reader.spans(source)
    assert len(spans) >= 2
    assert [span.index for span in spans] == list(range(len(spans)))
    assert {span.count for span in spans} == {len(spans)}
    whole = read(videos / name, **sampling)
    parts = {
        span.index: read_span(reader, source.key, pickle.loads(pickle.dumps(span)))  # noqa: S301
        for span in reversed(spans)
    }
    assert all(part.failure is None and part.rows for part in parts.values())
    assert same([row for index in sorted(parts) for row in parts[index].rows], whole.rows)
    if not sampling:
        seconds = sum(part.counts.seconds for part in parts.values())
        assert seconds == pytest.approx(
            whole.counts.seconds, abs=0.12
        )  # the end of the last frame is a guess


@pytest.mark.parametrize("name", SPLIT)
def test_a_span_begins_with_a_key_frame(name: str, videos: Path) -> None:
    reader, source = splitting(videos / name)
    spans = reader.spans(source)
    keys = read(videos / name, keyframes=True).indices
    assert all(span.first_frame in keys for span in spans)
    assert sum(span.frames for span in spans) == SAMPLES[name].frames
    assert spans[0].start_pts is None
    assert spans[-1].end_pts is None
    assert all(one.end_pts == other.start_pts for one, other in pairwise(spans))


def test_a_span_is_at_least_as_long_as_asked_for(videos: Path) -> None:
    for length in (0.1, 0.5, 0.7):
        reader, source = splitting(videos / "mjpeg.mov", span_s=length)
        assert [span.frames for span in reader.spans(source)][:-1] == [round(length * 25 + 0.49)] * (
            len(reader.spans(source)) - 1
        )


def test_a_span_decodes_little_beyond_its_frames(videos: Path) -> None:
    reader, source = splitting(videos / "h264-open.mkv")
    for span in reader.spans(source):
        part = read_span(reader, source.key, span)
        assert part.counts.decoded <= span.frames + 5


def test_each_span_lets_go_its_own_part_of_the_file(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, source = splitting(videos / "mjpeg.mov", span_s=0.2)
    parts: list[range] = []
    monkeypatch.setattr(DiskFile, "let_go", lambda _, at, size: parts.append(range(at, at + size)))
    for span in reader.spans(source):
        read_span(reader, source.key, span)
    assert parts[0].start == 0
    assert parts[-1].stop == source.size
    assert len(parts) > 3
    assert all(len(part) < source.size / 4 for part in parts)
    assert all(one.stop <= other.start for one, other in pairwise(parts))


def test_spans_without_wanted_frames_are_left_out(videos: Path) -> None:
    reader, source = splitting(videos / "mjpeg.mov", span_s=0.2, start=0.6, end=1.0)
    spans = reader.spans(source)
    assert [span.first_frame for span in spans] == [15, 20]
    assert [span.count for span in spans] == [2, 2]


@pytest.mark.parametrize("name", [name for name, recipe in SAMPLES.items() if not recipe.splits])
def test_a_video_whose_packets_do_not_tell_its_frames_is_read_as_a_whole(name: str, videos: Path) -> None:
    reader, source = splitting(videos / name)
    assert reader.spans(source) == ()


def test_short_videos_small_files_and_single_spans_are_read_as_a_whole(videos: Path) -> None:
    reader, source = splitting(videos / "h264.mp4")
    assert reader.may_split(source)
    assert len(reader.spans(source)) == 3
    assert replace(reader, span_s=0.9).spans(source) == ()
    small = replace(reader, long_bytes=source.size)
    assert not small.may_split(source)
    assert small.spans(source) == ()
    reader, source = splitting(videos / "h264.mp4", max_frames=3)
    assert reader.spans(source) == ()


def test_the_opencv_backend_does_not_split(videos: Path) -> None:
    reader, source = splitting(videos / "h264.mp4", backend="opencv")
    assert not reader.may_split(source)
    assert reader.spans(source) == ()


def test_damaged_files_are_not_split_so_that_reading_them_tells(videos: Path, tmp_path: Path) -> None:
    for name in ("h264-first-moov.mp4", "h264-open.mkv", "h264.mp4", "vp9.webm", "mjpeg.avi"):
        cut = cut_off(videos / name, tmp_path / name, 0.8)
        reader, source = splitting(cut)
        assert reader.spans(source) == ()
        assert read(cut).error == "truncated"
    reader, _ = splitting(cut)
    assert reader.spans(Source("absent.mp4", 10**9, 0)) == ()


def test_a_file_that_has_changed_since_it_was_split_is_a_failure(videos: Path, tmp_path: Path) -> None:
    video = tmp_path / "changing.mkv"
    video.write_bytes((videos / "h264-open.mkv").read_bytes())
    reader, source = splitting(video)
    spans = reader.spans(source)
    video.unlink()
    make(tmp_path, named(SAMPLES["h264-open.mkv"], video.name, time_base=Fraction(1, 20)))
    assert [read_span(reader, source.key, span).error for span in spans] == ["damaged"] * len(spans)


def test_far_key_frames_are_found_by_seeking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sampling one frame here and there reads only the neighbourhood of each, whatever the container."""
    monkeypatch.setattr("resnet_pipe.reader.video.pyav._NEAR", 1)
    for name in SPLIT:
        recipe = named(SAMPLES[name], f"long-{name}", frames=100, pts=None)
        taken = read(make(tmp_path, recipe), count=3)
        assert taken.numbers == taken.indices == [16, 50, 83]
        assert taken.failure is None


def test_a_file_that_cannot_be_searched_is_read_from_its_beginning(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Video, "seek", lambda *_: False)
    for name in ("h264-open.mkv", "hevc.mp4", "late.ts"):
        reader, source = splitting(videos / name, every=5)
        parts = [read_span(reader, source.key, span) for span in reader.spans(source)]
        assert len(parts) == 3
        assert same([row for part in parts for row in part.rows], read(videos / name, every=5).rows)
