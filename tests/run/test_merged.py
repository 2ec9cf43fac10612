"""Files of all chunks together: complete after each run, whatever it was, and never half."""

from __future__ import annotations

import errno
import json
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import resnet_pipe
from resnet_pipe.errors import RunError
from resnet_pipe.ledger.record import Record
from resnet_pipe.run.executors.commits import Commits
from resnet_pipe.run.executors.local import LocalExecutor
from resnet_pipe.run.plan import Chunk
from resnet_pipe.run.prepared import Prepared
from resnet_pipe.run.stop import Stop
from resnet_pipe.writer.detections.coco import CocoSection
from resnet_pipe.writer.writer import Committed, Target
from tests.networks import write_tiny
from tests.run.commands import command
from tests.run.found import use_boxes
from tests.run.jobs import HOME, JobFolder, assert_clean, numbered

WRITERS = "[{path: out, kind: parquet, fields: [boxes]}, {kind: coco}, {kind: megadetector}]"
ROOT = Path(__file__).parents[2]
MERGED = ("coco/images.json", "coco/detections.json", "megadetector/detections.json")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("network") / "tiny.onnx")


@pytest.fixture
def job(tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch) -> JobFolder:
    """A job with five images, in three chunks."""
    use_boxes(monkeypatch)
    made = JobFolder(tmp_path, network)
    made.write(writer=WRITERS)
    made.add(*numbered(5))
    return made


def load(out: Path) -> tuple[Any, Any, Any]:
    """Return images and results of COCO, and the file of MegaDetector."""
    images, results, found = (json.loads((out / name).read_text(encoding="utf-8")) for name in MERGED)
    return images, results, found


def assert_merged(job: JobFolder, failed: Iterable[str] = ()) -> None:
    """Check that the merged files have all rows of the tables, and that the directory is in order."""
    images, results, found = load(job.out)
    rows = job.rows()
    assert [image["id"] for image in images["images"]] == list(range(1, len(rows) + 1))
    assert sorted(image["file_name"] for image in images["images"]) == sorted(row["path"] for row in rows)
    boxes = {row["path"]: [box["score"] for box in row["detections"]] for row in rows}
    paths = {image["id"]: image["file_name"] for image in images["images"]}
    of_coco: dict[str, list[float]] = {path: [] for path in boxes}
    for result in results:
        of_coco[paths[result["image_id"]]].append(result["score"])
    assert {path: pytest.approx(scores) for path, scores in boxes.items()} == of_coco
    entries = {image["file"]: image for image in found["images"]}
    assert entries.keys() == {*boxes, *failed}
    assert len(entries) == len(found["images"])
    assert {path for path, each in entries.items() if each.get("failure")} == set(failed)
    for path, scores in boxes.items():
        assert [each["conf"] for each in entries[path]["detections"]] == pytest.approx(scores, abs=1e-3)
    assert_clean(job.out)
    assert command("check", str(job.out)).expect(0).stdout


def test_a_run_ends_with_one_file_of_all_chunks(job: JobFolder) -> None:
    job.add_bad("bad.jpg")
    job.run().expect(3)
    assert len(list(job.out.glob("part-*.coco"))) == 3
    assert_merged(job, ["bad.jpg"])
    assert sum(len(row["detections"]) for row in job.rows()) > 5


def test_after_new_changed_and_pruned_sources_it_is_as_if_made_at_once(job: JobFolder) -> None:
    job.run().expect(0)
    first, _, _ = load(job.out)
    job.add(*numbered(2, 5))
    job.run().expect(0)
    second, _, _ = load(job.out)
    assert first["images"] == second["images"][:5]
    assert_merged(job)
    job.change(numbered(1)[0])
    (job.images / numbered(3)[2]).unlink()
    job.run("--prune").expect(0)
    assert_merged(job)
    assert len(load(job.out)[0]["images"]) == 6


def test_a_run_with_nothing_to_do_leaves_it_alone_unless_it_is_damaged(job: JobFolder) -> None:
    job.run().expect(0)
    before = {name: (job.out / name).stat().st_ino for name in MERGED}
    job.run().expect(0)
    assert {name: (job.out / name).stat().st_ino for name in MERGED} == before
    content = (job.out / MERGED[1]).read_bytes()
    (job.out / MERGED[0]).unlink()
    (job.out / MERGED[1]).write_bytes(content[:-9])
    said = command("check", str(job.out)).expect(1).stdout
    assert MERGED[0] in said
    assert MERGED[1] in said
    job.run().expect(0)
    assert (job.out / MERGED[1]).read_bytes() == content
    assert_merged(job)


def test_divisions_leave_one_file_of_all_of_them(job: JobFolder) -> None:
    job.add(*numbered(7, 5))
    job.run("--divide", "1/2").expect(0)
    few = len(load(job.out)[0]["images"])
    job.run("--divide", "2/2").expect(0)
    assert 0 < few < 12
    assert_merged(job)


def test_what_a_failed_run_has_committed_is_in_it(job: JobFolder) -> None:
    job.add_bad("zz-1.jpg", "zz-2.jpg")
    job.run("--set", "run.max_failures=0").expect(1)
    assert 0 < len(load(job.out)[0]["images"]) == len(job.rows())
    job.run().expect(3)
    assert_merged(job, ["zz-1.jpg", "zz-2.jpg"])


def test_what_a_stopped_run_has_committed_is_in_it(job: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    job.add(*numbered(15, 5))
    run, commit = LocalExecutor.run, Commits.commit
    stops: list[Stop] = []

    def remember(self: LocalExecutor, prepared: Prepared, folder: Path | None) -> None:
        stops.append(self.stop)
        run(self, prepared, folder)

    def stop(self: Commits, chunk: Chunk, record: Record) -> None:
        commit(self, chunk, record)
        if stops[-1].signal is None:
            stops[-1].note(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(LocalExecutor, "run", remember)
        patch.setattr(Commits, "commit", stop)
        job.run("--set", "run.grace_s=0").expect(143)
    assert load(job.out)[0]["images"]
    assert_merged(job)
    job.run().expect(0)
    assert len(load(job.out)[0]["images"]) == 20
    assert_merged(job)


def test_a_run_that_is_refused_makes_none(job: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RunError("no device", "plug one in")

    with monkeypatch.context() as patch:
        patch.setattr(LocalExecutor, "run", refuse)
        job.run().expect(1)
        assert not (job.out / "coco").exists()
    job.run().expect(0)
    before = load(job.out)
    with monkeypatch.context() as patch:
        patch.setattr(LocalExecutor, "run", refuse)
        job.write(writer="{path: out, kind: coco}")
        job.run("--fresh", "--now").expect(1)
    assert load(job.out) == before


def test_fresh_results_bring_their_own(job: JobFolder) -> None:
    job.run().expect(0)
    (job.images / numbered(1)[0]).unlink()
    for option in ("--fresh", "--now"):
        job.run("--fresh", *([option] if option != "--fresh" else [])).expect(0)
        assert_merged(job)
        assert len(load(job.out)[0]["images"]) == 4


def test_they_go_with_the_writer_that_made_them(job: JobFolder) -> None:
    job.run().expect(0)
    job.write(writer="{path: out, kind: coco}")
    job.run("--fresh").expect(0)
    assert not (job.out / "megadetector").exists()
    assert len(load_coco(job.out)["images"]) == 5
    job.write(writer="{path: out, kind: jsonl, fields: [boxes]}")
    job.run("--fresh", "--now").expect(0)
    assert not (job.out / "coco").exists()
    assert not (job.out / HOME / "merged.json").exists()
    command("check", str(job.out)).expect(0)


def load_coco(out: Path) -> Any:  # noqa: ANN401 - JSON
    return json.loads((out / MERGED[0]).read_text(encoding="utf-8"))


def test_a_failure_fails_the_run_and_the_next_one_makes_it(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.run().expect(0)
    before = load(job.out)
    job.add(*numbered(2, 5))

    def full(_section: CocoSection, target: Target, chunks: Iterable[Committed]) -> None:
        (target.directory / MERGED[0]).write_text("half")
        next(iter(chunks))
        raise OSError(errno.ENOSPC, "No space left on device", str(target.directory / MERGED[0]))

    with monkeypatch.context() as patch:
        patch.setattr(CocoSection, "finish", full)
        said = job.run().expect(1).stderr
    assert "No space left on device" in said
    assert load(job.out) == before
    assert len(job.rows()) == 7
    assert_clean(job.out)
    assert "not of everything that is committed" in command("check", str(job.out)).expect(0).stdout
    job.run().expect(0)
    assert_merged(job)


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_boxes_of_all_chunks_are_read_as_one_dataset(job: JobFolder, kind: str) -> None:
    job.add("none-1.jpg", "none-2.jpg", "none-3.jpg")
    job.write(writer=f"{{path: out, kind: {kind}, fields: [boxes]}}")
    job.run().expect(0)
    job.add("none-4.jpg", "a.jpg")
    job.run("--set", "run.chunk_items=1").expect(0)
    rows = resnet_pipe.read(job.out).to_table().to_pylist()
    command("check", str(job.out)).expect(0)
    if kind == "csv":
        assert {row["path"] for row in rows if row["x1"] is None} == {f"none-{n}.jpg" for n in range(1, 5)}
        assert {row["path"] for row in rows if row["x1"] is not None} == {*numbered(5), "a.jpg"}
        assert len(rows) > 10
        return
    found = {row["path"]: row["detections"] for row in rows}
    assert len(found) == len(rows) == 10
    assert {path for path, boxes in found.items() if not boxes} == {f"none-{n}.jpg" for n in range(1, 5)}
    assert all(box["name"] == f"class {box['label']}" for boxes in found.values() for box in boxes)


KILLED = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
import resnet_pipe.job.detection
from resnet_pipe.store.disk import Disk
from tests.run.found import head_of
resnet_pipe.job.detection.head_of = head_of
place = Disk.place
def some(self, record, names, obsolete):
    place(self, record, names[:1], [])
    os._exit(9)
Disk.place = some
"""
"""The run dies when one of the files is in its place."""


def test_a_run_that_dies_between_two_of_them_is_completed_by_the_next(job: JobFolder) -> None:
    job.run().expect(0)
    job.add(*numbered(2, 5))
    job.run(faults=KILLED).expect(9)
    images, results, _ = load(job.out)
    assert len(images["images"]) == 7
    assert {result["image_id"] for result in results} <= {1, 2, 3, 4, 5}
    assert "not of everything that is committed" in command("check", str(job.out)).expect(0).stdout
    job.run().expect(0)
    assert_merged(job)


def test_a_damaged_shard_fails_the_run_in_words(job: JobFolder) -> None:
    job.run().expect(0)
    (job.out / "part-000001.coco").write_text('{"path": 1')
    job.add(*numbered(2, 5))
    said = job.run().expect(1).stderr
    assert "coco/detections.json cannot be made" in said
    assert "part-000001.coco" in said
    assert len(job.rows()) == 7
