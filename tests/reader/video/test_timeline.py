"""Where the packets of a video begin anew, from their times alone."""

from __future__ import annotations

from array import array
from fractions import Fraction

import pytest

from resnet_pipe.reader.video.timeline import UNKNOWN, Stretch, Table, Timeline, find_stretches

BASE = Fraction(1, 25)


def find(
    dts: list[int],
    key: list[int],
    pts: list[int] | None = None,
    may_jump: bool = True,
    torn: dict[int, bool] | None = None,
    hidden: tuple[int, ...] = (),
) -> Timeline:
    """Find the stretches of packets with these times, in 25ths of a second; `key` are key frames."""
    flags = bytearray(number in key for number in range(len(dts)))
    shown = bytearray(number not in hidden for number in range(len(dts)))
    table = Table(array("q", dts if pts is None else pts), array("q", dts), flags, shown)
    return find_stretches(table, BASE, may_jump, torn or {}, {})


def test_times_that_only_go_on_are_left_as_they_are() -> None:
    for dts in (list(range(50)), [3 * n for n in range(50)], [*range(20), *range(200, 230)]):
        assert find(dts, [0, 20]) == Timeline()


def test_times_that_begin_again_at_a_key_frame_go_on_one_step_later() -> None:
    found = find([*range(10, 30), *range(0, 20)], [0, 20])
    assert found.stretches == (Stretch(0), Stretch(20, shift=30))
    assert (found.mended, found.cuts, found.counted, found.lost) == (1, 0, 0, None)


def test_a_frame_is_presented_after_those_before_the_join_whatever_the_depth_of_reordering() -> None:
    dts = [*range(20), *range(20)]
    pts = [*(n + 3 for n in range(20)), *range(20)]
    assert find(dts, [0, 20], pts).stretches[1].shift == 23


def test_a_long_gap_is_closed_where_times_may_jump_and_decoding_can_begin() -> None:
    dts = [*range(20), *range(20 + 251, 40 + 251)]
    assert find(dts, [0, 20]).stretches == (Stretch(0), Stretch(20, shift=-251))
    assert find(dts, [0, 19], torn={20: True}).stretches == (Stretch(0), Stretch(20, shift=-251))
    assert find(dts, [0, 20], may_jump=False) == Timeline()
    assert find(dts, [0, 19]) == Timeline()
    assert find([300 * n for n in range(20)], [0, 10]) == Timeline()  # all are as far apart


def test_a_little_back_is_not_the_beginning_of_times() -> None:
    assert find([*range(20), *range(18, 38)], [0, 20]) == Timeline()


@pytest.mark.parametrize("back", [5, 24])
def test_a_little_back_is_no_join_unless_a_key_frame_or_a_lost_count_says_so(back: int) -> None:
    dts = [*range(40), *range(40 - back, 80 - back)]
    assert find(dts, [0, 60]) == Timeline()
    assert len(find(dts, [0, 40]).stretches) == 2
    assert len(find(dts, [0, 60], torn={40: True}).stretches) == 2


def test_a_second_back_is_a_join_even_within_a_group_of_pictures() -> None:
    assert len(find([*range(40), *range(10, 50)], [0, 50]).stretches) == 2


def test_times_in_disorder_are_no_joins() -> None:
    dts = [number % 2 * 100 for number in range(60)]
    assert find(dts, [0, 30]) == Timeline()


def test_frames_that_an_edit_list_cuts_away_begin_nothing() -> None:
    dts = [*range(20), *range(15, 35)]
    assert find(dts, [0, 20], hidden=(20, 21, 22, 23, 24)) == Timeline()
    again = [*range(20), *range(20)]
    assert find(again, [0, 20, 25], hidden=(20, 21, 22, 23, 24)).stretches[1].first == 25


def test_times_of_decoding_and_of_presentation_are_not_compared() -> None:
    dts = [UNKNOWN, UNKNOWN, *range(18)]
    assert find(dts, [0, 3], pts=[2, 6, 4, 7, *range(8, 24)]) == Timeline()


def test_packets_without_times_are_no_joins() -> None:
    assert find([UNKNOWN] * 20, [0]) == Timeline()
    assert find([UNKNOWN, 1, UNKNOWN, 3, 4, UNKNOWN], [0]) == Timeline()
    found = find([5, UNKNOWN, 7, UNKNOWN, 0, UNKNOWN, 2], [0, 4])
    assert [stretch.first for stretch in found.stretches] == [0, 4]


def test_a_lost_count_counts_only_if_times_go_on_as_they_do() -> None:
    regular = find(list(range(40)), [0, 30], torn={20: True, 25: True})
    assert (regular.stretches, regular.counted, regular.lost) == ((Stretch(0),), 2, None)
    pulldown = [n * 2 + n // 2 for n in range(40)]
    assert find(pulldown, [0, 30], torn={20: True, 21: True}).counted == 2
    assert find(list(range(40)), [0, 30], torn={20: False}).lost == 19
    assert find([*range(40), *range(40)], [0, 40], torn={40: False}).cut_off == {39}
    gap = [*range(20), *range(22, 42)]
    assert find(gap, [0, 30], torn={20: True}).lost == 20
    cut = find(gap, [0, 20], torn={20: True})
    assert (cut.stretches, cut.cuts, cut.mended, cut.lost) == ((Stretch(0), Stretch(20)), 1, 0, None)
