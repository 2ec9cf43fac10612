"""Whatever starts processes gives all that it holds back: a program may run one job after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.run.jobs import Cli, JobFolder, numbered, wait_until


def held() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


COMMANDS = {
    "run": ("run", "JOB", "--fresh"),
    "verify": ("verify", "JOB", "--engine", "opencv", "--count", "2"),
    "doctor": ("doctor", "decoders"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_process_holds_no_more_after_a_command_than_before(job: JobFolder, cli: Cli, name: str) -> None:
    job.write(writer="[{kind: parquet, path: out}, {kind: images, path: out}]")
    job.add(*numbered(3))
    command = [job.file if word == "JOB" else word for word in COMMANDS[name]]
    cli(*command).expect(0)  # what is imported, and what is opened once
    before = held()
    cli(*command).expect(0)
    wait_until(lambda: held() == before, "what threads hold is given back as well")
