"""What a run would have to do: listed as it would, and the frames of videos counted without decoding."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from resnet_pipe.errors import StoppedError
from resnet_pipe.job.job import load
from resnet_pipe.run.preparation import resolved
from resnet_pipe.run.stop import Stop
from resnet_pipe.study import to_do
from resnet_pipe.study.interval import Interval
from resnet_pipe.study.to_do import Items, ToDo, count_items, look
from tests.networks import write_pixels
from tests.run.jobs import CROP, VideoFolder

LENGTHS = {"a.mkv": 12, "b.mkv": 60, "c.mkv": 24, "d.mkv": 36}


@pytest.fixture
def films(tmp_path: Path) -> VideoFolder:
    (tmp_path / "films").mkdir()
    films = VideoFolder(tmp_path / "films", write_pixels(tmp_path / "tiny.onnx", CROP))
    for name, frames in LENGTHS.items():
        films.add_video(name, frames)
    return films


def looked(films: VideoFolder, *overrides: str) -> tuple[ToDo, Items]:
    """Return what is to do, and its items, with plenty of time to count them."""
    job = load(films.file, overrides)
    found = look(resolved(job, False, lambda _text: None), False, Stop())
    return found, count_items(job.job, found, 60, Stop(), lambda: None)


@pytest.mark.parametrize(
    ("sampling", "items"),
    [("every=1", 132), ("every=10", 15), ("count=2", 8), ("keyframes=true", 11), ("max_frames=20", 72)],
)
def test_of_few_videos_all_frames_are_counted(films: VideoFolder, sampling: str, items: int) -> None:
    found, counted = looked(films, f"reader.{sampling}")
    assert len(found) == 4
    assert found.size == sum(path.stat().st_size for path in films.videos.iterdir())
    assert counted.count == Interval.exactly(items)
    assert counted.are_frames
    assert counted.opening_s > 0


def test_a_broken_video_has_no_frames(films: VideoFolder) -> None:
    (films.videos / "e.mkv").write_bytes(b"no video")
    (films.videos / "f.mkv").touch()
    found, counted = looked(films)
    assert len(found) == 6
    assert counted.count == Interval.exactly(132)


def test_of_many_videos_as_many_are_counted_as_there_is_time_for(films: VideoFolder) -> None:
    found = look(resolved(load(films.file), False, lambda _text: None), False, Stop())
    counted = count_items(load(films.file).job, found, 0, Stop(), lambda: None)
    assert counted.count.low < 132 < counted.count.high, "one of them tells little"
    assert counted.count.low > 0


def test_of_a_sample_the_frames_are_estimated_from_the_bytes(
    films: VideoFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_do, "_MOST", 3)
    _, counted = looked(films)
    assert counted.count.low < 132 < counted.count.high
    assert counted.count.high < 400


def test_what_a_run_has_done_is_not_to_do(films: VideoFolder) -> None:
    films.run("--set", "reader.every=10").expect(0)
    films.add_video("e.mkv", 20)
    found, counted = looked(films, "reader.every=10")
    assert [source.key for source in found.sources] == ["e.mkv"]
    assert counted.count == Interval.exactly(2)


def test_a_stop_ends_the_counting(films: VideoFolder) -> None:
    found, _ = looked(films)
    stop = Stop()
    stop.note(signal.SIGINT)
    with pytest.raises(StoppedError, match="SIGINT: stopped while counting frames"):
        count_items(load(films.file).job, found, 60, stop, lambda: None)
