"""A missing disk is no reason to drop results: `--prune` and `--fresh` are refused if too much is gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.run.jobs import Cli, JobFolder, assert_clean, numbered, records, states

BOTH = "path: [images/a, images/b]}"
"""A reader of two directories."""
KNOWN = sorted([f"a/{name}" for name in numbered(6)] + [f"b/{name}" for name in numbered(14)])
REMEDY = "--set run.max_disappeared=100% once"


@pytest.fixture(scope="module")
def twenty_done(tmp_path_factory: pytest.TempPathFactory, network: Path) -> Path:
    """A job of twenty images that has run: six in `a`, fourteen in `b`. Do not change it."""
    job = JobFolder(tmp_path_factory.mktemp("twenty"), network)
    job.write(chunk_items=8, batch_size=8)
    job.add(*KNOWN)
    job.run().expect(0)
    return job.folder


@pytest.fixture
def twenty(twenty_done: Path, tmp_path: Path, network: Path) -> JobFolder:
    """A job of twenty images that has run: six in `a`, fourteen in `b`."""
    shutil.copytree(twenty_done, tmp_path / "twenty")
    return JobFolder(tmp_path / "twenty", network)


def read_both(job: JobFolder) -> None:
    """Name the two directories in the job; the keys stay as they are."""
    job.file.write_text(job.file.read_text().replace("path: images}", BOTH))


def remove(job: JobFolder, *names: str) -> None:
    for name in names:
        (job.images / name).unlink()


def refused(cli: Cli, job: JobFolder, *arguments: str) -> str:
    """Run a job that must be refused and change no result, also in a dry run; return what it says."""
    before, ledger = states(job.out), records(job.out)
    said = job.run(*arguments).expect(1).stderr
    assert cli("run", job.file, *arguments, "--dry-run").expect(1).stderr == said
    assert states(job.out) == before
    assert records(job.out) == ledger
    return said


@pytest.mark.parametrize("option", ["--prune", "--fresh"])
def test_rows_of_many_sources_that_are_gone_at_once_are_given_up_only_if_that_is_said(
    cli: Cli, twenty: JobFolder, option: str
) -> None:
    shutil.rmtree(twenty.images / "b")
    said = refused(cli, twenty, option)
    assert "14 of 20 known sources have disappeared, more than run.max_disappeared (20%) allows" in said
    assert option in said
    assert REMEDY in said
    twenty.run(option, "--set", "run.max_disappeared=100%").expect(0)
    assert twenty.paths() == KNOWN[:6]
    assert_clean(twenty.out)
    cli("run", twenty.file, option, "--dry-run").expect(0)


def test_a_run_that_keeps_their_rows_warns_and_goes_on(twenty: JobFolder) -> None:
    shutil.rmtree(twenty.images / "b")
    before = states(twenty.out)
    for arguments in ((), ("--quiet",), ("--dry-run",)):
        said = twenty.run(*arguments).expect(0).stderr
        assert "warning: 14 of 20 known sources have disappeared" in said
        assert "their rows are kept" in said
    assert states(twenty.out) == before
    assert any("14 of 20 known" in event["text"] for event in twenty.events("note"))
    assert twenty.run("--quiet", "--set", "run.max_disappeared=70%").expect(0).stderr == ""


@pytest.mark.parametrize(("allowed", "code"), [("50%", 0), ("49.9%", 1), ("10", 0), ("9", 1), ("0%", 1)])
def test_the_limit_is_a_share_of_what_is_known_or_a_count(
    cli: Cli, twenty: JobFolder, allowed: str, code: int
) -> None:
    remove(twenty, *KNOWN[-10:])
    cli("run", twenty.file, "--prune", "--dry-run", "--set", f"run.max_disappeared={allowed}").expect(code)


def test_a_few_are_removed_by_hand_unless_a_count_says_otherwise(cli: Cli, twenty: JobFolder) -> None:
    remove(twenty, *KNOWN[-9:])
    for option in ("--prune", "--fresh"):
        cli("run", twenty.file, option, "--dry-run", "--set", "run.max_disappeared=0%").expect(0)
        said = cli("run", twenty.file, option, "--dry-run", "--set", "run.max_disappeared=8").expect(1).stderr
        assert "9 of 20 known sources" in said
        assert REMEDY in said


@pytest.mark.parametrize("option", ["--prune", "--fresh"])
def test_an_entry_that_is_an_empty_mount_point_now_is_refused_however_few_were_below_it(
    cli: Cli, twenty: JobFolder, option: str
) -> None:
    read_both(twenty)
    twenty.run().expect(0)
    assert twenty.summary()["sources"]["skipped"] == len(KNOWN)
    shutil.rmtree(twenty.images / "a")
    (twenty.images / "a").mkdir()
    (twenty.images / "a" / ".not-mounted").touch()
    said = refused(cli, twenty, option)
    assert f"{twenty.images}/a is empty now, but 6 known sources were in it" in said
    assert REMEDY in said
    assert "warning" in twenty.run().expect(0).stderr
    twenty.run(option, "--set", "run.max_disappeared=100%").expect(0)
    assert twenty.paths() == KNOWN[6:]


def test_a_root_that_is_empty_is_refused_also_where_having_no_sources_is_no_error(
    cli: Cli, done: JobFolder
) -> None:
    done.write(reader="allow_empty: true")
    remove(done, *numbered(5))
    for option in ("--prune", "--fresh"):
        assert f"{done.images} is empty now" in refused(cli, done, option)
    done.run("--prune", "--set", "run.max_disappeared=100%").expect(0)
    assert done.rows() == []


def test_an_entry_that_is_gone_is_refused_and_nothing_changes(cli: Cli, twenty: JobFolder) -> None:
    read_both(twenty)
    shutil.rmtree(twenty.images / "a")
    before = states(twenty.out)
    for arguments in ((), ("--prune",), ("--fresh",)):
        assert "no such file or directory" in cli("run", twenty.file, *arguments).expect(2).stderr
    assert states(twenty.out) == before


def test_a_division_counts_its_own_sources(cli: Cli, job: JobFolder) -> None:
    names = numbered(16)
    job.add(*names)
    for division in ("1/2", "2/2"):
        job.run("--divide", division).expect(0)
    own = {
        division: sorted(source["key"] for one in records(job.out) for source in one["sources"]
                     if one["chunk"].startswith(f"{division}of2-"))
        for division in (1, 2)
    }  # fmt: skip
    remove(job, *own[1][:3])
    prune = ("run", job.file, "--prune", "--dry-run", "--set", "run.max_disappeared=2", "--divide")
    assert f"3 of {len(own[1])} known sources" in cli(*prune, "1/2").expect(1).stderr
    cli(*prune, "2/2").expect(0)


def test_what_was_in_a_directory_that_is_a_file_now_has_disappeared(job: JobFolder) -> None:
    job.add("a.jpg/0.jpg", "a.jpg/1.jpg", "b.jpg")
    job.run().expect(0)
    shutil.rmtree(job.images / "a.jpg")
    job.add("a.jpg")
    job.run("--prune").expect(0)
    assert job.paths() == ["a.jpg", "b.jpg"]


def test_failures_that_are_gone_are_no_rows_that_fresh_would_drop(job: JobFolder) -> None:
    job.add("a.jpg")
    job.add_bad(*(bad := [f"bad{name}" for name in numbered(12)]))
    job.run().expect(3)
    remove(job, *bad)
    job.run("--fresh").expect(0)
    assert job.paths() == ["a.jpg"]
