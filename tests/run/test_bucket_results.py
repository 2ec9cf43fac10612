"""Results in a bucket: as on a disk, whatever the server, the network and other runs do."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

import resnet_pipe
from resnet_pipe.errors import RunError, UsageError
from resnet_pipe.ledger.ledger import Ledger
from resnet_pipe.store.address import Address
from resnet_pipe.store.lease import leased
from resnet_pipe.store.objects import Objects
from tests import flaky_proxy
from tests.buckets import content
from tests.flaky_proxy import Faults
from tests.run.bucket_jobs import BucketJob, check, job_of_six, of_job, shards
from tests.run.commands import PATIENCE_S
from tests.run.jobs import HOME

MUTATING = ("PUT", "POST", "DELETE")


@pytest.fixture
def job(network: Path, tmp_path: Path, endpoint: str, request: pytest.FixtureRequest) -> BucketJob:
    return job_of_six(tmp_path, network, endpoint, request.node.name)


@pytest.fixture
def _hasty() -> Iterator[None]:
    """A server that is not there is not waited for."""
    with (
        mock.patch("resnet_pipe.store.objects.PATIENCE_S", 0.3),
        mock.patch("resnet_pipe.store.bucket_files.PATIENCE_S", 0.3),
    ):
        yield


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "npy"])
def test_results_are_those_of_a_disk(job: BucketJob, kind: str) -> None:
    job.describe(kind)
    job.here().expect(0)
    assert of_job(job) == shards(job.undisturbed())
    assert not job.out.exists()
    assert "6 already done" in job.here("--dry-run").expect(0).stdout


def test_annotated_pictures_go_there_too(job: BucketJob) -> None:
    odd = "a'b%20 ä\n.jpg"
    job.add(odd)
    writers = f"[{{kind: csv, path: '{job.address}', fields: [logits]}}, {{kind: images}}]"
    job.write(writer=writers)
    job.here().expect(0)
    pictures = [name for name in job.files() if name.startswith("images/")]
    assert len(pictures) == 7
    assert "no problems" in job.command("check", job.address).expect(0).stdout
    (job.images / odd).unlink()
    job.here("--prune").expect(0)
    assert len([name for name in job.files() if name.startswith("images/")]) == 6


def test_new_changed_and_gone_images_are_followed(job: BucketJob) -> None:
    job.here().expect(0)
    before = of_job(job)
    job.add("7.jpg")
    job.change("3.jpg")
    (job.images / "0.jpg").unlink()
    job.here("--prune").expect(0)
    check(job)
    after = of_job(job)
    assert after["part-000002.parquet"] == before["part-000002.parquet"]
    assert after["part-000001.parquet"] != before["part-000001.parquet"]
    job.add_bad("8.jpg")
    job.here().expect(3)
    assert json.loads(job.files()["failures.jsonl"])["path"] == "8.jpg"


def test_fresh_results_take_the_place_of_old_ones(job: BucketJob) -> None:
    job.here().expect(0)
    (job.images / "0.jpg").unlink()
    job.describe(chunk_items=3)
    job.here("--fresh").expect(0)
    check(job)
    assert [*of_job(job)] == ["part-000000.parquet", "part-000001.parquet"]
    job.here("--fresh", "--now").expect(0)
    check(job)
    assert "part-000000.parquet" not in of_job(job), "an id never stands for other sources"


def test_another_making_is_refused(job: BucketJob) -> None:
    job.here().expect(0)
    before = of_job(job)
    assert "different settings" in job.here("--set", "reader.accept_truncated=true").expect(2).stderr
    assert of_job(job) == before


def test_commands_read_a_bucket(job: BucketJob, tmp_path: Path) -> None:
    job.here().expect(0)
    other = job.undisturbed()
    told = job.command("diff", job.address, str(other), "--max", "0").expect(0).stdout
    assert f"A: {job.address}, 6 rows" in told
    told = job.command("report", job.address).expect(0).stdout
    assert told.strip().removeprefix(f"{job.address}/") in content(job.server)
    assert job.address in job.command("check", f"{job.address}/nothing").expect(2).stderr


def test_a_file_that_is_gone_or_changed_is_found_and_made_again(job: BucketJob) -> None:
    import obstore

    job.here().expect(0)
    obstore.delete(job.server, "part-000001.parquet")
    assert "part-000001.parquet" in job.command("check", job.address).expect(1).stdout
    assert "2 to process" in job.here("--dry-run").expect(0).stdout
    job.here().expect(0)
    check(job)


def test_a_run_is_not_disturbed_by_lost_requests_and_answers(job: BucketJob, endpoint: str) -> None:
    faults = Faults()
    faults.lost = faults.unanswered = 0.1
    with flaky_proxy.before(endpoint, faults) as address:
        job.variables["AWS_ENDPOINT_URL"] = address
        job.here().expect(0)
        job.change("3.jpg")
        job.here().expect(0)
        faults.lost = faults.unanswered = 0.0
        check(job)


def test_a_server_that_ignores_conditions_is_refused_before_anything_changes(
    job: BucketJob, endpoint: str
) -> None:
    faults = Faults()
    faults.ignore_conditions = True
    with flaky_proxy.before(endpoint, faults) as address:
        job.variables["AWS_ENDPOINT_URL"] = address
        error = job.here().expect(2).stderr
    assert "only where there is none" in error
    assert content(job.server) == {}


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("status", [403, 507])
def test_a_server_that_takes_no_more_ends_the_run_and_loses_nothing(
    job: BucketJob, endpoint: str, status: int
) -> None:
    faults = Faults()
    faults.refused = lambda request: status if "/staged/000001-" in request[1] else None
    with flaky_proxy.before(endpoint, faults) as address:
        job.variables["AWS_ENDPOINT_URL"] = address
        error = job.here().expect(1).stderr
        assert job.address in error
        assert "credentials" in error
        assert job.keys() == ["0.jpg", "1.jpg"]
        faults.refused = lambda _request: None
        job.here().expect(0)
        check(job)  # while the proxy is there: connections are kept


@pytest.mark.usefixtures("_hasty")
def test_what_a_run_leaves_besides_its_results_may_be_missing(job: BucketJob, endpoint: str) -> None:
    faults = Faults()
    faults.refused = lambda request: 507 if f"{HOME}/runs/" in request[1] else None
    with flaky_proxy.before(endpoint, faults) as address:
        job.variables["AWS_ENDPOINT_URL"] = address
        said = job.here().expect(0).stderr
        assert "warning: no copy of this run's folder: " in said
        check(job)


@pytest.mark.usefixtures("_hasty")
def test_a_server_that_is_not_there_is_named(job: BucketJob) -> None:
    job.variables["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    for arguments in ((), ("--dry-run",), ("--set", "infer.engine=auto")):
        assert job.address in job.here(*arguments).expect(1).stderr
    assert job.address in job.command("check", job.address).expect(1).stderr


def kill_at(job: BucketJob, endpoint: str, number: int) -> int:
    """Run the job, and kill it before its request of this number that changes something; return its end."""
    faults, count = Faults(), Counter[str]()
    with (
        flaky_proxy.before(endpoint, faults) as address,
        job.start(env={**job.variables, "AWS_ENDPOINT_URL": address}) as running,
    ):

        def before(request: flaky_proxy.Request) -> None:
            count["all"] += request[0] in MUTATING
            if request[0] in MUTATING and count["all"] == number:
                running.signal_group(signal.SIGKILL)
                running.process.wait()

        faults.before = before
        running.process.communicate()
        return int(running.process.returncode)


@pytest.mark.parametrize("number", [9, 12, 14, 16])
def test_a_run_killed_at_a_request_is_completed_by_the_same_command(
    job: BucketJob, endpoint: str, number: int
) -> None:
    assert kill_at(job, endpoint, number) == -signal.SIGKILL
    with mock.patch("resnet_pipe.store.lease.WATCH_S", 0.1):
        job.here().expect(0)
    check(job)


@pytest.mark.slow
def test_a_run_killed_at_any_request_is_completed_by_the_same_command(
    network: Path, tmp_path: Path, endpoint: str
) -> None:
    for number in range(1, 200):
        folder = tmp_path / str(number)
        folder.mkdir()
        job = BucketJob(folder, network, endpoint, f"killed-{number}")
        job.describe()
        job.add(*(f"{index}.jpg" for index in range(4)))
        job.here().expect(0)
        job.change("1.jpg")
        job.add("5.jpg")
        end = kill_at(job, endpoint, number)
        with mock.patch("resnet_pipe.store.lease.WATCH_S", 0.1):
            job.here().expect(0)
        check(job)
        if end == 0:
            break
    assert number > 10


def test_two_runs_at_once_are_one_too_many(job: BucketJob, endpoint: str) -> None:
    with (
        mock.patch.dict(os.environ, job.variables),
        mock.patch("resnet_pipe.store.lease.BEAT_S", 0.2),
        leased(Objects(Address(job.address)), ""),
    ):
        error = job.here().expect(11).stderr
    assert f"process {os.getpid()}" in error
    with mock.patch.dict(os.environ, job.variables), Ledger(Objects(Address(job.address))).store.held():
        error = job.here().expect(11).stderr
    assert f"another run holds {job.address}: process {os.getpid()}" in error
    assert of_job(job) == {}
    job.here().expect(0)
    check(job)


def test_divisions_share_a_bucket(job: BucketJob) -> None:
    job.add(*(f"more-{index}.jpg" for index in range(12)))
    both = [job.start("--divide", f"{index}/2", env=job.variables) for index in (1, 2)]
    for running in both:
        running.end().expect(0)
    check(job)
    for index in (1, 2):
        told = job.here("--divide", f"{index}/2").expect(0).stdout
        assert "0 sources done" in told
    job.here().expect(0)
    check(job)


@pytest.mark.slow
def test_a_run_that_slept_and_was_taken_for_dead_cannot_commit_again(job: BucketJob, endpoint: str) -> None:
    faults = Faults()
    committed = f"{HOME}/ledger/000000.json"
    asleep = threading.Event()
    with (
        flaky_proxy.before(endpoint, faults) as address,
        job.start(env={**job.variables, "AWS_ENDPOINT_URL": address}) as sleeper,
    ):

        def before(request: flaky_proxy.Request) -> None:
            if request[0] == "PUT" and committed in request[1] and not asleep.is_set():
                sleeper.signal_group(signal.SIGSTOP)
                asleep.set()
                job_done.wait(PATIENCE_S)

        job_done = threading.Event()
        faults.before = before
        assert asleep.wait(PATIENCE_S)
        job.variables["XDG_CACHE_HOME"] = str(job.folder / "another machine")
        job.here().expect(0)
        check(job)
        sleeper.signal_group(signal.SIGCONT)
        job_done.set()
        ended = sleeper.end()
    assert ended.code == 11, ended.stderr
    check(job)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_rows_are_read_from_a_bucket(job: BucketJob, kind: str) -> None:
    job.describe(kind)
    job.here().expect(0)
    with mock.patch.dict(os.environ, job.variables):
        rows = resnet_pipe.read(job.address)
        assert rows.to_table(columns=["path"]).column("path").to_pylist() == job.names()
        with pytest.raises(UsageError, match="no committed shards"):
            resnet_pipe.read(f"{job.address}/nothing")
        with pytest.raises(RunError, match="no-such-bucket"):
            resnet_pipe.read("s3://no-such-bucket/out")


def test_what_is_committed_and_not_in_place_yet_is_read_and_checked(job: BucketJob, endpoint: str) -> None:
    def refuse_copies(request: flaky_proxy.Request) -> int | None:
        is_copy = request[0] == "PUT" and request[1].endswith("/part-000001.parquet")
        return 403 if is_copy and "staged" not in request[1] else None

    faults = Faults()
    faults.refused = refuse_copies
    with flaky_proxy.before(endpoint, faults) as address:
        job.variables["AWS_ENDPOINT_URL"] = address
        job.here().expect(1)
        assert "part-000001.parquet" not in job.files()
        with mock.patch.dict(os.environ, job.variables):
            rows = resnet_pipe.read(job.address)
            assert rows.to_table(columns=["path"]).column("path").to_pylist() == job.names()[:4]
        assert "4 rows" in job.command("check", job.address).expect(0).stdout
        faults.refused = lambda _request: None
        job.here().expect(0)
        check(job)


def test_the_endpoint_may_be_in_the_job(job: BucketJob, endpoint: str) -> None:
    del job.variables["AWS_ENDPOINT_URL"]
    storage = f"{{endpoint: '{endpoint}'}}"
    job.write(writer=f"{{kind: parquet, path: '{job.address}', storage: {storage}, fields: [features]}}")
    job.here().expect(0)
    assert job.keys() == job.names()
    job.write(writer=f"{{kind: parquet, path: out, storage: {storage}, fields: [features]}}")
    assert "is for buckets" in job.here().expect(2).stderr


def test_a_job_may_not_read_what_it_writes(job: BucketJob) -> None:
    text = job.file.read_text().replace("path: images", f"path: '{job.address}/images'")
    job.file.write_text(
        text.replace("kind: parquet", "kind: images").replace("fields: [features, logits]", "k: 1")
    )
    assert "the next run would read" in job.here().expect(2).stderr
