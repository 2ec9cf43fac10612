"""A bad source costs itself and nothing else, and is never silent."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.run.jobs import JobFolder, assert_clean, jpeg, keys, numbered, records, states


@pytest.fixture
def mixed(job: JobFolder) -> JobFolder:
    """A job of five sources that has run: 0001 is no image, 0002 is empty, 0004 is half an image."""
    job.add(*numbered(5))
    job.add_bad("0001.jpg")
    (job.images / "0002.jpg").write_bytes(b"")
    (job.images / "0004.jpg").write_bytes(jpeg(4)[:700])
    job.run().expect(3)
    return job


def test_bad_sources_are_recorded_with_stage_error_and_message_and_the_others_are_processed(
    mixed: JobFolder,
) -> None:
    assert mixed.paths() == ["0000.jpg", "0003.jpg"]
    found = {path: (line["stage"], line["error"]) for path, line in mixed.failures().items()}
    assert found == {
        "0001.jpg": ("reader", "unknown_format"),
        "0002.jpg": ("reader", "empty"),
        "0004.jpg": ("reader", "truncated"),
    }
    assert all(line["message"] for line in mixed.failures().values())
    in_ledger = {
        source["key"]: source["failure"]["error"]
        for record in records(mixed.out)
        for source in record["sources"]
        if source["status"] == "failed"
    }
    assert in_ledger == {path: error for path, (_, error) in found.items()}
    assert keys(mixed.events("source_failed")) == sorted(found)
    assert mixed.summary()["sources"] == {"planned": 5, "skipped": 0, "done": 2, "partial": 0, "failed": 3}
    assert_clean(mixed.out)


def test_failed_sources_are_not_tried_again_and_the_next_run_has_nothing_to_do(mixed: JobFolder) -> None:
    before, failures = states(mixed.out), mixed.failures()
    mixed.run().expect(0)
    assert states(mixed.out) == before
    assert mixed.failures() == failures


def test_a_failed_source_that_has_changed_is_tried_again(mixed: JobFolder) -> None:
    mixed.change("0001.jpg")
    mixed.run().expect(0)
    assert mixed.summary()["sources"]["done"] == 1
    assert mixed.paths() == ["0000.jpg", "0001.jpg", "0003.jpg"]
    assert list(mixed.failures()) == ["0002.jpg", "0004.jpg"]
    assert_clean(mixed.out)


def test_retry_failed_tries_all_failed_sources_and_only_these(mixed: JobFolder) -> None:
    status = (mixed.images / "0001.jpg").stat()
    (mixed.images / "0001.jpg").write_bytes(jpeg(1)[: status.st_size].ljust(status.st_size, b"\0"))
    os.utime(mixed.images / "0001.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))
    mixed.run("--retry-failed").expect(3)
    assert mixed.summary()["sources"] == {"planned": 3, "skipped": 2, "done": 0, "partial": 0, "failed": 3}
    assert mixed.failures()["0001.jpg"]["error"] != "unknown_format"
    assert_clean(mixed.out)


def test_a_chunk_in_which_every_source_fails_is_committed(job: JobFolder) -> None:
    job.add_bad(*numbered(4))
    job.run().expect(3)
    assert [record["rows"] for record in records(job.out)] == [0, 0]
    assert job.rows() == []
    assert_clean(job.out)
    job.run().expect(0)


@pytest.mark.parametrize(
    ("limit", "code", "committed"),
    [("1", 1, 3), ("2", 3, 5), ("19%", 1, 3), ("20%", 3, 5), ("0", 1, 0)],
)
def test_more_failures_than_allowed_end_the_run_and_what_is_committed_stays(
    job: JobFolder, limit: str, code: int, committed: int
) -> None:
    job.write(run=f"max_failures: {limit}")
    job.add(*numbered(10))
    job.add_bad("0001.jpg", "0006.jpg")
    said = job.run().expect(code).stderr
    assert ("2 sources failed" in said or "1 source failed" in said) == (code == 1)
    assert ("run.max_failures" in said) == (code == 1)
    if code == 1:
        assert len(records(job.out)) <= committed
        assert set(job.failures()) <= {"0001.jpg"}
    else:
        assert len(records(job.out)) == committed
    assert_clean(job.out)


def test_after_too_many_failures_the_same_command_goes_on_where_it_ended(job: JobFolder) -> None:
    job.write(run="max_failures: 1")
    job.add(*numbered(40))
    job.add_bad("0001.jpg", "0039.jpg")
    job.run().expect(1)
    kept = states(job.out)
    assert kept
    assert list(job.failures()) == ["0001.jpg"]
    job.run().expect(3)
    assert all(states(job.out)[name] == state for name, state in kept.items())
    assert len(job.rows()) == 38
    assert_clean(job.out)


def poison(network: Path) -> None:
    """Make the logits of a network not a number."""
    model = onnx.load(str(network))
    for tensor in model.graph.initializer:
        if tensor.name == "bias":
            tensor.CopyFrom(numpy_helper.from_array(np.full(10, np.nan, np.float32), "bias"))
    network.unlink()
    onnx.save(model, str(network))


def test_rows_that_are_not_finite_are_failures_of_the_infer_stage(job: JobFolder) -> None:
    job.add(*numbered(3))
    poison(job.folder / "tiny.onnx")
    job.run().expect(3)
    assert job.rows() == []
    assert {line["error"] for line in job.failures().values()} == {"not_finite"}
    assert keys(job.events("source_failed")) == numbered(3)
    assert_clean(job.out)


def test_rows_that_are_not_finite_count_against_the_limit(job: JobFolder) -> None:
    job.write(run="max_failures: 2")
    job.add(*numbered(3))
    poison(job.folder / "tiny.onnx")
    assert "run.max_failures" in job.run().expect(1).stderr
