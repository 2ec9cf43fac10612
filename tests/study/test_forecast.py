"""A forecast of a population of which everything is known is right, and as wide as what is not known."""

from __future__ import annotations

from dataclasses import replace
from math import exp, hypot, log

import pytest

from resnet_pipe.reader.source import Source
from resnet_pipe.run.plan import Plan
from resnet_pipe.run.source_table import SourceTable
from resnet_pipe.study.forecast import DRIFT, Measurement, forecast
from resnet_pipe.study.interval import FLOOR, Interval
from resnet_pipe.study.to_do import Items, ToDo
from tests.study.made_trials import CHUNK_BYTES, ITEM_BYTES, made_trial

COUNT, SIZE = 1000, 50_000


def to_do(count: int = COUNT, size: int = SIZE, listing_s: float = 0.0) -> ToDo:
    """Return what is to do: so many sources, of so many bytes together."""
    table = SourceTable()
    for number in range(count):
        table.append(Source(f"{number:06d}", size // count, 1))
    return ToDo(Plan(new=table, per_chunk=100), table, size, listing_s)


def images(count: int = COUNT) -> Items:
    return Items(Interval.exactly(count))


def usual(rate: float = 10.0, size: int = 50) -> Measurement:
    """Return a trial of 100 items, of so many bytes each."""
    return Measurement(made_trial(100, rate), 100 * size)


BEGUN = Measurement(made_trial(16, 10, beside_s=5), 16 * 50)


def test_a_machine_that_is_always_as_fast_gives_the_time_of_all_items_and_what_comes_beside() -> None:
    told = forecast(to_do(listing_s=7), images(), BEGUN, [usual()] * 4)
    assert told.seconds.expected == pytest.approx(5 + 7 + COUNT / 10)
    assert told.items_per_second == pytest.approx(10)
    assert told.per_item_s.high == pytest.approx(0.1 * exp(hypot(log(FLOOR), log(DRIFT.high))))
    assert told.seconds.low == pytest.approx(112 - 10, abs=1)  # in half an hour the machine may be faster
    assert told.seconds.high == pytest.approx(112 + 12, abs=1)
    assert told.stages == pytest.approx({"reader": 0.5, "preprocess": 0, "infer": 0.5, "writer": 0})
    assert told.bottleneck == "infer"


def test_the_more_trials_differ_the_wider_it_is() -> None:
    steady = forecast(to_do(), images(), BEGUN, [usual(10), usual(10.5), usual(9.5)])
    shaky = forecast(to_do(), images(), BEGUN, [usual(10), usual(13), usual(7)])
    assert shaky.seconds.high > steady.seconds.high
    assert shaky.seconds.low < steady.seconds.low
    assert shaky.seconds.high > COUNT / 7


def test_sources_that_are_larger_than_those_tried_take_longer_as_far_as_reading_does() -> None:
    """The trials drew sources of 40 bytes, and those to do have 50: half of the work grows with that."""
    told = forecast(to_do(), images(), BEGUN, [usual(size=40)] * 3)
    assert told.per_item_s.expected == pytest.approx(0.1 * (1 + 0.5 * 0.25))
    unknown = forecast(to_do(size=0), images(), BEGUN, [usual(size=40)] * 3)
    assert unknown.per_item_s.expected == pytest.approx(0.1)


def test_failures_are_counted_and_the_time_they_take_is_in_that_of_the_others() -> None:
    trial = Measurement(made_trial(90, 9, failed=10), 5000)
    told = forecast(to_do(), images(), Measurement(made_trial(16, 9), 800), [trial] * 3)
    share = 30 / 316
    assert told.failed.expected == pytest.approx(COUNT * share)
    assert told.failed.low < COUNT * share < told.failed.high
    assert told.items.expected == pytest.approx(COUNT * (1 - share))


def test_the_output_has_bytes_for_each_item_and_for_each_chunk() -> None:
    told = forecast(to_do(), images(), BEGUN, [usual()] * 3)
    assert told.output.expected == pytest.approx(COUNT * ITEM_BYTES + 10 * CHUNK_BYTES)
    assert told.output.low < told.output.expected < told.output.high


def test_rows_of_sources_and_not_of_items_have_no_absurd_output() -> None:
    """With `aggregate`, what a trial writes hardly depends on its frames."""

    def constant(items: int, written: int) -> Measurement:
        return Measurement(replace(made_trial(items, 10), written=written), 100 * items)

    trials = [constant(100 + 10 * index, 110_000 + (-1) ** index * 3_000) for index in range(4)]
    told = forecast(to_do(), images(), constant(16, 109_000), trials)
    assert told.output.high < 2 * told.output.expected


def test_memory_is_the_highest_of_the_trials_and_grows_with_the_sources() -> None:
    told = forecast(to_do(), images(), BEGUN, [usual()] * 3)
    assert told.memory.expected == pytest.approx(100 * 2**20 + 300 * COUNT)
    assert told.memory.high > told.memory.expected


def test_what_is_not_known_of_the_items_of_videos_makes_it_wider() -> None:
    known = Items(Interval.exactly(5000), are_frames=True)
    guessed = Items(Interval(2500, 5000, 10_000), are_frames=True)
    sure = forecast(to_do(), known, BEGUN, [usual()] * 4)
    unsure = forecast(to_do(), guessed, BEGUN, [usual()] * 4)
    assert sure.seconds.expected == unsure.seconds.expected == pytest.approx(5 + 500)
    assert unsure.seconds.high > 990
    assert unsure.seconds.low < 270


def test_opening_a_long_video_for_few_frames_does_not_count_for_the_others() -> None:
    """A trial took 100 frames of 4000 bytes of video; the job has ten times as many of each byte.

    Opening took 1 s for each 1000 bytes: 40 ms of a frame of a trial, and 4 ms of one of the job.
    """
    videos = Items(Interval.exactly(COUNT * 250), are_frames=True, opening_s=1e-3)
    told = forecast(to_do(10, 1_000_000), videos, BEGUN, [Measurement(made_trial(100, 10), 4000)] * 3)
    assert told.per_item_s.expected == pytest.approx(0.1 - 0.04 + 0.004)


def test_costs_are_of_the_whole_job_and_of_a_million_items() -> None:
    told = forecast(to_do(), images(), BEGUN, [usual()] * 4)
    assert told.cost(3600).expected == pytest.approx(105)
    assert told.cost_of_a_million(3.6).expected == pytest.approx(100)
