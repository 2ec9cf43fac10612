"""Which settings are next to one, on machines of several sizes."""

from __future__ import annotations

import pytest

from resnet_pipe.study.setting import Facts, Setting, dimensions

HERE = Setting("opencv", "fp32")


def neighbours(facts: Facts, cores: int, largest: int = 1000, setting: Setting = HERE) -> list[list[str]]:
    """Return the names of the neighbours in each dimension: batch size, streams, threads, workers."""
    return [
        [neighbour.name(HERE) for neighbour in dimension(setting, facts)]
        for dimension in dimensions(cores, largest)
    ]


def facts(batch_size: int = 8, streams: int = 2, threads: int = 2, workers: int = 2) -> Facts:
    return Facts("opencv", "fp32", batch_size, streams, threads, workers)


def test_of_two_cores() -> None:
    assert neighbours(facts(), cores=2) == [
        ["batch_size 4", "batch_size 16"],
        ["streams 1"],
        ["streams 1, threads 1"],
        ["workers 1", "workers 3"],
    ]


def test_of_one_core() -> None:
    assert neighbours(facts(1, 1, 1, 1), cores=1) == [["batch_size 2"], [], [], ["workers 2"]]


def test_of_many_cores_the_steps_are_large() -> None:
    assert neighbours(facts(8, 4, 64, 64), cores=64) == [
        ["batch_size 4", "batch_size 16"],
        ["streams 2", "streams 8"],
        ["streams 3, threads 48"],
        ["workers 48", "workers 65"],
    ]
    assert neighbours(facts(8, 12, 12, 12), cores=64)[2:] == [
        ["streams 8, threads 8", "streams 16, threads 16"],
        ["workers 8", "workers 16"],
    ]


def test_on_a_gpu_there_are_no_threads() -> None:
    assert neighbours(facts(64, 1, 0, 16), cores=16) == [
        ["batch_size 32", "batch_size 128"],
        ["streams 2"],
        [],
        ["workers 12", "workers 17"],
    ]


def test_no_more_is_in_flight_than_the_sample_has() -> None:
    assert neighbours(facts(), cores=2, largest=16)[0] == ["batch_size 4"]
    assert neighbours(facts(streams=1), cores=2, largest=8)[1] == []


def test_what_runs_anyway_is_said_in_the_words_of_the_job() -> None:
    def simplified(**values: int) -> Setting:
        return Setting("opencv", "fp32", **values).simplified(HERE, facts())

    assert simplified(batch_size=8, streams=2, threads=2, workers=2) == HERE
    assert simplified(streams=2) == HERE
    assert simplified(batch_size=16, workers=2) == Setting("opencv", "fp32", batch_size=16)
    assert simplified(streams=2, threads=4) == Setting("opencv", "fp32", streams=2, threads=4)


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 6, 8, 16, 64, 96])
def test_streams_always_divide_the_threads(cores: int) -> None:
    seen = [HERE]
    known = {HERE: facts(8, cores, cores, cores)}
    for setting in seen:
        for dimension in dimensions(cores, 1000)[1:3]:
            for found in dimension(setting, known[setting]):
                threads = known[setting].threads if found.threads == "auto" else found.threads
                streams = known[setting].streams if found.streams == "auto" else found.streams
                assert 1 <= threads <= cores
                assert threads % streams == 0
                if found not in known:
                    known[found] = facts(8, streams, threads, cores)
                    seen.append(found)
    assert any(known[setting].threads == 1 for setting in seen)
