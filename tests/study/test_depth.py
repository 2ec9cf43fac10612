"""The depth study through the command line: real runs in real processes, of small networks."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from resnet_pipe.cli.main import commands
from resnet_pipe.errors import ExitCode, UsageError
from resnet_pipe.store.digest import file_sha256
from resnet_pipe.study import family, figures
from tests import networks
from tests.run.jobs import SIDECAR, JobFolder
from tests.sidecars import write_yolo_sidecar

Depth = Callable[..., Result]


def add_network(folder: Path, depth: int, broken: bool = False) -> None:
    """Put a small network in the place of a ResNet."""
    path = networks.write_tiny(folder / f"resnet{depth}.onnx")
    if broken:  # its outputs have the right names and another shape
        networks.write_pixels(path, 16)
    sidecar = {**SIDECAR, "depth": depth, "macs": depth * 10**8, "onnx_sha256": file_sha256(path)}
    path.with_suffix(".json").write_text(json.dumps(sidecar))


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    job = JobFolder(tmp_path, networks.write_tiny(tmp_path / "network.onnx"))
    job.add("a.jpg", "b.jpg", "c.jpg")
    return job


@pytest.fixture
def depth(tmp_path: Path, job: JobFolder, monkeypatch: pytest.MonkeyPatch) -> Depth:
    """Run `resnet-pipe depth job.yaml` with networks of depth 18 and 34."""
    models = tmp_path / "models"
    models.mkdir()
    add_network(models, 18)
    add_network(models, 34)
    monkeypatch.setattr(family, "models_dir", lambda: models)

    def run(*arguments: str) -> Result:
        command = ["depth", str(job.file), "--items", "4", "--repeats", "1", *arguments]
        return CliRunner().invoke(commands, command)

    return run


def test_a_study_measures_every_depth_and_leaves_table_json_csv_page_and_slide(
    depth: Depth, job: JobFolder
) -> None:
    done = depth("--depths", "18,34", "--batch-sizes", "1,2")
    assert done.exit_code == ExitCode.DONE, done.output
    assert "6/6 ResNet-34, opencv, batches of 2: " in done.stderr
    study = figures.read(job.out / "depth.json")
    assert [entry.network.depth for entry in study.entries] == [18, 34]
    assert [entry.network.gmacs for entry in study.entries] == [1.8, 3.4]
    assert all(entry.images_per_s.median > 0 for entry in study.entries)
    assert all(entry.setting.batch_size == 2 for entry in study.entries), "the job's own"
    assert sorted((point.depth, point.batch_size) for point in study.batch_sizes) == [
        (18, 1), (18, 2), (34, 1), (34, 2),
    ]  # fmt: skip
    assert (study.sources, study.items, study.repeats) == (3, 4, 1)
    rows = list(csv.DictReader((job.out / "depth.csv").read_text().splitlines()))
    assert [row["network.depth"] for row in rows] == ["18", "34"]
    assert (job.out / "depth.png").read_bytes().startswith(b"\x89PNG")
    assert "Depth study: nightly" in (job.out / "depth.html").read_text()
    assert not list(job.out.glob("part-*")), "the job's own output is not touched"


def test_another_detector_under_the_name_of_a_faster_rcnn_is_not_measured_as_one(
    depth: Depth, job: JobFolder
) -> None:
    other = networks.write_yolo(job.folder / "models" / "fasterrcnn_resnet18_fpn.onnx")
    write_yolo_sidecar(other)
    boxes = ("--set", "writer.fields=[boxes]", "--set", "preprocess={}")
    refused = depth("--depths", "18", *boxes)
    assert isinstance(refused.exception, UsageError)
    assert refused.exception.problem == f"{other} is no Faster R-CNN"


def test_a_depth_that_fails_is_marked_and_the_others_stay(
    depth: Depth, job: JobFolder, tmp_path: Path
) -> None:
    add_network(tmp_path / "models", 50, broken=True)
    done = depth("--depths", "18,50", "--out", str(tmp_path / "study"))
    assert done.exit_code == ExitCode.SOME_FAILED, done.output
    study = figures.read(tmp_path / "study" / "depth.json")
    assert [entry.network.depth for entry in study.entries] == [18]
    assert [failed.depth for failed in study.failed] == [50]
    assert study.failed[0].reason
    assert "Not measured: ResNet-50 (opencv)." in done.stdout
    assert not job.out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--depths", "18,20"), "there is no ResNet-20"),
        (("--depths", "eighteen"), "whole numbers"),
        (("--depths", ""), "whole numbers"),
        (("--engine", "tensorflow", "--depths", "18"), "unknown engine 'tensorflow'"),
    ],
)
def test_what_cannot_be_studied_is_refused(
    depth: Depth, job: JobFolder, arguments: tuple[str, ...], said: str
) -> None:
    done = depth(*arguments)
    assert done.exit_code != ExitCode.DONE
    assert said in (str(done.exception) + done.output)
    assert not job.out.exists()


def test_studies_are_put_side_by_side_with_what_differs(depth: Depth, job: JobFolder, tmp_path: Path) -> None:
    depth("--depths", "18")
    path = job.out / "depth.json"
    other = json.loads(path.read_text())
    other["machine"]["processor"] = "another processor"
    other["entries"][0]["images_per_s"]["median"] *= 2
    (tmp_path / "other.json").write_text(json.dumps(other))
    done = CliRunner().invoke(commands, ["depth", "--compare", str(path), str(tmp_path / "other.json")])
    assert done.exit_code == ExitCode.DONE, done.output
    assert "A and B differ: processor: " in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ResNet-18")]
    assert " 2.00 " in line


def test_a_file_of_another_schema_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    path = tmp_path / "depth.json"
    path.write_text('{"schema_version": 2}')
    with pytest.raises(UsageError, match="its schema_version is 2, and this resnet-pipe reads 1"):
        figures.read(path)
    path.write_text("[1]")
    with pytest.raises(UsageError, match="is not a depth study"):
        figures.read(path)
    with pytest.raises(UsageError, match="cannot be read"):
        figures.read(tmp_path / "nowhere.json")


def test_a_slide_that_would_be_a_source_of_the_job_is_refused_before_anything_is_measured(
    depth: Depth, job: JobFolder
) -> None:
    done = depth("--depths", "18", "--out", str(job.images / "study"))
    assert isinstance(done.exception, UsageError)
    assert "study/depth.png would be read as a source of the job" in str(done.exception)
    assert not (job.images / "study").exists()
