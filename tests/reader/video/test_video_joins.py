"""Recordings that were joined: every frame once, its pixels wherever reading began, and times that go on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.joins import TS_PACKET, frame_starts, last_count, padded_starts, recount, two_descriptions, without
from tests.reader.reading import Reading, read, splitting
from tests.videos import FRAMES, MPEG4, Recipe, make, x264, x265

SMALL = (96, 64)
AGAIN = "its timestamps jump at 1 place, where recordings are joined: made continuous"
CUT_OFF = "a frame is cut off at 1 place, where recordings are joined, and was left out"
DECLARED = {"omit_video_pes_length": "0"}
"""For the muxer of transport streams, which else does not say how long a frame is."""
LATER = range(25_000, 25_000 + FRAMES)
"""Times that begin 1000 s after those of others."""
SAMPLINGS: tuple[dict[str, Any], ...] = (
    {"every": 9},
    {"fps": 7},
    {"count": 5},
    {"keyframes": True},
    {"start": 1.9},
    {"start": 1.2, "end": 2.1},
)


def one_after_the_other(first: bytes, second: bytes) -> bytes:
    return first + second


def under_one_header(first: bytes, second: bytes) -> bytes:
    """Join two FLV files: without its header, the second is more of the first."""
    return first + second[13:]


@dataclass(frozen=True)
class Pair:
    """Two recipes, and how their files are joined; the name is that of the result."""

    first: Recipe
    second: Recipe
    join: Callable[[bytes, bytes], bytes] = one_after_the_other


def pair(name: str, codec: str, options: Any, other: Any = None, **changes: Any) -> tuple[str, Pair]:  # noqa: ANN401
    """Return a pair of two recordings of one codec; `changes` are those of the second."""
    join = under_one_header if name.endswith(".flv") else one_after_the_other
    first = Recipe(f"first-{name}", codec, options, muxer=DECLARED)
    second = Recipe(f"second-{name}", codec, other or options, first=FRAMES, muxer=DECLARED, **changes)
    return name, Pair(first, second, join)


PAIRS = dict(
    [
        pair("h264.ts", "libx264", x264("open-gop=1")),
        pair("h264-size.ts", "libx264", x264(), size=SMALL),
        pair("h264-later.ts", "libx264", x264(), pts=LATER),
        pair("h264-interlaced.ts", "libx264", x264("interlaced=1:tff=1")),
        pair("h264.m2ts", "libx264", x264()),
        pair("hevc.ts", "libx265", x265("open-gop=1")),
        pair("mpeg2.ts", "mpeg2video", MPEG4),
        pair("mpeg2.mpg", "mpeg2video", MPEG4),
        pair("mpeg2.vob", "mpeg2video", MPEG4),
        pair("mpeg4.ts", "mpeg4", MPEG4, MPEG4 | {"mpeg_quant": "1"}),
        pair("h264.flv", "libx264", x264()),
        pair("h264-size.flv", "libx264", x264(), x264("cabac=0"), size=SMALL),
        pair("goes-on.flv", "libx264", x264(), x264("cabac=0"), size=SMALL, pts=range(FRAMES, 2 * FRAMES)),
    ]
)
DESCRIBED = {
    "h264": ("libx264", x264(), x264("ref=1:cabac=0"), SMALL),
    "hevc": ("libx265", x265(), x265("ctu=16"), SMALL),
    "mpeg4": ("mpeg4", MPEG4, MPEG4 | {"mpeg_quant": "1"}, (160, 120)),
    "mpeg4-size": ("mpeg4", MPEG4, MPEG4, SMALL),
}
"""Codec, options of both parts, and the size of the second."""


@dataclass(frozen=True)
class Joined:
    """A file that was joined, and what its parts give on their own."""

    path: Path
    parts: tuple[Reading, Reading]


def joined(folder: Path, name: str) -> Joined:
    first, second = make(folder, PAIRS[name].first), make(folder, PAIRS[name].second)
    path = folder / name
    path.write_bytes(PAIRS[name].join(first.read_bytes(), second.read_bytes()))
    return Joined(path, (read(first), read(second)))


@pytest.fixture(scope="module", params=[*PAIRS, *DESCRIBED])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Joined:
    """A video that was joined. Do not change it."""
    folder = tmp_path_factory.mktemp("joined")
    if request.param in PAIRS:
        return joined(folder, request.param)
    codec, options, others, size = DESCRIBED[request.param]
    first = make(folder, Recipe("first.mp4", codec, options))
    second = make(folder, Recipe("second.mp4", codec, others, first=FRAMES, size=size))
    return Joined(two_descriptions(first, second, folder / "two.mp4"), (read(first), read(second)))


def same_pixels(ours: Reading, *theirs: Reading) -> bool:
    rows = [row for reading in theirs for row in reading.rows]
    return len(ours.rows) == len(rows) and all(
        np.array_equal(our.frame, their.frame) for our, their in zip(ours.rows, rows, strict=True)
    )


def test_every_frame_of_every_part_comes_with_the_pixels_that_it_has_alone(case: Joined) -> None:
    whole = read(case.path)
    assert whole.failure is None
    assert whole.numbers == whole.indices == list(range(2 * FRAMES))
    assert same_pixels(whole, *case.parts)
    assert whole.counts.decoded == 2 * FRAMES


def test_times_go_on_where_they_begin_again(case: Joined) -> None:
    whole = read(case.path)
    assert np.diff(whole.times) == pytest.approx(1 / 25, abs=0.0011)
    assert whole.counts.notes == ([] if case.path.name in ("two.mp4", "goes-on.flv") else [AGAIN])


def test_a_frame_does_not_depend_on_where_reading_began(
    case: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read(case.path)
    monkeypatch.setattr("resnet_pipe.reader.video.pyav._NEAR", 1)
    for sampling in SAMPLINGS:
        taken = read(case.path, **sampling)
        assert taken.failure is None
        assert taken.rows
        for row in taken.rows:
            same = whole.rows[row.frame_index]
            assert row[:3] == same[:3]
            assert np.array_equal(row.frame, same.frame)


def test_sampling_by_time_goes_over_the_join(case: Joined) -> None:
    assert len(read(case.path, fps=2).rows) == 7  # of 3.2 seconds, as ffmpeg -vf fps=2
    late = read(case.path, start=2.0, end=2.5)
    assert late.indices == pytest.approx(range(50, 63), abs=1)


def test_what_is_not_needed_is_not_decoded(case: Joined) -> None:
    if case.path.name in ("h264-interlaced.ts", "mpeg2.mpg", "mpeg2.vob"):
        pytest.skip("these are always decoded from the beginning")
    assert read(case.path, count=2).counts.decoded < FRAMES


def test_a_joined_video_is_read_as_a_whole(case: Joined) -> None:
    reader, source = splitting(case.path)
    assert reader.spans(source) == ()


def test_opencv_refuses_a_joined_video(case: Joined) -> None:
    reading = read(case.path, backend="opencv")
    assert (reading.error, reading.rows) == ("unsupported", [])
    assert "cannot read joined recordings" in str(reading.failure)


def test_frames_after_a_join_that_need_those_before_it_are_left_out_and_counted(tmp_path: Path) -> None:
    for name in ("h264.ts", "hevc.ts", "mpeg2.ts"):
        case = joined(tmp_path, name)
        first, second = (PAIRS[name].first.name, PAIRS[name].second.name)
        for begin in (3, 12):
            data = (tmp_path / second).read_bytes()
            late = without(data, 0, frame_starts(data)[begin])
            alone = tmp_path / "late.ts"
            alone.write_bytes(late)
            case.path.write_bytes((tmp_path / first).read_bytes() + late)
            reading = read(case.path)
            assert reading.failure is None
            assert same_pixels(reading, case.parts[0], read(alone))
            left_out = 2 * FRAMES - begin - len(reading.rows)
            notes = [AGAIN]
            if left_out:
                text = f"frames left out after a join, because they need missing ones: {left_out}"
                notes.append(text)
            assert reading.counts.notes == notes
            assert (np.diff(reading.times) > 0).all()


def test_a_frame_that_a_join_cuts_off_is_left_out(tmp_path: Path) -> None:
    for name in ("h264.ts", "h264-interlaced.ts", "hevc.ts"):
        case = joined(tmp_path, name)
        data = (tmp_path / PAIRS[name].first.name).read_bytes()
        starts = frame_starts(data)
        keeps = largest(starts)
        cut = without(data, starts[keeps + 1] - 2, starts[-1] + 1000)
        other = (tmp_path / PAIRS[name].second.name).read_bytes()  # counted from 0
        case.path.write_bytes(cut + recount(other, 0, by=last_count(cut) + 9))
        reading = read(case.path)
        assert reading.failure is None
        assert reading.counts.notes == [CUT_OFF, AGAIN]
        alone = tmp_path / "alone.ts"
        alone.write_bytes(without(data, starts[keeps], starts[-1] + 1000))
        assert same_pixels(reading, read(alone), case.parts[1])


def test_a_part_may_begin_and_end_anywhere(tmp_path: Path) -> None:
    """Within a frame, as where a broadcast is recorded, and within a packet, as where a copy is cut off."""
    case = joined(tmp_path, "h264.ts")
    first, second = (
        (tmp_path / each.name).read_bytes() for each in (PAIRS["h264.ts"].first, PAIRS["h264.ts"].second)
    )
    starts, alone = frame_starts(second), tmp_path / "alone.ts"
    late = starts[largest(starts)] + 1
    for begin in (late, starts[3] - 1):
        part = recount(without(second, 0, begin), 0, by=last_count(first) + 5 - (begin - 1))
        alone.write_bytes(part)
        case.path.write_bytes(first + part)
        assert_left_out(read(case.path), case.parts[0], read(alone))
    alone.write_bytes(second)
    for junk in (1, 100, 187, 1000):
        case.path.write_bytes(first + bytes(junk) + second)
        assert_left_out(read(case.path), case.parts[0], case.parts[1])
        case.path.write_bytes(second[-TS_PACKET + junk % TS_PACKET :] + first + second)
        reading = read(case.path)
        assert reading.failure is None
        assert same_pixels(reading, *case.parts)
    case.path.write_bytes(first[:-100] + second)
    assert_left_out(read(case.path), case.parts[0], case.parts[1])


def assert_left_out(whole: Reading, first: Reading, second: Reading) -> None:
    """Of two parts, one frame before the join may be missing, and nothing else."""
    assert whole.failure is None
    assert AGAIN in whole.counts.notes
    kept = len(whole.rows) - len(second.rows)
    assert kept >= len(first.rows) - 1
    frames = {row.frame.tobytes() for row in first.rows}
    assert all(row.frame.tobytes() in frames for row in whole.rows[:kept])
    assert all(
        np.array_equal(ours.frame, theirs.frame)
        for ours, theirs in zip(whole.rows[kept:], second.rows, strict=True)
    )
    assert (np.diff(whole.times) > 0).all()


def test_a_gap_in_a_transport_stream_that_is_no_join_stays(tmp_path: Path) -> None:
    """Up to ten seconds, as with ffmpeg."""
    first = make(tmp_path, Recipe("first.ts", "libx264", x264()))
    second = make(tmp_path, Recipe("second.ts", "libx264", x264(), first=FRAMES, pts=range(90, 90 + FRAMES)))
    path = tmp_path / "gap.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    reading = read(path)
    assert reading.numbers == list(range(2 * FRAMES))
    assert reading.times[FRAMES] - reading.times[FRAMES - 1] == pytest.approx(2, abs=0.05)
    (note,) = reading.counts.notes
    assert note == "its continuity counter jumps at 1 place, where its timestamps have a gap"


def test_times_that_pass_the_largest_of_33_bits_go_on(tmp_path: Path) -> None:
    late = 25 * (2**33 // 90_000) - 10
    for codec, options in (("libx264", x264()), ("mpeg2video", MPEG4)):
        path = make(tmp_path, Recipe(f"{codec}.ts", codec, options, pts=range(late, late + FRAMES)))
        reading = read(path)
        assert reading.numbers == list(range(FRAMES))
        assert np.diff(reading.times) == pytest.approx(1 / 25)
        assert reading.counts.notes == []


RECORDED = {"h264": ("libx264", x264()), "hevc": ("libx265", x265()), "mpeg2": ("mpeg2video", MPEG4)}


@pytest.fixture(scope="module", params=RECORDED)
def coded(request: pytest.FixtureRequest) -> tuple[str, dict[str, str]]:
    """A codec and its options."""
    return RECORDED[request.param]


@pytest.fixture(scope="module")
def recorded(coded: tuple[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transport stream that says how long its frames are. Do not change it."""
    codec, options = coded
    return make(tmp_path_factory.mktemp("recorded"), Recipe("a.ts", codec, options, muxer=DECLARED))


@pytest.fixture(scope="module")
def undeclared(coded: tuple[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that does not say it. Do not change it."""
    codec, options = coded
    return make(tmp_path_factory.mktemp("undeclared"), Recipe("a.ts", codec, options))


def largest(starts: list[int]) -> int:
    """Return the largest frame of those in the middle: it has many packets."""
    return max(range(16, 28), key=lambda number: starts[number + 1] - starts[number])


def test_a_count_that_jumps_where_nothing_is_missing_is_no_damage(
    recorded: Path, undeclared: Path, tmp_path: Path
) -> None:
    """Between two frames, or within one that is as long as it says."""
    path = tmp_path / "recounted.ts"
    for video in (recorded, undeclared):
        data = video.read_bytes()
        starts, padded = frame_starts(data), padded_starts(data)
        places = [starts[largest(starts)] + 1] if video is recorded else [padded[7], padded[20]]
        for place in places:
            data = recount(data, place)
        path.write_bytes(data)
        reading = read(path)
        assert reading.failure is None
        assert reading.times == read(video).times
        assert same_pixels(reading, read(video))
        text = "1 place" if len(places) == 1 else "2 places"
        assert reading.counts.notes == [f"its continuity counter jumps at {text}: nothing is missing"]
        assert read(path, backend="opencv").failure is None
        reader, source = splitting(path)
        assert reader.spans(source) == ()


def assert_nothing_is_made_up(video: Path, path: Path) -> None:
    data, whole = video.read_bytes(), read(video)
    starts = frame_starts(data)
    large = largest(starts)
    begin, end = starts[large], starts[large + 1]
    lost = [(begin, begin + 1), (begin + 1, begin + 2), (end - 1, end), (begin, end), (begin + 1, end + 1)]
    for first, stop in [*lost, (starts[14], starts[15])]:
        path.write_bytes(without(data, first, stop))
        reading = read(path)
        assert reading.error == "damaged"
        assert 8 <= len(reading.rows) < 28
        assert reading.times == whole.times[: len(reading.rows)]
        for ours, theirs in zip(reading.rows, whole.rows, strict=False):
            assert np.array_equal(ours.frame, theirs.frame)


def test_packets_that_are_missing_end_the_video_before_a_frame_is_made_up(
    recorded: Path, undeclared: Path, tmp_path: Path
) -> None:
    for video in (recorded, undeclared):
        assert_nothing_is_made_up(video, tmp_path / "lost.ts")


def test_a_count_that_jumps_within_a_frame_of_unknown_length_is_damage(
    undeclared: Path, tmp_path: Path
) -> None:
    data, path = undeclared.read_bytes(), tmp_path / "torn.ts"
    starts = frame_starts(data)
    path.write_bytes(recount(data, starts[largest(starts)] + 1))
    reading = read(path)
    assert reading.error == "damaged"
    assert "packets are missing or damaged" in str(reading.failure)
    assert reading.times == read(undeclared).times[: len(reading.rows)]


def test_three_parts_are_joined_as_two_are(tmp_path: Path) -> None:
    case = joined(tmp_path, "mpeg2.mpg")
    data = (tmp_path / PAIRS["mpeg2.mpg"].first.name).read_bytes()
    case.path.write_bytes(case.path.read_bytes() + data)
    reading = read(case.path, every=5)
    assert reading.numbers == [*range(0, 2 * FRAMES, 5), *range(0, FRAMES, 5)]
    assert np.diff(reading.times) == pytest.approx(1 / 5)
    assert reading.counts.notes == [AGAIN.replace("1 place", "2 places")]


def test_a_part_whose_video_is_elsewhere_is_noted(tmp_path: Path) -> None:
    """FFmpeg reads the stream that it has found first, and nothing of others."""
    case = joined(tmp_path, "h264.ts")
    other = tmp_path / "elsewhere.ts"
    with av.open(str(tmp_path / PAIRS["h264.ts"].second.name)) as source, av.open(str(other), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        copy.id = 300
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    first = (tmp_path / PAIRS["h264.ts"].first.name).read_bytes()
    case.path.write_bytes(first + other.read_bytes())
    reading = read(case.path)
    assert reading.numbers == list(range(FRAMES))
    _, note = reading.counts.notes  # the first one says which track was taken
    (left,) = re.findall(r"its last (\d+) bytes hold no data of this video track", note)
    assert int(left) > other.stat().st_size


@pytest.mark.parametrize("name", ["a.mp4", "fragments.mp4", "a.mov", "a.flv", "a.asf"])
def test_a_file_that_was_appended_with_its_header_is_noted(name: str, tmp_path: Path) -> None:
    fragments = {"movflags": "frag_keyframe+empty_moov"} if name == "fragments.mp4" else {}
    options = {"g": "12"} if name == "a.asf" else x264()
    recipe = Recipe(name, "wmv2" if name == "a.asf" else "libx264", options, muxer=fragments)
    path = make(tmp_path, recipe)
    assert read(path).counts.notes == []
    first, second = path.read_bytes(), make(tmp_path, Recipe("b.mp4", "libx264", x264())).read_bytes()
    if name in ("a.flv", "a.asf"):
        second = first
    path.write_bytes(first + second)
    reading = read(path)
    assert reading.numbers == list(range(FRAMES))
    assert reading.counts.notes == [f"another file was appended at byte {len(first)}: it is not read"]


def test_streams_that_appear_in_the_second_part_change_nothing(tmp_path: Path) -> None:
    case = joined(tmp_path, "h264.ts")
    sounding = tmp_path / "sounding.ts"
    with (
        av.open(str(tmp_path / PAIRS["h264.ts"].second.name)) as source,
        av.open(str(sounding), "w") as target,
    ):
        copy = target.add_stream_from_template(source.streams.video[0])
        sound = target.add_stream("mp2", rate=48_000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 96_000), np.int16), "s16", "mono")
        samples.sample_rate, samples.time_base, samples.pts = 48_000, Fraction(1, 48_000), 0
        target.mux(sound.encode(samples))
        target.mux(sound.encode(None))
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    case.path.write_bytes((tmp_path / PAIRS["h264.ts"].first.name).read_bytes() + sounding.read_bytes())
    reading = read(case.path)
    assert reading.failure is None
    assert reading.numbers == list(range(2 * FRAMES))
