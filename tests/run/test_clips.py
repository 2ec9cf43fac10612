"""Jobs over parts of videos that a manifest names."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_pipe.job.job import load
from resnet_pipe.run.stop import Stop
from resnet_pipe.study.trial import open_trials
from tests.run.faults import shorten_spans
from tests.run.jobs import VideoFolder, assert_clean

CLIPS = "path,begin_s,end_s\na.mkv,,\nlong.mkv,0.4,1.2\nlong.mkv,2,\nlong.mkv,x,\nlong.mkv,,0.2\n"


@pytest.fixture
def job(tmp_path: Path, pixels: Path) -> VideoFolder:
    (tmp_path / "job").mkdir()
    job = VideoFolder(tmp_path / "job", pixels)
    job.add_video("a.mkv")
    job.add_video("long.mkv", 60)
    (job.videos / "clips.csv").write_text(CLIPS)
    ours = "kind: manifest, path: videos/clips.csv, start: begin_s, end: end_s, video: {every: 2}"
    job.file.write_text(job.file.read_text().replace("kind: video, path: videos", ours))
    return job


def numbers(key: str, frames: range) -> list[tuple[str, int, int]]:
    return [(key, number, number) for number in frames]


EXPECTED = [
    *numbers("a.mkv", range(0, 12, 2)),
    *numbers("long.mkv#t=,0.2", range(0, 5, 2)),
    *numbers("long.mkv#t=0.4,1.2", range(10, 30, 2)),
    *numbers("long.mkv#t=2", range(50, 60, 2)),
]


def test_each_part_has_its_rows_and_a_bad_row_costs_itself(job: VideoFolder) -> None:
    said = job.run("--set", "run.workers=2", "--set", "run.chunk_items=8").expect(3).stdout
    assert "4 sources done, 1 failed" in said
    assert "frames" in said
    assert job.numbers() == EXPECTED
    (failed,) = job.failures().values()
    assert failed["path"] == "clips.csv//5#t="
    assert failed["message"].startswith("row 5 of clips.csv says no clip")
    assert_clean(job.out)
    (job.videos / "clips.csv").write_text(f"{CLIPS}a.mkv,0.2,0.3\n".replace("long.mkv,x", "long.mkv,1"))
    assert "2 sources done, 0 failed, 4 already done" in job.run().expect(0).stdout
    assert "reader.video" in job.run("--set", "reader.video={every: 3}").expect(2).stderr


def test_long_parts_are_read_in_spans(job: VideoFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_spans(monkeypatch)
    job.run("--set", "run.workers=2").expect(3)
    assert job.numbers() == EXPECTED


def test_parts_are_drawn_on(job: VideoFolder) -> None:
    drawn = (
        "writer: [{kind: parquet, path: out, fields: [features]}, {kind: images, k: 1}, {kind: video, k: 1}]"
    )
    text = job.file.read_text()
    line = next(line for line in text.splitlines() if line.startswith("writer:"))
    job.file.write_text(text.replace(line, drawn))
    job.run().expect(3)
    images = sorted(path.relative_to(job.out / "images").as_posix() for path in job.out.rglob("*.jpg"))
    assert images == sorted(f"{key}/{number:08d}.jpg" for key, number, _ in EXPECTED)
    assert len(list((job.out / "video").glob("*.mp4"))) == 4


def test_trials_read_whole_videos(job: VideoFolder) -> None:
    loaded, _ = load(job.file)
    with open_trials(loaded, Stop()) as trials:
        assert {path.name for path in trials.sample.paths} >= {"a.mkv", "long.mkv"}
        result = trials.run(20, {"infer.batch_size": 4}, 60)
    assert result["sources"]["done"]
