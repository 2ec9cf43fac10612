"""The standard streams of a run: nobody needs to be there, and what becomes of them changes no exit code."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.run.commands import Result
from tests.run.jobs import JobFolder, assert_clean


@pytest.fixture
def job_that_speaks(job: JobFolder) -> JobFolder:
    """A job that says something while it runs: which device it took. One of its two sources is bad."""
    job.write(infer="device: auto", kind="jsonl", fields="[logits]")
    job.file.write_text(job.file.read_text().replace("device: cpu, ", ""))
    job.add("a.jpg")
    job.add_bad("bad.jpg")
    return job


def in_shell(job: JobFolder, redirections: str) -> Result:
    """Run a job through a shell, with `redirections` after its command."""
    script = f'set -o pipefail; "$@" {redirections}'
    command = [sys.executable, "-m", "resnet_pipe", "run", str(job.file)]
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command], capture_output=True, text=True, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("redirections", ["2>&-", "<&- >&- 2>&-", "| true", "2> >(true)", "2>/dev/full"])
def test_streams_that_are_closed_or_full_do_not_change_what_a_run_does(
    job_that_speaks: JobFolder, redirections: str
) -> None:
    in_shell(job_that_speaks, redirections).expect(3)
    assert list(job_that_speaks.failures()) == ["bad.jpg"]
    assert_clean(job_that_speaks.out)


def test_a_result_that_cannot_be_printed_is_an_error(job_that_speaks: JobFolder) -> None:
    assert (
        "cannot print the result: No space left" in in_shell(job_that_speaks, ">/dev/full").expect(1).stderr
    )
