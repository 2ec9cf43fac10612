"""A trial runs a job with changes on a sample, whatever the sources are called and however few there are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from resnet_pipe.job.job import load
from resnet_pipe.run.stop import Stop
from resnet_pipe.study import trial
from resnet_pipe.study.trial import TrialError, Trials, all_sources, open_trials, steady_rate, take_sample
from tests.networks import write_pixels, write_tiny
from tests.run.jobs import CROP, JobFolder, VideoFolder
from tests.study.plain import plain_job


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    return plain_job(tmp_path)


def trials_of(job: JobFolder, folder: Path) -> Trials:
    loaded, _ = load(job.file)
    sample = take_sample(loaded, all_sources(loaded, Stop()), folder, Stop())
    return Trials(loaded, sample, folder, Stop(), lambda: None)


def test_a_sample_is_spread_evenly_and_is_the_same_every_time(job: JobFolder, tmp_path: Path) -> None:
    loaded, _ = load(job.file)
    sample = take_sample(loaded, all_sources(loaded, Stop()), tmp_path, Stop())
    assert sample.found == len(sample.paths) == 30
    sample.lay_out(tmp_path / "five", 5)
    targets = [path.resolve().name for path in sorted((tmp_path / "five").iterdir())]
    assert targets == ["0000.jpg", "0006.jpg", "0012.jpg", "0018.jpg", "0024.jpg"]
    sample.lay_out(tmp_path / "many", 65)
    targets = [path.resolve().name for path in sorted((tmp_path / "many").iterdir())]
    assert len(targets) == 65
    assert sorted({targets.count(name) for name in targets}) == [2, 3]


def test_of_many_sources_a_sample_takes_some_from_the_first_to_the_last(
    job: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "MAX_ITEMS", 10)
    loaded, _ = load(job.file)
    sample = take_sample(loaded, all_sources(loaded, Stop()), tmp_path, Stop())
    assert [path.name for path in sample.paths] == [f"{number:04d}.jpg" for number in range(0, 30, 3)]


def test_a_trial_reads_what_the_job_reads_whatever_it_is_called(job: JobFolder, tmp_path: Path) -> None:
    for path in job.images.iterdir():
        path.unlink()
    job.add("[a] *.jpg", "new\nline.JPG", "photo.dat")
    name = os.fsdecode(b"\xff.jpg")
    (job.images / "photo.dat").rename(job.images / "photo")
    job.add(name)
    job.file.write_text(job.file.read_text().replace("path: images}", "path: [images, images/photo]}"))
    (tmp_path / "trials").mkdir()
    result = trials_of(job, tmp_path / "trials").run(8, {"infer.batch_size": 4}, 60)
    assert result["sources"]["done"] == result["items"] == 8
    assert result["batch_size"] == 4
    assert steady_rate(result) > 0
    assert list((tmp_path / "trials").iterdir()) == []
    assert not job.out.exists()


def test_a_trial_takes_another_model(job: JobFolder, tmp_path: Path) -> None:
    (tmp_path / "trials").mkdir()
    other = write_tiny(tmp_path / "other.onnx")
    result = trials_of(job, tmp_path / "trials").run(4, {"infer.model": str(other)}, 60)
    assert result["model"]["name"] == "other"


def test_of_videos_a_trial_takes_the_first_frames(tmp_path: Path) -> None:
    (tmp_path / "film").mkdir()
    film = VideoFolder(tmp_path / "film", write_pixels(tmp_path / "tiny.onnx", CROP))
    film.add_video("a.mkv", frames=30)
    film.add_video("b.mp4", frames=30)
    (tmp_path / "trials").mkdir()
    result = trials_of(film, tmp_path / "trials").run(40, {}, 60)
    assert result["items"] == 40
    assert result["sources"]["done"] == trial.MIN_SOURCES
    assert result["video"]["frames_decoded"] < 60


def test_a_trial_that_fails_says_why_and_leaves_nothing(job: JobFolder, tmp_path: Path) -> None:
    (tmp_path / "trials").mkdir()
    trials = trials_of(job, tmp_path / "trials")
    with pytest.raises(TrialError, match="unknown engine 'x'"):
        trials.run(4, {"infer.engine": "x"}, 60)
    with pytest.raises(TrialError, match="not finished after 0 s"):
        trials.run(4, {}, 0.2)
    assert list((tmp_path / "trials").iterdir()) == []


def run_json(reader_s: float, preprocess_s: float) -> dict[str, Any]:
    """Return a run.json of two workers that were busy for so long."""
    stages = {"reader": {"busy_s": reader_s, "lanes": 2}, "preprocess": {"busy_s": preprocess_s, "lanes": 2}}
    return {"items": 100, "run_seconds": 6.0, "first_batch_s": 1.0, "stages": stages}


def test_the_rate_of_a_run_leaves_out_the_wait_for_the_workers() -> None:
    assert steady_rate(run_json(1, 1)) == 20


def test_the_rate_of_a_run_is_no_higher_than_the_workers_can_decode() -> None:
    assert steady_rate(run_json(15, 5)) == 10


def test_trials_are_on_the_disk_of_the_output_and_hidden(job: JobFolder, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    loaded, _ = load(job.file, [f"writer.path={tmp_path}/results/not/yet/out"])
    with open_trials(loaded, Stop()) as trials:
        assert trials.folder.parent == tmp_path / "results"
        assert trials.folder.name.startswith(".")
    assert list((tmp_path / "results").iterdir()) == []


def test_a_trial_takes_no_module_from_the_current_directory(
    job: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("json", "numpy", "cv2"):
        (tmp_path / f"{name}.py").write_text("open(__file__ + '.executed', 'w').close()")
    with open_trials(load(job.file).job, Stop()) as trials:
        assert trials.run(2, {}, 60)["items"] == 2
    assert list(tmp_path.glob("*.executed")) == []
