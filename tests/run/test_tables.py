"""Jobs over images in Parquet files: the rows of a folder, and what a run does when tables break or go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resnet_pipe.job.job import load
from resnet_pipe.run.stop import Stop
from resnet_pipe.study.trial import open_trials
from tests.run.jobs import Cli, JobFolder, assert_clean, numbered, read_rows, states
from tests.tables import write_table

COUNT = 10


@pytest.fixture
def job(tmp_path: Path, network: Path) -> JobFolder:
    """A job over two tables, of six and of four images; before, over the folder with these."""
    (tmp_path / "job").mkdir()
    made = JobFolder(tmp_path / "job", network)
    made.add(*numbered(COUNT))
    data = [(made.images / name).read_bytes() for name in numbered(COUNT)]
    (made.folder / "tables").mkdir()
    write_table(made.folder / "tables" / "a.parquet", data[:6])
    write_table(made.folder / "tables" / "b.parquet", data[6:], nested=False)
    return made


def read_tables(job: JobFolder) -> None:
    text = job.file.read_text().replace("{kind: images, path: images", "{kind: table, path: tables")
    job.file.write_text(text)


PATHS = [f"{'ab'[row >= 6]}.parquet/{row - 6 * (row >= 6):09d}" for row in range(COUNT)]


def test_the_rows_are_those_of_the_folder(job: JobFolder) -> None:
    expected = read_rows(job.undisturbed())
    read_tables(job)
    job.run("--set", "run.workers=2", "--set", "run.chunk_items=4").expect(0)
    assert job.rows() == [{**row, "path": path} for row, path in zip(expected, PATHS, strict=True)]
    assert_clean(job.out)
    before = states(job.out)
    assert f"0 sources done, 0 failed, {COUNT} already done" in job.run().expect(0).stdout
    assert states(job.out) == before


def test_a_table_that_is_damaged_keeps_its_rows_until_it_is_whole(job: JobFolder) -> None:
    read_tables(job)
    job.run().expect(0)
    rows = job.rows()
    table = job.folder / "tables" / "a.parquet"
    whole = table.read_bytes()
    table.write_bytes(whole[:-10])
    job.run("--prune").expect(3)
    assert sorted(job.rows(), key=str) == sorted(rows, key=str)
    assert job.failures()["a.parquet"]["error"] == "damaged"
    table.write_bytes(whole)
    job.run().expect(0)
    assert job.failures() == {}
    assert sorted(job.paths()) == PATHS


def test_a_table_that_is_gone_keeps_its_rows_until_they_are_pruned(job: JobFolder) -> None:
    read_tables(job)
    job.run().expect(0)
    (job.folder / "tables" / "b.parquet").unlink()
    job.run().expect(0)
    assert len(job.rows()) == COUNT
    job.run("--prune", "--set", "run.max_disappeared=4").expect(0)
    assert job.paths() == PATHS[:6]


def test_another_column_has_other_rows_and_is_refused(job: JobFolder) -> None:
    read_tables(job)
    job.run().expect(0)
    before = states(job.out)
    table = job.folder / "tables" / "a.parquet"
    (job.folder / "tables" / "b.parquet").unlink()
    write_table(table, [(job.images / name).read_bytes() for name in numbered(6)], column="other")
    failed = job.run("--set", "reader.column=other").expect(2)
    assert "reader.column" in failed.stderr
    assert states(job.out) == before


def test_the_other_commands_take_such_a_job(job: JobFolder, cli: Cli) -> None:
    read_tables(job)
    assert str(COUNT) in cli("run", job.file, "--dry-run").expect(0).stdout
    assert not job.out.exists()
    cli("run", job.file, "--set", "run.canary=2").expect(0)
    cli("check", job.out).expect(0)
    verified = json.loads(
        cli("verify", job.file, "--count", 3, "--engine", "opencv", "--json").expect(0).stdout
    )
    assert verified["images"]["used"] == 3


def test_trials_read_what_is_in_tables(job: JobFolder) -> None:
    read_tables(job)
    loaded, _ = load(job.file)
    with open_trials(loaded, Stop()) as trials:
        assert trials.sample.found == COUNT
        result = trials.run(20, {"infer.batch_size": 4}, 60)
    assert result["sources"]["done"] == result["items"] == 20


def test_pictures_are_drawn(job: JobFolder) -> None:
    job.write(writer="{kind: images, path: out, k: 1}")
    read_tables(job)
    job.run().expect(0)
    drawn = sorted(str(path.relative_to(job.out / "images")) for path in job.out.rglob("*.jpg"))
    assert drawn == [f"{path}.jpg" for path in PATHS]
