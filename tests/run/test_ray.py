"""Runs on a Ray cluster: the same rows as on one machine, each source exactly once, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from resnet_pipe.job.cluster import RaySection
from resnet_pipe.ledger.record import Record
from resnet_pipe.reader.files import Files, Folder
from resnet_pipe.run.executors.commits import Commits
from resnet_pipe.run.executors.ray import actor, admission, crew, model_files
from resnet_pipe.run.executors.ray.cluster import Room, connected, draining, make_actor
from resnet_pipe.run.executors.ray.messages import Question
from resnet_pipe.run.executors.ray.model_files import ModelFile
from resnet_pipe.run.executors.ray.telling import Telling
from resnet_pipe.run.plan import Chunk
from resnet_pipe.run.workers.messages import SLOWEST
from resnet_pipe.store.store import Output
from tests.buckets import BUCKET, open_bucket, upload
from tests.run.bucket_jobs import BucketJob, check, of_job, shards
from tests.run.faults import DECODER, ENGINE, SHORT_SPANS, shorten_spans
from tests.run.jobs import (
    HOME,
    JobFolder,
    Row,
    VideoFolder,
    assert_clean,
    assert_same_rows,
    command_of,
    numbered,
    read_rows,
    records,
    wait_until,
)

ray = pytest.importorskip("ray", reason="needs the extra `ray`")

HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_failure_threshold": 5,
}
NODE = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 100 << 20, "_system_config": HEALTH}
FAULTS = """
import pathlib

faults = pathlib.Path(__file__).with_name("faults.py")
if faults.exists():
    exec(compile(faults.read_text(), str(faults), "exec"))
"""
WRONG = f"""
{ENGINE}
if "resnet_pipe.run.engines.engine_process" in sys.orig_argv:
    Net.setInput = lambda self, blob: self.net.setInput(0.5 * blob)
    Net.forward = lambda self, names: self.net.forward(names)
"""
"""The engine gives numbers of darker pictures."""
DEADLY = f"""
{ENGINE}
import os

def before_forward(blob):
    os.kill(os.getppid(), 9)
"""
"""Each batch takes the process that has started the engine with it."""
AtCommit = Callable[[Callable[[str], None]], list[str]]
ENOUGH = 200
"""Images of a run that takes long enough for something to happen in the middle of it."""


class TestCluster:
    """A Ray cluster on this machine. It has one node, unless a test adds others."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self._folder = folder
        self._faults = folder / "faults.py"
        (folder / "sitecustomize.py").write_text(FAULTS)
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        variables = {
            "PYTHONPATH": path,
            "XDG_CACHE_HOME": str(folder / "cache"),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        with mock.patch.dict(os.environ, variables):
            self._cluster: Any = Cluster(initialize_head=True, head_node_args=NODE)
        self.address: str = self._cluster.address

    @contextmanager
    def faults(self, code: str) -> Iterator[None]:
        """Have the processes that start on its nodes during the block execute Python code before all else."""
        self._faults.write_text(code)
        try:
            yield
        finally:
            self._faults.unlink()

    def open(self, gate: str) -> None:
        """Let the processes on its nodes go on that wait at a gate of `faults.GATE`."""
        (self._folder.parent / f"{gate}.open").touch()

    def actors(self) -> list[int]:
        """Return the processes of actors on its first node."""
        (raylet,) = self._cluster.head_node.all_processes["raylet"]
        return [pid for pid in children(raylet.process.pid) if command_of(pid)[0].startswith("ray::Actor")]

    def end_actors(self) -> None:
        """End what a run has left, also if it was stopped."""
        for pid in self.actors():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.actors(), "all actors are gone")

    @contextmanager
    def second_node(self) -> Iterator[Callable[[], None]]:
        """Add a node, and yield what kills all of it at once."""
        node = self._cluster.add_node(num_cpus=2, object_store_memory=100 << 20)
        self._cluster.wait_for_nodes()

        def kill() -> None:
            (raylet,) = node.all_processes["raylet"]
            for pid in [raylet.process.pid, *children(raylet.process.pid)]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

        try:
            yield kill
        finally:
            self._cluster.remove_node(node, allow_graceful=False)
            self._cluster.wait_for_nodes()  # until nobody takes it for a living one

    def close(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestCluster]:
    """A cluster, with a cache directory of its own."""
    started = TestCluster(tmp_path_factory.mktemp("cluster"))
    yield started
    started.close()


@pytest.fixture
def ray_job(job: JobFolder, cluster: TestCluster) -> Iterator[JobFolder]:
    """A job of sixty images in chunks of four, on the workers of a cluster, of which each takes one core."""
    describe(job, cluster)
    job.add(*numbered(60))
    yield job
    cluster.end_actors()


def describe(
    job: JobFolder, cluster: TestCluster, run: str = "", ray: str = "", canary: int = 0, infer: str = ""
) -> None:
    section = f"{{address: '{cluster.address}', cpus_per_worker: 1{ray and ', ' + ray}}}"
    job.write(
        run=f"executor: ray, ray: {section}{run and ', ' + run}", chunk_items=4, canary=canary, infer=infer
    )


def children(parent: int) -> list[int]:
    """Return the living child processes of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdecimal() else ""
            if fields and int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def here(job: JobFolder) -> Path:
    """Run the job on this machine alone; return where its results are."""
    folder = job.folder / "here"
    elsewhere = ("--set", f"writer.path={folder}", "--set", "writer.storage=null")
    assert job.run("--executor", "local", *elsewhere).code in (0, 3)
    return folder


def assert_same_sorted(job: JobFolder) -> None:
    """Check that the rows are those of a local run, each once, in whatever shards they are."""
    ours, theirs = (sorted(rows, key=by_path) for rows in (job.rows(), read_rows(here(job))))
    assert [by_path(row) for row in ours] == [by_path(row) for row in theirs]
    assert ours == theirs


def by_path(row: Row) -> str:
    return str(row["path"])


def has_committed(job: JobFolder, chunks: int = 1) -> bool:
    return len([*(job.out / HOME / "ledger").glob("[!.]*.json")]) >= chunks


def notes(job: JobFolder) -> str:
    return "\n".join(event["text"] for event in job.events("note"))


def test_rows_are_those_of_a_local_run(ray_job: JobFolder) -> None:
    ray_job.run("--set", "run.trace=true", "--set", "run.report=true").expect(0)
    assert_same_rows(ray_job.out, here(ray_job))
    assert_clean(ray_job.out)
    devices = ray_job.summary()["devices"]
    assert sum(one["items"] for one in devices) == ray_job.summary()["items"] == 60
    assert {one["node"] for one in devices} == {os.uname().nodename}
    assert {event["node"] for event in ray_job.events("engine_ready")} == {os.uname().nodename}
    assert (ray_job.last_run() / "trace-0.json").exists()
    history = json.loads((ray_job.last_run() / "history.json").read_text())
    assert 12 <= len({sample["name"] for sample in history["samples"]}) <= 24
    assert len({one["source"] for one in history["slowest"]}) == SLOWEST
    ray_job.run().expect(0)
    assert ray_job.summary()["sources"]["skipped"] == 60


def test_what_comes_with_a_source_reaches_the_workers(ray_job: JobFolder) -> None:
    lines = [f"{name},label {name}" for name in numbered(12)]
    (ray_job.folder / "list.csv").write_text("\n".join(["path,label", *lines]))
    reader = "{kind: manifest, root: images, carry: [label], path: list.csv"
    ray_job.file.write_text(ray_job.file.read_text().replace("{kind: images, path: images", reader))
    ray_job.run().expect(0)
    assert {row["path"]: row["label"] for row in ray_job.rows()} == {
        name: f"label {name}" for name in numbered(12)
    }


def test_chunks_that_change_are_written_again_and_bad_sources_are_failures(ray_job: JobFolder) -> None:
    ray_job.add_bad("bad.jpg")
    ray_job.run().expect(3)
    assert [*ray_job.failures()] == ["bad.jpg"]
    ray_job.change("0007.jpg")
    (ray_job.images / "0010.jpg").unlink()
    ray_job.run("--prune").expect(0)
    assert len(ray_job.events("chunk_committed")) == 2
    assert_same_sorted(ray_job)
    assert_clean(ray_job.out)


def test_more_failures_than_a_job_allows_end_a_run_on_a_cluster(ray_job: JobFolder) -> None:
    ray_job.add_bad("bad.jpg", "worse.jpg")
    assert "more than run.max_failures" in ray_job.run("--set", "run.max_failures=1").expect(1).stderr
    ray_job.run().expect(3)
    assert len(ray_job.rows()) == 60


def test_videos_whole_and_in_spans(
    film: VideoFolder, cluster: TestCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = f"executor: ray, ray: {{address: '{cluster.address}', cpus_per_worker: 1}}"
    film.describe(run=run, chunk_items=1)
    film.add_video("one.mkv")
    film.add_video("two.mkv", frames=36, shift=5)
    rows = [
        *[("one.mkv", index, index) for index in range(12)],
        *[("two.mkv", index, index + 5) for index in range(36)],
    ]
    film.run().expect(0)
    assert film.numbers() == rows
    shorten_spans(monkeypatch)
    with cluster.faults(SHORT_SPANS):
        film.run("--fresh").expect(0)
    assert film.numbers() == rows
    assert_clean(film.out)


def test_divisions_of_a_job_on_one_cluster(ray_job: JobFolder, cluster: TestCluster) -> None:
    describe(ray_job, cluster, ray="workers: 1")
    with ray_job.start("--divide", "1/2") as first, ray_job.start("--divide", "2/2") as second:
        first.end().expect(0)
        second.end().expect(0)
    assert_same_sorted(ray_job)
    assert_clean(ray_job.out)


@pytest.fixture
def at_commit(monkeypatch: pytest.MonkeyPatch) -> AtCommit:
    """Have something happen at each commit, before it; it is told the chunk. Returns all chunks so far."""

    def install(happens: Callable[[str], None]) -> list[str]:
        commit, taken = Commits.commit, list[str]()

        def watched(self: Commits, chunk: Chunk, record: Record) -> None:
            taken.append(chunk.id)
            happens(chunk.id)
            commit(self, chunk, record)

        monkeypatch.setattr(Commits, "commit", watched)
        return taken

    return install


def once_at_work(job: JobFolder, workers: int, happens: Callable[[], None]) -> Callable[[str], None]:
    """Let something happen once, when so many workers have begun a chunk; until then, commits take long."""
    done: list[bool] = []

    def look(_chunk: str) -> None:
        if not done:
            if len([*(job.out / HOME / "staging").glob("ray*")]) < workers:
                time.sleep(0.3)
            else:
                done.append(True)
                happens()

    return look


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_is_stopped_costs_no_source(
    ray_job: JobFolder,
    cluster: TestCluster,
    at_commit: AtCommit,
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crew, "SILENCE_S", 5.0)
    taken = at_commit(once_at_work(ray_job, 2, lambda: os.kill(cluster.actors()[0], number)))
    ray_job.run().expect(0)
    assert "a worker is lost" in notes(ray_job)
    assert sorted(taken) == [record["chunk"] for record in records(ray_job.out)]
    assert_same_rows(ray_job.out, here(ray_job))
    assert_clean(ray_job.out)


def test_a_worker_that_wakes_after_it_was_given_up_commits_nothing(
    ray_job: JobFolder,
    cluster: TestCluster,
    at_commit: AtCommit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crew, "SILENCE_S", 5.0)
    monkeypatch.setattr(ray, "kill", lambda *_, **__: None)  # as if its node could not be reached
    ray_job.add(*numbered(ENOUGH - 60, 60))
    zombies: list[int] = []
    woken: list[int] = []

    def stop_and_wake(_chunk: str) -> None:
        if not zombies and len(taken) > 10:
            zombies.append(cluster.actors()[0])
            os.kill(zombies[0], signal.SIGSTOP)
        elif zombies and not woken and "a worker is lost" in notes(ray_job):
            woken.append(len(taken))
            os.kill(zombies[0], signal.SIGCONT)
        time.sleep(0.1 if woken else 0.4)  # so that there is something left to do when it wakes

    taken = at_commit(stop_and_wake)
    ray_job.run().expect(0)
    assert woken[0] < ENOUGH // 4 - 5
    assert sorted(taken) == [record["chunk"] for record in records(ray_job.out)]
    assert_same_rows(ray_job.out, here(ray_job))
    assert_clean(ray_job.out)


def test_a_node_that_is_lost_costs_no_source(
    ray_job: JobFolder, cluster: TestCluster, at_commit: AtCommit
) -> None:
    ray_job.add(*numbered(ENOUGH - 60, 60))
    with cluster.second_node() as kill:
        at_commit(once_at_work(ray_job, 4, kill))
        ray_job.run().expect(0)
    assert "a worker is lost" in notes(ray_job)
    assert_same_rows(ray_job.out, here(ray_job))
    assert_clean(ray_job.out)


def test_a_node_that_joins_gets_a_worker(job: JobFolder, cluster: TestCluster) -> None:
    describe(job, cluster)
    job.add(*numbered(40))
    job.add(*numbered(40, 40), comment="gate")
    with cluster.faults(DECODER), job.start() as running:
        wait_until(lambda: has_committed(job), "a chunk is committed")
        with cluster.second_node():
            wait_until(lambda: len(job.events("engine_ready")) == 4, "all workers are there")
            cluster.open("gate")
            running.end().expect(0)
    assert_same_rows(job.out, here(job))


def test_a_window_that_ends_lets_what_has_begun_be_committed(ray_job: JobFolder) -> None:
    assert ray_job.run("--until", "2020-01-01T00:00Z").expect(4).stdout.count("60 sources left") == 1
    assert ray_job.paths() == []
    ray_job.run("--until", "2120-01-01T00:00Z").expect(0)
    assert len(ray_job.paths()) == 60


def test_a_node_that_is_to_leave_gets_no_worker(cluster: TestCluster) -> None:
    room = Room(RaySection(cpus_per_worker=1), 0.0)
    with cluster.second_node(), connected(cluster.address, lambda: None):
        slots = room.slots()
        assert [slot.number for slot in slots] == [0, 0, 1, 1]
        other = next(node["NodeID"] for node in ray.nodes() if node["Alive"] and not is_head(node))
        actor = make_actor(next(slot for slot in slots if slot.node == other))
        ray.get(actor.take.remote())  # a node that nobody uses would be gone at once
        drain_node(cluster, other)
        assert draining() == {other}
        assert room.slots() == [slot for slot in slots if slot.node != other]


def drain_node(cluster: TestCluster, node: str) -> None:
    """Tell a node to leave."""
    tool = Path(sys.executable).with_name("ray")
    where = [f"--address={cluster.address}", f"--node-id={node}", "--deadline-remaining-seconds=600"]
    why = ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=needed elsewhere"]
    subprocess.run([tool, "drain-node", *where, *why], check=True, capture_output=True)


def is_head(node: dict[str, Any]) -> bool:
    return "node:__internal_head__" in node["Resources"]


def test_the_same_command_completes_a_run_whose_driver_was_killed(ray_job: JobFolder) -> None:
    ray_job.add(*numbered(ENOUGH - 60, 60))
    with ray_job.start() as running:
        wait_until(lambda: has_committed(ray_job), "a chunk is committed")
        running.signal_group(signal.SIGKILL)
    assert not has_committed(ray_job, ENOUGH // 4)
    ray_job.run().expect(0)
    assert_same_sorted(ray_job)
    assert_clean(ray_job.out)


def test_a_stop_commits_the_chunks_in_flight_and_the_same_command_goes_on(ray_job: JobFolder) -> None:
    ray_job.add(*numbered(ENOUGH - 60, 60))
    with ray_job.start() as running:
        wait_until(lambda: has_committed(ray_job), "a chunk is committed")
        running.signal(signal.SIGTERM)
        running.end().expect(143)
    assert 0 < len(records(ray_job.out)) < ENOUGH // 4
    assert_clean(ray_job.out)
    ray_job.run().expect(0)
    assert_same_sorted(ray_job)


def test_a_stop_while_the_workers_start_changes_nothing(ray_job: JobFolder) -> None:
    with ray_job.start() as running:
        wait_until(lambda: [*(ray_job.out / HOME / "staging").glob("seen*")], "the nodes are asked")
        running.signal(signal.SIGINT)
        running.end().expect(130)
    assert not (ray_job.out / HOME / "fingerprint.json").exists()
    assert_clean(ray_job.out)


def test_a_model_travels_to_a_node_that_does_not_have_it(
    ray_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, read, model = here(ray_job), model_files.read, ray_job.folder / "tiny.onnx"

    def read_and_remove(resolved: Any) -> list[ModelFile]:  # noqa: ANN401
        files = read(resolved)
        model.rename(model.with_suffix(".elsewhere"))
        return files

    monkeypatch.setattr(model_files, "read", read_and_remove)
    ray_job.run().expect(0)
    assert not model.exists()
    assert_same_rows(ray_job.out, theirs)


def test_a_canary_of_a_node_that_differs_ends_the_run_before_it_commits(
    ray_job: JobFolder, cluster: TestCluster
) -> None:
    describe(ray_job, cluster, canary=4)
    with cluster.faults(WRONG):
        said = ray_job.run().expect(1).stderr
    assert f"node {os.uname().nodename}: engine opencv" in said
    assert "gives wrong numbers" in said
    assert records(ray_job.out) == []
    assert_clean(ray_job.out)
    ray_job.run().expect(0)
    assert ray_job.summary()["canary"]["cosine_min"] > 0.999
    assert len(records(ray_job.out)) == 15


def refused(job: JobFolder, code: int = 2) -> str:
    """Run a job that is refused; return what it says. Nothing has been changed."""
    said = job.run().expect(code).stderr
    assert not (job.out / HOME / "fingerprint.json").exists()
    assert records(job.out) == []
    assert [*(job.out / HOME / "staging").glob("*")] == []
    return said


def test_a_node_with_other_versions_is_refused_by_name(
    ray_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = actor.versions_here
    monkeypatch.setattr(admission, "versions_here", lambda names: {**versions(names), "cv2": "3.0"})
    said = refused(ray_job)
    assert f"node {os.uname().nodename} has cv2" in said
    assert "this machine has cv2 3.0" in said


def test_a_node_that_does_not_see_the_output_or_the_input_is_refused_by_name(
    ray_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(output: Output, tag: str, _sign: str, files: Files, names: tuple[str, ...]) -> Question:
        return Question(output, tag, "not there", files, names)

    with monkeypatch.context() as patch:
        patch.setattr(admission, "Question", elsewhere)
        assert f"node {os.uname().nodename} cannot write to {ray_job.out}" in refused(ray_job)

    def no_input(output: Output, tag: str, sign: str, _files: Files, names: tuple[str, ...]) -> Question:
        gone = Folder(ray_job.folder / "not shared", (), recursive=True, extensions=frozenset())
        return Question(output, tag, sign, gone, names)

    monkeypatch.setattr(admission, "Question", no_input)
    assert f"node {os.uname().nodename} has no input" in refused(ray_job)


def test_an_engine_that_cannot_be_loaded_on_a_node_ends_the_run_with_its_exit_code(
    ray_job: JobFolder, cluster: TestCluster
) -> None:
    ray_job.file.write_text(ray_job.file.read_text().replace("device: cpu", "device: cuda"))
    assert "has room for a worker, which takes 1 core and 1 GPU" in refused(ray_job)
    text = ray_job.file.read_text().replace("cpus_per_worker", "gpus_per_worker: 0, cpus_per_worker")
    ray_job.file.write_text(text)
    said = refused(ray_job)
    assert f"node {os.uname().nodename}: " in said
    assert "no CUDA" in said


def test_nodes_without_the_package_end_the_run_which_says_why(
    ray_job: JobFolder, cluster: TestCluster
) -> None:
    with cluster.faults("import sys; sys.modules['resnet_pipe.run.executors.ray.actor'] = None"):
        said = refused(ray_job, 1)
    assert "no worker on the cluster can start: ModuleNotFoundError: " in said
    assert "each of them needs resnet-pipe" in said


def test_a_cluster_that_is_not_there_is_refused(ray_job: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ray_job.file.read_text()
    ray_job.file.write_text(
        text.partition("run:")[0] + "run: {executor: ray, ray: {address: '127.0.0.1:1'}}\n"
    )
    assert "ray start --head" in refused(ray_job)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'resnet-pipe[ray]'" in refused(ray_job)


def test_a_chunk_that_three_workers_are_lost_with_ends_the_run_and_is_named(
    ray_job: JobFolder, cluster: TestCluster
) -> None:
    describe(ray_job, cluster, ray="workers: 1")
    with cluster.faults(DEADLY):
        said = ray_job.run().expect(1).stderr
    assert "3 workers were lost with chunk 000000 (0000.jpg to 0003.jpg)" in said
    assert records(ray_job.out) == []
    ray_job.run().expect(0)
    assert_same_rows(ray_job.out, here(ray_job))


class RayBucketJob(BucketJob):
    """A job on the workers of a cluster, whose results go to a bucket."""

    def on(self, cluster: TestCluster, storage: str) -> None:
        """Write the job file: four images a chunk. The storage is that of the bucket, if the job names it."""
        storage = storage and f", storage: {storage}"
        section = f"{{address: '{cluster.address}', cpus_per_worker: 1}}"
        self.write(
            writer=f"{{kind: parquet, path: '{self.address}'{storage}, fields: [features, logits]}}",
            run=f"executor: ray, ray: {section}",
            chunk_items=4,
        )

    def attempts(self) -> set[tuple[str, str]]:
        """Return who has staged what now: chunks, and the names of attempts."""
        folders = {name.split("/")[2] for name in self.hidden("staged")}
        return {(folder.rpartition("-")[0], folder.rpartition("-")[2]) for folder in folders}

    def committed(self) -> list[str]:
        """Return the chunks that have a record."""
        return sorted(Path(name).stem for name in self.hidden("ledger"))


@pytest.fixture
def bucket_job(
    network: Path, tmp_path: Path, endpoint: str, cluster: TestCluster, request: pytest.FixtureRequest
) -> Iterator[RayBucketJob]:
    """A job of forty images, four a chunk, on the workers of a cluster; its results go to a bucket."""
    name = "".join(sign if sign.isalnum() else "-" for sign in request.node.name)
    job = RayBucketJob(tmp_path, network, endpoint, name)
    job.on(cluster, f"{{endpoint: '{endpoint}', anonymous: true}}")
    job.add(*numbered(40))
    with mock.patch("resnet_pipe.store.lease.WATCH_S", 0.1):
        yield job
    cluster.end_actors()


def assert_as_here(job: RayBucketJob) -> None:
    """Check that what is in the bucket is sound, and has the rows of a local run, each once."""
    check(job)
    job.command("diff", job.address, str(here(job)), "--max", "0").expect(0)


def test_sources_and_results_in_a_bucket_are_those_of_a_disk(bucket_job: RayBucketJob, endpoint: str) -> None:
    job = bucket_job
    pictures = f"s3://{BUCKET}/pictures-of-a-cluster"
    upload(open_bucket(endpoint, "pictures-of-a-cluster"), job.images)
    storage = f"storage: {{endpoint: '{endpoint}', anonymous: true}}"
    job.file.write_text(job.file.read_text().replace("path: images", f"path: '{pictures}', {storage}"))
    job.here().expect(0)
    assert of_job(job) == shards(here(job))
    assert_as_here(job)
    job.here().expect(0)
    assert len(job.committed()) == 10


def test_chunks_in_a_bucket_are_written_again_with_their_files(bucket_job: RayBucketJob) -> None:
    job = bucket_job
    text = job.file.read_text()
    job.file.write_text(
        text.replace("writer: {", "writer: [{").replace("logits]}", "logits]}, {kind: images}]")
    )
    job.here().expect(0)
    job.change("0007.jpg")
    (job.images / "0010.jpg").unlink()
    job.here("--prune").expect(0)
    assert len([name for name in job.files() if name.startswith("images/")]) == 39
    check(job)


@pytest.mark.slow
def test_fresh_results_in_a_bucket_take_the_place_of_old_ones(bucket_job: RayBucketJob) -> None:
    bucket_job.here().expect(0)
    bucket_job.change("0007.jpg")
    bucket_job.here("--fresh").expect(0)
    assert_as_here(bucket_job)


def test_divisions_of_a_job_on_a_cluster_share_a_bucket(bucket_job: RayBucketJob) -> None:
    bucket_job.here("--divide", "1/2").expect(0)
    bucket_job.change("0001.jpg")
    for division in ("1/2", "2/2"):
        bucket_job.here("--divide", division).expect(0)
    check(bucket_job)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_is_stopped_costs_no_source_in_a_bucket(
    bucket_job: RayBucketJob,
    cluster: TestCluster,
    at_commit: AtCommit,
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crew, "SILENCE_S", 5.0)
    bucket_job.add(*numbered(20, 40))
    hit: list[int] = []

    def hit_one(_chunk: str) -> None:
        time.sleep(0 if hit else 0.5)
        if not hit and len(bucket_job.attempts()) == 2:  # this one, and the other worker's
            hit.append(cluster.actors()[-1])
            os.kill(hit[0], number)

    taken = at_commit(hit_one)
    bucket_job.here().expect(0)
    assert hit
    assert sorted(taken) == bucket_job.committed()
    assert_as_here(bucket_job)


@pytest.mark.slow
def test_a_worker_that_wakes_after_it_was_given_up_commits_nothing_to_a_bucket(
    bucket_job: RayBucketJob,
    cluster: TestCluster,
    at_commit: AtCommit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crew, "SILENCE_S", 5.0)
    monkeypatch.setattr(ray, "kill", lambda *_, **__: None)  # as if its node could not be reached
    bucket_job.add(*numbered(ENOUGH - 60, 60))
    zombies: list[int] = []
    woken: list[int] = []
    staged: set[tuple[str, str]] = set()
    lost: list[str] = []
    monkeypatch.setattr(Telling, "lost", lambda _self, member, _reason: lost.extend(member.given))

    def stop_and_wake(_chunk: str) -> None:
        staged.update(bucket_job.attempts())
        if not zombies and len(taken) > 5:
            zombies.append(cluster.actors()[0])
            os.kill(zombies[0], signal.SIGSTOP)
        elif lost and not woken:
            woken.append(len(taken))
            os.kill(zombies[0], signal.SIGCONT)
        time.sleep(0.1 if woken else 0.4)  # so that there is something left to do when it wakes

    taken = at_commit(stop_and_wake)
    bucket_job.here().expect(0)
    assert woken[0] < len(taken) - 5
    twice = [chunk for chunk, count in Counter(chunk for chunk, _ in staged).items() if count > 1]
    assert twice, "the one that woke has staged a chunk that another one has staged as well"
    assert set(twice) <= set(lost)
    assert sorted(taken) == bucket_job.committed()
    assert_as_here(bucket_job)


def test_the_same_command_completes_a_run_to_a_bucket_whose_driver_was_killed(
    bucket_job: RayBucketJob,
) -> None:
    bucket_job.add(*numbered(ENOUGH - 60, 60))
    with bucket_job.start(env=bucket_job.variables) as running:
        wait_until(lambda: len(bucket_job.committed()) > 1, "chunks are committed")
        running.signal_group(signal.SIGKILL)
    assert len(bucket_job.committed()) < (ENOUGH - 20) // 4
    bucket_job.here().expect(0)
    assert_as_here(bucket_job)


def test_a_node_that_cannot_reach_the_bucket_is_refused_by_name(
    bucket_job: RayBucketJob, cluster: TestCluster
) -> None:
    bucket_job.on(cluster, "")  # this machine finds it in its environment
    said = bucket_job.here().expect(2).stderr
    assert f"node {os.uname().nodename} cannot write to {bucket_job.address}" in said
    assert "credentials" in said
    assert bucket_job.hidden("ledger", "plans", "staged", "probe", "fingerprint") == []


def test_a_commit_that_takes_long_loses_no_worker(
    ray_job: JobFolder, at_commit: AtCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "SILENCE_S", 5.0)
    at_commit(lambda _chunk: time.sleep(0 if len(records(ray_job.out)) else 6))
    ray_job.run().expect(0)
    assert "is lost" not in notes(ray_job)


@pytest.mark.slow
def test_a_node_that_is_to_leave_gets_no_more_chunks(
    ray_job: JobFolder, cluster: TestCluster, at_commit: AtCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray_job.add(*numbered(60, 60))
    given: list[tuple[float, str]] = []
    drained: list[tuple[float, str]] = []
    tell = crew.Member.tell

    def watched(self: crew.Member, method: str, *arguments: object) -> None:
        if method == "give":
            given.append((time.monotonic(), self.slot.node))
        tell(self, method, *arguments)

    def happens(_chunk: str) -> None:
        nodes = {node for _, node in given}
        if not drained and len(nodes) == 2:
            other = next(node["NodeID"] for node in ray.nodes() if node["Alive"] and not is_head(node))
            drain_node(cluster, other)
            drained.append((time.monotonic(), other))
        time.sleep(0.25)

    monkeypatch.setattr(crew.Member, "tell", watched)
    at_commit(happens)
    with cluster.second_node():
        ray_job.run().expect(0)
    (since, leaving), seen_s = drained[0], 4.0
    assert leaving not in {node for at, node in given if at > since + seen_s}
    assert len([at for at, _ in given if at > since + seen_s]) > 5
    assert_same_rows(ray_job.out, here(ray_job))
