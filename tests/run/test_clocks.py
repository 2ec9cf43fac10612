"""Machines whose clocks differ write to one bucket: nothing depends on what time they believe it is."""

from __future__ import annotations

import json
import os
import signal
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from unittest import mock

import obstore
import pytest

from tests import flaky_proxy
from tests.buckets import content
from tests.clocks import shifted
from tests.flaky_proxy import Faults
from tests.run.bucket_jobs import BucketJob, check, job_of_six
from tests.run.commands import PATIENCE_S
from tests.run.jobs import HOME, Running

OFF_S = 14 * 60
"""Servers refuse requests from machines whose clocks are off by more than a quarter of an hour."""
SOON = "from resnet_pipe.store import lease; lease.BEAT_S, lease.WATCH_S = 0.1, 1.5\n"
"""What has a run notice soon that another one is alive, or dead."""


@pytest.fixture
def job(network: Path, tmp_path: Path, endpoint: str, request: pytest.FixtureRequest) -> BucketJob:
    return job_of_six(tmp_path, network, endpoint, request.node.name)


def start(job: BucketJob, shift_s: int, *arguments: str, endpoint: str = "") -> Running:
    """Start a run on a machine of its own, whose clock is off."""
    machine = job.folder / f"machine {shift_s}"
    machine.mkdir(exist_ok=True)
    (machine / "sitecustomize.py").write_text(shifted(shift_s) + SOON)
    paths = os.pathsep.join(filter(None, [str(machine), os.environ.get("PYTHONPATH")]))
    env = {**job.variables, "PYTHONPATH": paths, "XDG_CACHE_HOME": str(machine / "cache")}
    if endpoint:
        env["AWS_ENDPOINT_URL"] = endpoint
    return job.start(*arguments, env=env)


def believed(job: BucketJob) -> list[int]:
    """Return how far the clocks were off by which each record was committed, minutes."""
    records = [
        json.loads(data)
        for name, data in content(job.server).items()
        if name.startswith(f"{HOME}/ledger/") and b"committed_at" in data
    ]
    now = datetime.now(timezone.utc) + timedelta(seconds=30)
    times = [datetime.fromisoformat(record["committed_at"]) for record in records]
    return sorted(round((time - now) / timedelta(minutes=1)) for time in times)


@pytest.mark.parametrize("shift_s", [OFF_S, pytest.param(-OFF_S, marks=pytest.mark.slow)])
def test_a_run_by_another_clock_takes_nothing_from_one_that_lives_and_all_from_one_that_is_dead(
    job: BucketJob, endpoint: str, shift_s: int
) -> None:
    faults = Faults()
    in_commit, is_over = threading.Event(), threading.Event()

    def before(request: flaky_proxy.Request) -> None:
        if request[0] == "PUT" and f"{HOME}/ledger/000001.json" in request[1]:
            in_commit.set()
            is_over.wait(PATIENCE_S)

    faults.before = before
    with (
        flaky_proxy.before(endpoint, faults) as address,
        start(job, shift_s, endpoint=address) as first,
    ):
        assert in_commit.wait(PATIENCE_S)
        with mock.patch("resnet_pipe.store.lease.WATCH_S", PATIENCE_S):
            assert f"process {first.pid}" in job.here().expect(11).stderr
        first.signal_group(signal.SIGKILL)
        first.process.wait()
        start(job, -shift_s).end().expect(0)
        is_over.set()
    check(job)
    assert {round(minutes / 14) for minutes in believed(job)} == {-1, 1}
    job.change("0.jpg")
    job.add("7.jpg")
    job.here().expect(0)
    check(job)


def test_two_runs_by_different_clocks_at_once_do_every_source_once(job: BucketJob) -> None:
    both = [start(job, shift_s) for shift_s in (OFF_S, -OFF_S)]
    codes = sorted(running.end().code for running in both)
    assert codes in ([0, 0], [0, 11], [11, 11])
    start(job, OFF_S).end().expect(0)
    check(job)


def test_divisions_by_different_clocks_do_every_source_once(job: BucketJob) -> None:
    job.add(*(f"more-{index}.jpg" for index in range(10)))
    job.add_bad("no-image-1.jpg", "no-image-2.jpg", "no-image-3.jpg")
    both = [
        start(job, shift_s, "--divide", division) for shift_s, division in ((OFF_S, "1/2"), (-OFF_S, "2/2"))
    ]
    for running in both:
        assert running.end().code in (0, 3)
    assert {round(minutes / 14) for minutes in believed(job)} == {-1, 1}
    told = start(job, OFF_S).end().expect(0).stdout
    assert "0 sources done" in told
    assert job.keys() == sorted(set(job.names()) - {f"no-image-{index}.jpg" for index in (1, 2, 3)})
    assert "no problems" in job.command("check", job.address).expect(0).stdout


def test_the_folder_of_a_run_is_kept_though_its_clock_is_behind(job: BucketJob) -> None:
    ahead = [f"2099-01-01T00-00-{number:02d}.000000Z" for number in range(35)]
    for name in ahead:
        obstore.put(job.server, f"{HOME}/runs/{name}/run.json", b"{}")
    job.here().expect(0)
    kept = {name.split("/")[2] for name in job.hidden("runs")}
    assert len(kept) == 30
    (ours,) = kept - {*ahead}
    assert f"{HOME}/runs/{ours}/run.json" in job.hidden("runs")
    assert kept - {ours} == {*ahead[-29:]}
