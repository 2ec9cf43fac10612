"""Runs on a Ray cluster: the same rows as on one machine, each source exactly once, whatever dies."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from resnet_pipe.run.executors.ray import admission, crew, model_files
from resnet_pipe.run.executors.ray.messages import Question
from resnet_pipe.run.executors.ray.model_files import ModelFile
from tests.run.jobs import (
    HOME,
    JobFolder,
    VideoFolder,
    assert_clean,
    assert_same_rows,
    command_of,
    numbered,
    read_lines,
    records,
    wait_until,
)

ray = pytest.importorskip("ray", reason="needs the extra `ray`")

NODE = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 100 << 20}
ENOUGH = 200
"""Images of a run that takes long enough for something to happen in the middle of it."""


class TestCluster:
    """A Ray cluster on this machine. It has one node, unless a test adds others."""

    __test__ = False

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster: Any = Cluster(initialize_head=True, head_node_args=NODE)
        self.address: str = self._cluster.address

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

    def close(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestCluster]:
    """A cluster, with a cache directory of its own."""
    cache = {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}
    with mock.patch.dict(os.environ, cache):
        started = TestCluster()
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
    job.run("--executor", "local", "--set", f"writer.path={folder}")
    return folder


def has_committed(job: JobFolder, chunks: int = 1) -> bool:
    return len([*(job.out / HOME / "ledger").glob("[!.]*.json")]) >= chunks


def notes(job: JobFolder) -> str:
    return "\n".join(event["text"] for event in job.events("note"))


def test_rows_are_those_of_a_local_run(ray_job: JobFolder) -> None:
    ray_job.run("--set", "run.trace=true").expect(0)
    assert_same_rows(ray_job.out, here(ray_job))
    assert_clean(ray_job.out)
    devices = ray_job.summary()["devices"]
    assert sum(one["items"] for one in devices) == ray_job.summary()["items"] == 60
    assert {one["node"] for one in devices} == {os.uname().nodename}
    assert {event["node"] for event in ray_job.events("engine_ready")} == {os.uname().nodename}
    assert (ray_job.last_run() / "trace-0.json").exists()
    ray_job.run().expect(0)
    assert ray_job.summary()["sources"]["skipped"] == 60


def test_chunks_that_change_are_written_again_and_bad_sources_are_failures(ray_job: JobFolder) -> None:
    ray_job.add_bad("bad.jpg")
    ray_job.run().expect(3)
    assert [*ray_job.failures()] == ["bad.jpg"]
    ray_job.change("0007.jpg")
    (ray_job.images / "0010.jpg").unlink()
    ray_job.run("--prune").expect(0)
    assert len(ray_job.events("chunk_committed")) == 2
    ours, theirs = ray_job.rows(), here(ray_job)
    with mock.patch.object(ray_job, "out", theirs):
        assert sorted(ray_job.rows(), key=lambda row: str(row["path"])) == ours
    assert_clean(ray_job.out)


def test_more_failures_than_a_job_allows_end_a_run_on_a_cluster(ray_job: JobFolder) -> None:
    ray_job.add_bad("bad.jpg", "worse.jpg")
    assert "more than run.max_failures" in ray_job.run("--set", "run.max_failures=1").expect(1).stderr
    ray_job.run().expect(3)
    assert len(ray_job.rows()) == 60


def test_videos_on_a_cluster(film: VideoFolder, cluster: TestCluster) -> None:
    film.describe(
        run=f"executor: ray, ray: {{address: '{cluster.address}', cpus_per_worker: 1}}", chunk_items=1
    )
    film.add_video("one.mkv")
    film.add_video("two.mkv", frames=24, shift=5)
    film.run("--fresh").expect(0)
    assert film.numbers() == [
        *[("one.mkv", index, index) for index in range(12)],
        *[("two.mkv", index, index + 5) for index in range(24)],
    ]
    assert_clean(film.out)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_an_actor_that_dies_or_is_stopped_costs_no_source(
    ray_job: JobFolder, cluster: TestCluster, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "SILENCE_S", 3.0)
    ray_job.add(*numbered(ENOUGH - 60, 60))
    with during(ray_job, lambda: os.kill(cluster.actors()[0], number)):
        ray_job.run().expect(0)
    assert "a worker is lost" in notes(ray_job)
    assert_same_rows(ray_job.out, here(ray_job))
    assert_clean(ray_job.out)


def test_an_actor_that_wakes_after_it_was_given_up_commits_nothing(
    ray_job: JobFolder, cluster: TestCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "SILENCE_S", 3.0)
    monkeypatch.setattr(ray, "kill", lambda *_, **__: None)  # as if its node could not be reached
    ray_job.add(*numbered(500 - 60, 60))
    given_up = threading.Event()
    taken: list[str] = []
    take_over = admission.Ledger.take_over

    def remember(self: Any, chunk: str, attempt: Any) -> None:  # noqa: ANN401
        taken.append(chunk)
        take_over(self, chunk, attempt)
        given_up.wait(0.2)  # so that there is something left to do when it wakes

    monkeypatch.setattr(admission.Ledger, "take_over", remember)

    def stop_and_wake() -> None:
        zombie = cluster.actors()[0]
        os.kill(zombie, signal.SIGSTOP)
        wait_until(lambda: "a worker is lost" in notes(ray_job), "it is given up")
        os.kill(zombie, signal.SIGCONT)
        given_up.set()

    with during(ray_job, stop_and_wake):
        ray_job.run().expect(0)
    assert sorted(taken) == sorted(set(taken)) == [record["chunk"] for record in records(ray_job.out)]
    assert_same_rows(ray_job.out, here(ray_job))
    assert_clean(ray_job.out)


def test_a_node_that_is_lost_costs_no_source(ray_job: JobFolder, cluster: TestCluster) -> None:
    ray_job.add(*numbered(2 * ENOUGH - 60, 60))
    with cluster.second_node() as kill, during(ray_job, kill):
        ray_job.run().expect(0)
    assert "a worker is lost" in notes(ray_job)
    assert_same_rows(ray_job.out, here(ray_job))
    assert_clean(ray_job.out)


@contextmanager
def during(job: JobFolder, happens: Callable[[], None]) -> Iterator[None]:
    """Have something happen once the run in the block has committed a chunk, and check that it has."""
    errors: list[BaseException] = []

    def watch() -> None:
        try:
            wait_until(lambda: has_committed(job), "a chunk is committed")
            happens()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    thread.join()
    assert errors == []


def test_the_same_command_completes_a_run_whose_driver_was_killed(ray_job: JobFolder) -> None:
    ray_job.add(*numbered(ENOUGH - 60, 60))
    with ray_job.start() as running:
        wait_until(lambda: has_committed(ray_job), "a chunk is committed")
        running.signal_group(signal.SIGKILL)
    assert not has_committed(ray_job, ENOUGH // 4)
    ray_job.run().expect(0)
    assert_same_rows(ray_job.out, here(ray_job))
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
    assert_same_rows(ray_job.out, here(ray_job))


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


def test_a_canary_that_differs_ends_a_run_on_a_cluster(ray_job: JobFolder, cluster: TestCluster) -> None:
    describe(ray_job, cluster, canary=4)
    ray_job.run().expect(0)
    assert ray_job.summary()["canary"]["items"] >= 4
    assert len(records(ray_job.out)) == 15
    assert all(line["event"] != "warning" for line in read_lines(ray_job.last_run() / "log.jsonl"))


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
    versions = admission.versions_here
    monkeypatch.setattr(admission, "versions_here", lambda names: {**versions(names), "cv2": "3.0"})
    said = refused(ray_job)
    assert f"node {os.uname().nodename} has cv2" in said
    assert "this machine has cv2 3.0" in said


def test_a_node_that_does_not_see_the_output_or_the_input_is_refused_by_name(
    ray_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(place: Path, root: Path, distributions: tuple[str, ...]) -> Question:
        return Question(place / "not shared", root, distributions)

    with monkeypatch.context() as patch:
        patch.setattr(admission, "Question", elsewhere)
        assert f"node {os.uname().nodename} cannot write into {ray_job.out}" in refused(ray_job)

    def no_input(place: Path, root: Path, distributions: tuple[str, ...]) -> Question:
        return Question(place, root / "not shared", distributions)

    monkeypatch.setattr(admission, "Question", no_input)
    assert f"node {os.uname().nodename} has no input" in refused(ray_job)


def test_an_engine_that_cannot_be_loaded_on_a_node_ends_the_run_with_its_exit_code(
    ray_job: JobFolder, cluster: TestCluster
) -> None:
    ray_job.file.write_text(ray_job.file.read_text().replace("device: cpu", "device: cuda"))
    assert "has room for a worker, which takes 1 core and 1 GPUs" in refused(ray_job)
    text = ray_job.file.read_text().replace("cpus_per_worker", "gpus_per_worker: 0, cpus_per_worker")
    ray_job.file.write_text(text)
    said = refused(ray_job)
    assert f"node {os.uname().nodename}: " in said
    assert "no CUDA" in said


def test_a_cluster_that_is_not_there_is_refused(ray_job: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ray_job.file.read_text()
    ray_job.file.write_text(
        text.partition("run:")[0] + "run: {executor: ray, ray: {address: '127.0.0.1:1'}}\n"
    )
    assert "ray start --head" in refused(ray_job)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'resnet-pipe[ray]'" in refused(ray_job)


@pytest.mark.slow
def test_a_chunk_that_three_workers_are_lost_with_ends_the_run(
    ray_job: JobFolder, cluster: TestCluster
) -> None:
    describe(ray_job, cluster, ray="workers: 1", canary=4)  # for which the first commit waits

    def kill() -> None:
        for count in range(1, 4):
            wait_until(lambda count=count: len(ray_job.events("engine_ready")) == count, "it is ready")
            os.kill(cluster.actors()[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    said = ray_job.run().expect(1).stderr
    thread.join()
    assert "3 workers were lost with chunk 000000 (0000.jpg to 0003.jpg)" in said
    assert records(ray_job.out) == []
    ray_job.run().expect(0)
    assert_same_rows(ray_job.out, here(ray_job))
