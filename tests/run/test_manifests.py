"""Jobs over manifests: the rows of a folder, and what a run does when files or rows go and come."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from resnet_pipe.job.job import load
from resnet_pipe.run.stop import Stop
from resnet_pipe.study.trial import open_trials
from tests.manifests import write_manifest
from tests.run.jobs import Cli, JobFolder, assert_clean, assert_other_commands, numbered, read_rows, states

COUNT = 8


class ManifestJob(JobFolder):
    """A job over `list.csv`, which names the images that are in `images/`."""

    def __init__(self, folder: Path, network: Path) -> None:
        super().__init__(folder, network)
        self.add(*numbered(COUNT))
        self.list(numbered(COUNT))

    def list(self, names: Sequence[str | None]) -> None:
        """Write the manifest."""
        write_manifest(self.folder / "list.csv", names)

    def read_list(self) -> None:
        """Have the job read what the manifest names."""
        ours = "{kind: manifest, root: images, path: list.csv"
        text = self.file.read_text().replace("{kind: images, path: images", ours)
        self.file.write_text(text)


@pytest.fixture
def job(tmp_path: Path, network: Path) -> ManifestJob:
    (tmp_path / "job").mkdir()
    return ManifestJob(tmp_path / "job", network)


def test_the_rows_are_those_of_the_folder(job: ManifestJob) -> None:
    expected = read_rows(job.undisturbed())
    job.list([*reversed(numbered(COUNT)), "0003.jpg"])
    job.read_list()
    job.run("--set", "run.workers=2", "--set", "run.chunk_items=3").expect(0)
    assert job.rows() == expected
    assert_clean(job.out)
    before = states(job.out)
    assert f"0 sources done, 0 failed, {COUNT} already done" in job.run().expect(0).stdout
    assert states(job.out) == before


def test_rows_that_name_nothing_are_failures_until_they_are_corrected(job: ManifestJob) -> None:
    job.list([*numbered(4), "", "gone.jpg", "../job.yaml", "s3://bucket/a.jpg"])
    job.read_list()
    job.run().expect(3)
    assert {path: line["error"] for path, line in job.failures().items()} == {
        "list.csv//6": "missing",
        "gone.jpg": "missing",
        str(job.file): "unsupported",
        "s3://bucket/a.jpg": "unsupported",
    }
    assert job.paths() == numbered(4)
    assert "0 sources done" in job.run().expect(0).stdout
    job.add("gone.jpg")
    job.list([*numbered(4), "0004.jpg", "gone.jpg"])
    job.run().expect(0)
    assert sorted(job.paths()) == [*numbered(5), "gone.jpg"]
    assert job.failures() == {}
    assert_clean(job.out)


def test_links_that_lead_in_a_circle_cost_their_rows(job: ManifestJob) -> None:
    (job.images / "loop").symlink_to("loop")
    job.list([*numbered(2), "loop/a.jpg", "loop", "a" * 300, "b/" * 3000])
    job.read_list()
    job.run().expect(3)
    assert job.paths() == numbered(2)
    assert {path: line["error"] for path, line in job.failures().items()} == {
        "list.csv//6": "missing",
        "list.csv//7": "missing",
        "loop": "not_a_file",
        "loop/a.jpg": "not_a_file",
    }


def test_a_file_that_is_gone_keeps_its_rows_although_it_is_named(job: ManifestJob) -> None:
    """A disk that is not mounted must not turn rows into failures."""
    job.read_list()
    job.run().expect(0)
    rows, before = job.rows(), states(job.out)
    shutil.move(job.images / "0002.jpg", job.folder / "away.jpg")
    assert "1 disappeared" in job.run("--dry-run").expect(0).stdout
    job.run().expect(0)
    assert job.rows() == rows
    assert states(job.out) == before
    shutil.move(job.folder / "away.jpg", job.images / "0002.jpg")
    assert f"{COUNT} already done" in job.run().expect(0).stdout
    (job.images / "0002.jpg").unlink()
    job.run("--prune", "--set", "run.max_disappeared=1").expect(0)
    assert len(job.rows()) == COUNT - 1
    job.run().expect(3)
    assert job.failures()["0002.jpg"]["error"] == "missing"


@pytest.mark.parametrize("flag", [[], ["--prune"], ["--fresh"]], ids=["run", "prune", "fresh"])
@pytest.mark.parametrize("row", [None, "../list.csv", "s3://bucket/a.jpg"])
def test_where_no_named_file_is_there_nothing_is_touched(
    job: ManifestJob, flag: list[str], row: str | None
) -> None:
    job.list([*numbered(COUNT), row])
    job.read_list()
    job.run().expect(3)
    before = states(job.out)
    for file in job.images.iterdir():
        file.unlink()
    (job.images / "README").write_text("not the disk")
    failed = job.run(*flag).expect(1)
    assert "no images found in" in failed.stderr.replace("\n", " ")
    assert "reader.root" in failed.stderr
    assert states(job.out) == before


def test_where_the_root_is_empty_nothing_is_pruned(job: ManifestJob) -> None:
    job.read_list()
    job.run().expect(0)
    before = states(job.out)
    for file in job.images.iterdir():
        file.unlink()
    failed = job.run("--prune", "--set", "reader.allow_empty=true").expect(1)
    assert f"is empty now, but {COUNT} known sources were in it" in failed.stderr.replace("\n", " ")
    assert states(job.out) == before


def test_where_too_many_named_files_are_gone_nothing_is_pruned(job: ManifestJob) -> None:
    job.read_list()
    text = job.file.read_text().replace("root: images", "root: .")
    job.file.write_text(text)
    (job.folder / "job.jpg").write_bytes((job.images / "0000.jpg").read_bytes())
    job.list([*(f"images/{name}" for name in numbered(COUNT)), "job.jpg"])
    job.run().expect(0)
    before = states(job.out)
    shutil.rmtree(job.images)
    failed = job.run("--prune", "--set", "run.max_disappeared=3").expect(1)
    assert "have disappeared" in failed.stderr
    assert states(job.out) == before


def test_a_row_that_is_gone_keeps_what_was_made_until_it_is_pruned(job: ManifestJob) -> None:
    job.read_list()
    job.run().expect(0)
    job.list(numbered(COUNT - 2))
    job.run().expect(0)
    assert len(job.rows()) == COUNT
    job.run("--prune", "--set", "run.max_disappeared=2").expect(0)
    assert job.paths() == numbered(COUNT - 2)


def test_a_broken_manifest_ends_the_run_before_it_touches_anything(job: ManifestJob) -> None:
    job.read_list()
    job.run().expect(0)
    before = states(job.out)
    data = (job.folder / "list.csv").read_bytes()
    (job.folder / "list.csv").write_bytes(data[:30] + b"\xff" + data[30:])
    assert "list.csv cannot be read" in job.run("--prune").expect(1).stderr
    (job.folder / "list.csv").write_bytes(data.replace(b"path", b"file"))
    failed = job.run("--prune").expect(2)
    assert "has no column 'path'" in failed.stderr
    assert "reader.column" in failed.stderr
    assert states(job.out) == before


def test_pictures_that_a_run_has_drawn_are_not_read_by_the_next(job: ManifestJob) -> None:
    job.write(writer="{kind: images, path: out, k: 1}")
    job.read_list()
    text = job.file.read_text().replace("root: images", "root: .")
    job.file.write_text(text)
    job.list(["images/0000.jpg"])
    job.run().expect(0)
    (drawn,) = (job.out / "images").rglob("*.jpg")
    job.list(["images/0000.jpg", str(drawn.relative_to(job.folder))])
    assert "leads to this job's own results" in job.run().expect(2).stderr.replace("\n", " ")


def test_a_manifest_may_not_be_among_the_results(job: ManifestJob) -> None:
    job.read_list()
    text = job.file.read_text().replace("path: list.csv", "path: .")
    job.file.write_text(text)
    assert "the next run would read what this one writes" in job.run().expect(2).stderr.replace("\n", " ")


def test_the_other_commands_take_such_a_job(job: ManifestJob, cli: Cli) -> None:
    job.read_list()
    assert_other_commands(job, cli, COUNT)


def test_trials_read_what_is_named(job: ManifestJob) -> None:
    job.list([*numbered(COUNT), "", str(job.file)])
    job.read_list()
    loaded, _ = load(job.file)
    with open_trials(loaded, Stop()) as trials:
        assert trials.sample.found == COUNT + 2
        result = trials.run(20, {"infer.batch_size": 4}, 60)
    assert result["sources"]["done"] + result["sources"]["failed"] == 20
