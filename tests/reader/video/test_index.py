"""The index of a video: which packets are decoded for which frames. Properties for any order of packets."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.video.index import Index, index_packets, plan
from resnet_pipe.reader.video.reading import split

BASE = Fraction(1, 25)


class Stream(NamedTuple):
    """What the packets of a stream say, in the order of decoding."""

    pts: list[int]
    key: list[bool]


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Make a stream of groups of pictures, whose leading frames are presented before their key frame."""
    pts: list[int] = []
    key: list[bool] = []
    time = draw(st.integers(-5, 100))
    for group in range(draw(st.integers(1, 6))):
        leading = draw(st.integers(0, 3)) if group else 0
        trailing = draw(st.integers(0, 6))
        pts.append(time + leading)
        pts.extend(draw(st.permutations(range(time, time + leading))))
        pts.extend(time + leading + 1 + each for each in draw(st.permutations(range(trailing))))
        key.extend([True] + [False] * (leading + trailing))
        time += leading + trailing + 1 + draw(st.integers(0, 3))
    return Stream(pts, key)


def index_of(stream: Stream, problem: SourceError | None = None) -> Index:
    found = index_packets(stream.pts, stream.key, [True] * len(stream.pts), BASE, 0, problem)
    assert found is not None
    return found


@given(streams())
def test_frames_are_in_presentation_order_and_know_their_packets(stream: Stream) -> None:
    found = index_of(stream)
    assert found.packets is not None
    assert found.pts.tolist() == sorted(stream.pts)
    assert [stream.pts[packet] for packet in found.packets.of_frame] == found.pts.tolist()
    assert [stream.key[packet] for packet in found.packets.of_frame] == found.key.tolist()


@given(streams(), st.data())
def test_runs_decode_the_wanted_frames_each_from_a_key_frame_that_suffices(
    stream: Stream, data: st.DataObject
) -> None:
    found = index_of(stream)
    packets = found.packets
    assert packets is not None
    wanted = sorted(data.draw(st.sets(st.integers(0, len(stream.pts) - 1), min_size=1)))
    runs = plan(found, packets, np.asarray(wanted))
    assert np.concatenate([run.frames for run in runs]).tolist() == wanted
    end = -1
    for run in runs:
        first = int(packets.entry[run.entry])
        assert stream.key[first]
        assert first > end, "no packet is decoded twice, and something is skipped"
        assert first > end + 1 or end < 0
        inside = packets.of_frame[run.frames]
        assert first <= inside.min() <= inside.max() == run.last
        assert (found.pts[run.frames] >= stream.pts[first]).all()
        end = run.last


@given(streams())
def test_all_frames_are_one_run(stream: Stream) -> None:
    found = index_of(stream)
    assert found.packets is not None
    (run,) = plan(found, found.packets, np.arange(len(stream.pts)))
    assert run.entry == 0
    assert run.last == len(stream.pts) - 1


@given(streams())
def test_a_key_frame_alone_is_one_packet(stream: Stream) -> None:
    found = index_of(stream)
    assert found.packets is not None
    for frame in np.flatnonzero(found.key):
        (run,) = plan(found, found.packets, np.asarray([frame]))
        assert found.packets.entry[run.entry] == run.last


@given(streams(), st.floats(0.04, 0.6), st.data())
def test_spans_have_every_wanted_frame_once(stream: Stream, span_s: float, data: st.DataObject) -> None:
    found = index_of(stream)
    assert found.packets is not None
    wanted = sorted(data.draw(st.sets(st.integers(0, len(stream.pts) - 1), min_size=1)))
    spans = split(found, found.packets, np.asarray(wanted), span_s)
    taken = []
    for span in spans:
        inside = np.ones(span.frames, np.bool_)
        if span.wanted is not None:
            bits = np.unpackbits(np.frombuffer(span.wanted, np.uint8), count=span.frames)
            inside = bits.astype(np.bool_)
        taken += (span.first_frame + np.flatnonzero(inside)).tolist()
        part = found.pts[span.first_frame : span.first_frame + span.frames]
        assert span.start_pts in (None, part[0])
        assert span.end_pts is None or span.end_pts > part[-1]
        if span.start_pts is not None:
            assert stream.key[stream.pts.index(span.start_pts)]
    assert taken == wanted


@given(streams(), st.data())
def test_of_a_stream_cut_off_only_frames_that_nothing_can_come_before_are_left(
    stream: Stream, data: st.DataObject
) -> None:
    keep = data.draw(st.integers(1, len(stream.pts)))
    problem = SourceError("reader", "truncated", "its end is missing")
    depth = max(sum(other > pts for other in stream.pts[:n]) for n, pts in enumerate(stream.pts))
    found = index_packets(stream.pts[:keep], stream.key[:keep], [True] * keep, BASE, depth, problem)
    assert found is not None
    assert found.problem is problem
    assert found.pts.tolist() == sorted(stream.pts)[: len(found.pts)]
    assert len(found.pts) >= keep - depth


def test_frames_before_the_first_key_frame_are_not_part_of_the_video() -> None:
    found = index_packets(
        [7, 5, 10, 8, 9, 12], [False, False, True, False, False, False], [True] * 6, BASE, 0, None
    )
    assert found is not None
    assert found.pts.tolist() == [10, 12]


def test_frames_that_are_not_shown_are_decoded_for_others_but_not_counted() -> None:
    found = index_packets(
        [0, 1, 2, 3], [True, False, False, False], [False, True, False, True], BASE, 0, None
    )
    assert found is not None
    assert found.packets is not None
    assert found.pts.tolist() == [1, 3]
    (run,) = plan(found, found.packets, np.asarray([0]))
    assert (found.packets.entry[run.entry], run.last) == (0, 1)


def test_decoding_does_not_start_at_a_key_frame_that_comes_before_others_in_presentation() -> None:
    found = index_packets([0, 2, 5, 4, 6], [True, False, False, True, False], [True] * 5, BASE, 0, None)
    assert found is not None
    assert found.packets is not None
    assert found.packets.entry.tolist() == [0]
    assert found.key.tolist() == [True, False, True, False, False]


def test_packets_that_cannot_tell_the_frames_give_no_index() -> None:
    assert index_packets([0, 1, 1], [True, False, False], [True] * 3, BASE, 0, None) is None
    assert index_packets([0, 1, 2], [False, False, False], [True] * 3, BASE, 0, None) is None
    assert index_packets([], [], [], BASE, 0, None) is None
    back = [*range(1000, 1100), *range(100)]
    assert index_packets(back, [True] * 200, [True] * 200, BASE, 0, None) is None
