"""Jobs over videos: the right rows of every sample, whatever is in it, and whatever happens to a source."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError
from resnet_pipe.preprocess.geometry import Geometry
from resnet_pipe.reader.video.section import VideoSection
from tests.joins import frame_starts, recount
from tests.run.faults import ENGINE, GATE, Gate
from tests.run.jobs import (
    CROP,
    HOME,
    JobFolder,
    Row,
    VideoFolder,
    assert_clean,
    number_in,
    read_lines,
    read_rows,
    records,
)
from tests.videos import FRAMES, SAMPLES, Recipe, cut_off, make, named, x264

SAMPLINGS: dict[str, dict[str, Any]] = {
    "every frame": {},
    "every 7th": {"every": 7, "max_frames": 4},
    "3 a second": {"fps": 3},
    "key frames": {"keyframes": True},
    "5 of a stretch": {"count": 5, "start": 0.3, "end": 1.3},
}


def inline(sampling: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {json.dumps(value)}" for key, value in sampling.items())


def expected_rows(
    folder: Path, sampling: dict[str, Any]
) -> list[tuple[str, int, float, NDArray[np.float32]]]:
    """Return path, frame, time and features of every row, straight from the reader."""
    section = VideoSection.model_validate({"kind": "video", "path": str(folder), **sampling})
    reader, geometry = section.make_reader(), Geometry(CROP, CROP, "bilinear", "exact")
    rows = []
    for source in reader.list_sources():
        with suppress(SourceError):
            for item in reader.read(source.key, geometry.min_side):
                pixels = np.empty((CROP, CROP, 3), np.uint8)
                geometry.apply(item.frame, pixels)
                assert item.frame_index is not None
                assert item.pts_s is not None
                features = (pixels.transpose(2, 0, 1).ravel() / 255).astype(np.float32)
                rows.append((source.key, item.frame_index, item.pts_s, features))
    return rows


def over(samples: Path, folder: Path, pixels: Path) -> VideoFolder:
    """Make a job over all samples."""
    folder.mkdir()
    (folder / "videos").symlink_to(samples)
    return VideoFolder(folder, pixels)


@pytest.fixture(scope="module")
def every_frame(samples: Path, tmp_path_factory: pytest.TempPathFactory, pixels: Path) -> VideoFolder:
    """A job over all samples that has run, with every frame. Do not change it."""
    job = over(samples, tmp_path_factory.mktemp("every") / "job", pixels)
    job.describe(batch_size=16, workers=2)
    job.run().expect(0)
    return job


@pytest.mark.parametrize("name", SAMPLINGS)
def test_every_sample_gives_exactly_the_rows_of_the_reader_sorted_by_path_and_frame(
    name: str, samples: Path, every_frame: VideoFolder, tmp_path: Path, pixels: Path
) -> None:
    job = every_frame
    if SAMPLINGS[name]:
        job = over(samples, tmp_path / "job", pixels)
        job.describe(reader=inline(SAMPLINGS[name]), batch_size=7, chunk_items=50)
        job.run().expect(3 if "start" in SAMPLINGS[name] else 0)
        assert len(records(job.out)) > 1
    without = {"one.mp4", "two.webm"} if "start" in SAMPLINGS[name] else set()
    assert set(job.failures()) == without
    expected = expected_rows(samples, SAMPLINGS[name])
    rows = job.rows()
    assert {row["path"] for row in rows} == set(SAMPLES) - without
    assert [(row["path"], row["frame_index"], row["pts_s"]) for row in rows] == [row[:3] for row in expected]
    np.testing.assert_allclose([row["features"] for row in rows], [row[3] for row in expected], atol=1e-6)
    assert_clean(job.out)


def test_the_rows_do_not_depend_on_workers_batches_and_chunks(
    samples: Path, every_frame: VideoFolder, tmp_path: Path, pixels: Path
) -> None:
    job = over(samples, tmp_path / "job", pixels)
    job.describe(batch_size=5, chunk_items=1200)
    job.run().expect(0)
    assert len(records(job.out)) > 1
    assert job.rows() == every_frame.rows()


def test_run_json_counts_frames_and_seconds_of_video(every_frame: VideoFolder) -> None:
    summary = every_frame.summary()
    video, count = summary["video"], sum(recipe.frames for recipe in SAMPLES.values())
    page = (Path(__file__).parents[2] / "docs" / "run-json.md").read_text()
    (line,) = re.findall(r"^\| `video` \| (.*) \|$", page, re.MULTILINE)
    assert video.keys() == set(re.findall(r"`(\w+)`", line))
    assert summary["items"] == video["frames_used"] == len(every_frame.rows()) == count
    assert count <= video["frames_decoded"] < 1.1 * count
    rows = every_frame.rows()
    shown = sum(
        max(times) - min(times)
        for name in SAMPLES
        for times in [[row["pts_s"] for row in rows if row["path"] == name]]
    )
    assert shown < video["seconds"] < shown + 0.1 * len(SAMPLES)  # the last frame of each is shown as well
    assert video["real_time_factor"] == pytest.approx(video["seconds"] / summary["run_seconds"], rel=0.01)


BATCHES = f"""
{ENGINE}
def before_forward(blob):
    with (FOLDER / "batches").open("a") as file:
        file.write(".")
"""


def test_short_clips_share_batches(film: VideoFolder) -> None:
    for number in range(10):
        film.add_video(f"{number}.mkv", frames=12, shift=number)
    film.describe(reader="count: 3", batch_size=6)
    film.run(children=BATCHES).expect(0)
    assert film.numbers() == [
        (f"{number}.mkv", index, number + index) for number in range(10) for index in (2, 6, 10)
    ]
    assert len((film.folder / "batches").read_text()) == 5  # 30 frames, six a batch


DAMAGED = {
    "cut.mkv": ("partial", "truncated"),
    "flipped.mkv": ("partial", "damaged"),
    "audio.mkv": ("failed", "no_video"),
    "empty.mp4": ("failed", "empty"),
    "text.mp4": ("failed", "unknown_format"),
}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory, pixels: Path) -> VideoFolder:
    """A job over whole and damaged videos that has run. Do not change it."""
    job = VideoFolder(tmp_path_factory.mktemp("damaged"), pixels)
    whole = job.add_video("whole.mkv", frames=36)
    cut_off(whole, job.videos / "cut.mkv", 0.6)
    data = bytearray(whole.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    (job.videos / "flipped.mkv").write_bytes(data)
    with av.open(str(job.videos / "audio.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (job.videos / "empty.mp4").touch()
    (job.videos / "text.mp4").write_text("this is not a video")
    job.run().expect(3)
    return job


def copied(job: VideoFolder, folder: Path, network: Path) -> VideoFolder:
    shutil.copytree(job.folder, folder, ignore=shutil.ignore_patterns("faults"))
    return VideoFolder(folder, network)


def test_of_a_damaged_video_the_frames_before_the_damage_are_rows(damaged: VideoFolder) -> None:
    failures = damaged.failures()
    assert {path: (line["status"], line["error"]) for path, line in failures.items()} == DAMAGED
    rows: list[tuple[str, int, int]] = []
    for path in ("cut.mkv", "flipped.mkv"):
        assert 12 <= failures[path]["rows"] < 36
        rows += [(path, index, index) for index in range(failures[path]["rows"])]
    assert damaged.numbers() == [*rows, *(("whole.mkv", index, index) for index in range(36))]
    assert all(failures[path]["rows"] == 0 for path, (status, _) in DAMAGED.items() if status == "failed")
    assert "frames decoded: " in failures["cut.mkv"]["message"]
    assert_clean(damaged.out)


def test_a_partial_source_counts_as_one_and_makes_the_exit_code_3(damaged: VideoFolder) -> None:
    assert damaged.summary()["sources"] == {"planned": 6, "skipped": 0, "done": 1, "partial": 2, "failed": 3}
    assert damaged.summary()["exit_code"] == 3
    assert damaged.summary()["standing"] == {"failed": 3, "partial": 2}
    assert sorted(event["source"] for event in damaged.events("source_failed")) == sorted(DAMAGED)
    metrics = (damaged.out / "metrics.prom").read_text()
    assert 'resnet_pipe_sources_partial{job="nightly"} 2' in metrics
    assert damaged.events("run_ended")[0]["partial"] == 2


def test_retry_failed_tries_partial_sources_again_and_their_rows_are_replaced(
    damaged: VideoFolder, tmp_path: Path, pixels: Path
) -> None:
    job = copied(damaged, tmp_path / "job", pixels)
    job.run().expect(0)
    assert job.summary()["sources"]["skipped"] == 6
    before = job.rows()
    job.run("--retry-failed").expect(3)
    assert job.summary()["sources"] == {"planned": 5, "skipped": 1, "done": 0, "partial": 2, "failed": 3}
    assert job.rows() == before
    (job.videos / "cut.mkv").write_bytes((job.videos / "whole.mkv").read_bytes())
    job.run().expect(0)
    assert [row[1:] for row in job.numbers() if row[0] == "cut.mkv"] == [(i, i) for i in range(36)]
    assert "cut.mkv" not in job.failures()
    assert_clean(job.out)


def test_partial_drop_gives_no_rows_of_a_damaged_video(
    damaged: VideoFolder, tmp_path: Path, pixels: Path
) -> None:
    job = copied(damaged, tmp_path / "job", pixels)
    job.describe(reader="partial: drop", writer=BOTH)
    job.run("--fresh").expect(3)
    assert job.numbers() == [("whole.mkv", index, index) for index in range(36)]
    assert job.failures().keys() == DAMAGED.keys()
    assert {(line["status"], line["rows"]) for line in job.failures().values()} == {("failed", 0)}
    assert [path.name for path in job.out.glob("npy/*.npy")] == ["whole.mkv.npy"]
    assert_clean(job.out)


BOTH = "[{kind: parquet, path: out, fields: [features]}, {kind: npy}]"
SEVERAL = """
  - {kind: parquet, path: out, fields: [features, logits, top_k], k: 2}
  - {kind: csv, aggregate: mean, fields: [logits, top_k], k: 3}
  - {kind: jsonl, fields: [logits]}
  - {kind: npy, field: features}"""


def test_several_writers_write_the_same_inference(film: VideoFolder) -> None:
    film.add_video("a.mkv")
    film.add_video("b/c.mkv", shift=30)
    film.describe(writer=SEVERAL)
    film.run().expect(0)
    assert film.summary()["items"] == 24
    rows = read_rows(film.out)
    assert film.numbers() == [
        *(("a.mkv", index, index) for index in range(12)),
        *(("b/c.mkv", index, 30 + index) for index in range(12)),
    ]
    (lines,) = (read_lines(path) for path in film.out.glob("part-*.jsonl"))
    assert [(line["path"], line["frame_index"], line["pts_s"]) for line in lines] == [
        (row["path"], row["frame_index"], row["pts_s"]) for row in rows
    ]
    np.testing.assert_allclose([line["logits"] for line in lines], [row["logits"] for row in rows], rtol=1e-6)
    assert_aggregated(film.out, rows)
    for name in ("a.mkv", "b/c.mkv"):
        array = np.load(film.out / "npy" / f"{name}.npy")
        assert array.dtype == np.float32
        assert array.tolist() == [row["features"] for row in rows if row["path"] == name]
        with (film.out / "npy" / f"{name}.csv").open(newline="") as file:
            index = [(int(line["frame_index"]), float(line["pts_s"])) for line in csv.DictReader(file)]
        assert index == [(row["frame_index"], row["pts_s"]) for row in rows if row["path"] == name]
    assert_clean(film.out)


def assert_aggregated(out: Path, rows: list[Row]) -> None:
    """Check that the CSV shard has one row a source: the mean of its logits, and the best classes of that."""
    (shard,) = out.glob("part-*.csv")
    with shard.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["path"], line["frame_index"], line["pts_s"]) for line in lines] == [
        ("a.mkv", "", ""),
        ("b/c.mkv", "", ""),
    ]
    for line in lines:
        mean = np.mean([row["logits"] for row in rows if row["path"] == line["path"]], axis=0)
        logits = [float(line[f"logit_{index}"]) for index in range(len(mean))]
        np.testing.assert_allclose(logits, mean, rtol=1e-5)
        assert line["label_1"] == f"class {np.argmax(mean)}"


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ("{kind: parquet, fields: [logits]}", "two writers of the same kind would write the same files"),
        ("{kind: csv, path: elsewhere}", "the writers of a job share one output directory"),
    ],
    ids=["one kind", "two paths"],
)
def test_writers_that_exclude_each_other_are_refused_with_their_place(
    film: VideoFolder, second: str, words: str
) -> None:
    film.describe(writer=f"[{{kind: parquet, path: out}}, {second}]")
    said = film.run().expect(2).stderr
    assert f"job.yaml:5:1: writer: {words}" in said
    assert not film.out.exists()


def test_images_are_not_written_again_as_videos(job: JobFolder) -> None:
    job.add("0000.jpg")
    said = job.run("--set", "writer={kind: video, path: out}").expect(2).stderr
    assert "writer.kind: writer kind `video` needs reader kind `video`" in said
    assert not job.out.exists()


DRAWING = f"""
{GATE}
if "resnet_pipe.writer.annotated.drawing_process" in sys.orig_argv:
    import av, os
    av_open = av.open

    def open_(file, *arguments, **options):
        before_opening(str(file))
        return av_open(file, *arguments, **options)

    av.open = open_
"""
"""In the process that draws labels, before_opening(path) is called, which code that follows defines."""

CANNOT_DRAW = f"""
{DRAWING}
    def before_opening(path):
        if path.endswith("videos/b.mkv"):
            os.kill(os.getpid(), 9)
"""
DRAWN = "[{kind: parquet, path: out, fields: [features]}, {kind: video, k: 1}, {kind: npy}]"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, pixels: Path) -> VideoFolder:
    """A job with files for each source that has run; of one source, the video could not be made."""
    job = VideoFolder(tmp_path_factory.mktemp("drawn"), pixels)
    for shift, name in enumerate(("a.mkv", "b.mkv", "c.mkv")):
        job.add_video(name, shift=shift)
    job.describe(reader="partial: drop", writer=DRAWN)
    job.run(children=CANNOT_DRAW).expect(3)
    return job


def files(job: VideoFolder) -> list[str]:
    """Return the files of single sources."""
    return sorted(
        str(path.relative_to(job.out))
        for name in ("npy", "video")
        for path in (job.out / name).rglob("*")
        if path.is_file()
    )


def test_a_writer_that_cannot_make_the_file_of_one_source_marks_only_that_source(drawn: VideoFolder) -> None:
    (path, failure), *others = drawn.failures().items()
    assert (path, failure["status"], failure["rows"], others) == ("b.mkv", "partial", 12, [])
    assert (failure["stage"], failure["error"]) == ("writer", "worker_died")
    assert [event["source"] for event in drawn.events("source_failed")] == ["b.mkv"]
    assert len(drawn.rows()) == 36
    made = ["npy/a.mkv.csv", "npy/a.mkv.npy", "npy/b.mkv.csv", "npy/b.mkv.npy", "npy/c.mkv.csv"]
    assert files(drawn) == [*made, "npy/c.mkv.npy", "video/a.mkv.mp4", "video/c.mkv.mp4"]
    assert_clean(drawn.out)


def test_files_of_a_source_are_made_again_replaced_and_removed_with_it(
    drawn: VideoFolder, tmp_path: Path, pixels: Path
) -> None:
    job = copied(drawn, tmp_path / "job", pixels)
    untouched = (job.out / "video/a.mkv.mp4").stat()
    (job.videos / "c.mkv").unlink()
    job.run("--retry-failed", "--prune").expect(0)
    names = ["npy/a.mkv.csv", "npy/a.mkv.npy", "npy/b.mkv.csv", "npy/b.mkv.npy"]
    assert files(job) == [*names, "video/a.mkv.mp4", "video/b.mkv.mp4"]
    assert_clean(job.out)
    (job.videos / "b.mkv").unlink()
    job.add_video("b.mkv", frames=7, shift=50)
    job.run().expect(0)
    array = np.load(job.out / "npy/b.mkv.npy")
    assert [number_in(row) for row in array] == list(range(50, 57))
    with av.open(str(job.out / "video/b.mkv.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 7
    (job.videos / "b.mkv").write_text("this is not a video")
    job.run().expect(3)
    assert files(job) == [*names[:2], "video/a.mkv.mp4"]
    assert (job.out / "video/a.mkv.mp4").stat().st_ino == untouched.st_ino
    assert_clean(job.out)


def test_a_missing_file_of_a_source_is_made_again(drawn: VideoFolder, tmp_path: Path, pixels: Path) -> None:
    job = copied(drawn, tmp_path / "job", pixels)
    (job.out / "npy/a.mkv.npy").unlink()
    job.run().expect(0)
    assert len(job.rows()) == 36
    assert np.load(job.out / "npy/a.mkv.npy").shape == (12, 3 * CROP * CROP)
    assert_clean(job.out)


HANGS_DRAWING = f"""
{DRAWING}
    def before_opening(path):
        wait_at("gate")
"""


def test_a_second_signal_ends_a_run_at_once_that_waits_for_drawn_labels(film: VideoFolder) -> None:
    film.add_video("a.mkv")
    film.describe(writer="{kind: video, path: out, k: 1}")
    with film.start(faults=HANGS_DRAWING) as run:
        Gate(film).wait()
        run.signal(signal.SIGTERM)
        time.sleep(0.5)
        run.signal(signal.SIGTERM)
        run.end().expect(143)
    assert records(film.out) == []
    assert not list((film.out / HOME / "staging").rglob("*.mp4"))
    film.run().expect(0)
    assert_clean(film.out)


def test_divisions_of_a_job_share_the_output_directory(film: VideoFolder) -> None:
    for number in range(4):
        film.add_video(f"{number}.mkv", frames=3, shift=number)
    film.describe(writer=BOTH)
    film.run("--divide", "1/2").expect(0)
    film.run("--divide", "2/2").expect(0)
    assert sorted(film.numbers()) == [
        (f"{number}.mkv", index, number + index) for number in range(4) for index in range(3)
    ]
    assert len(list(film.out.glob("npy/*.npy"))) == 4
    assert_clean(film.out)


def test_what_was_done_about_joined_recordings_stands_in_the_ledger_and_the_log(film: VideoFolder) -> None:
    film.add_video("plain.mkv")
    square = Recipe("0.ts", "libx264", x264(), size=(120, 120), muxer={"omit_video_pes_length": "0"})
    parts = [square, named(square, "1.ts", first=FRAMES)]
    data = b"".join(make(film.folder, part).read_bytes() for part in parts)
    (film.videos / "joined.ts").write_bytes(recount(data, frame_starts(data)[24] + 2))
    said = film.run().expect(0).stdout
    assert "notes: on 1 source, see source_noted in the run's log.jsonl" in said
    assert [row[1:] for row in film.numbers() if row[0] == "joined.ts"] == [(n, n) for n in range(2 * FRAMES)]
    notes = [
        "its continuity counter jumps at 1 place: nothing is missing",
        "its timestamps jump at 1 place, where recordings are joined: made continuous",
    ]
    entries = {source["key"]: source for record in records(film.out) for source in record["sources"]}
    assert entries["joined.ts"]["notes"] == notes
    assert "notes" not in entries["plain.mkv"]
    (event,) = film.events("source_noted")
    assert (event["source"], event["notes"], event["chunk"]) == ("joined.ts", notes, "000000")
    assert film.summary()["noted"] == 1
    assert film.summary()["exit_code"] == 0
    (film.videos / "late.mkv").write_bytes((film.videos / "plain.mkv").read_bytes())
    film.run().expect(0)
    assert film.summary()["noted"] == 0
    assert "notes" in json.dumps(records(film.out))
    assert_clean(film.out)
