"""An engine that fails on a batch is given smaller ones, and says so; on a single item it ends the run."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.photographs import encode
from tests.run.faults import ENGINE, Gate
from tests.run.jobs import JobFolder, assert_clean, assert_same_rows, numbered, records, wait_until

MORE_THAN_TWO = """
def before_forward(blob):
    if len(blob) > 2:
        raise {error}
"""
WHITE = """
def before_forward(blob):
    if blob.min(axis=(1, 2, 3)).max() > 2:  # an image of which every pixel is white
        wait_at("gate")
        raise {error}
"""
CV2_ERROR = 'cv2.error("OpenCV alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 7 bytes")'
NUMPY_ERROR = 'MemoryError("Unable to allocate 7 bytes")'


@pytest.mark.parametrize("error", [CV2_ERROR, NUMPY_ERROR])
def test_a_batch_that_does_not_fit_into_memory_is_halved_until_it_does(job: JobFolder, error: str) -> None:
    job.write(batch_size=8, chunk_items=10)
    job.add(*numbered(19))
    result = job.run(children=ENGINE + MORE_THAN_TWO.format(error=error)).expect(0)
    said = [line for line in result.stderr.splitlines() if "llocate 7 bytes" in line]
    assert [line.rpartition("; ")[2] for line in said] == [
        "continuing with batches of 4",
        "continuing with batches of 2",
    ]
    assert [event["text"] for event in job.events("note")] == said
    assert_same_rows(job.out, job.undisturbed())
    assert_clean(job.out)


@pytest.mark.parametrize("error", [CV2_ERROR, NUMPY_ERROR])
def test_an_engine_that_fails_on_a_single_item_ends_the_run_and_what_is_committed_stays(
    job: JobFolder, error: str
) -> None:
    job.add(*numbered(9))
    (job.images / "0005.jpg").write_bytes(encode(Image.new("RGB", (64, 48), "white"), "JPEG"))
    with job.start(faults=ENGINE + WHITE.format(error=error)) as run:
        Gate(job).wait()
        wait_until(lambda: len(records(job.out)) == 2, "two chunks are committed")
        Gate(job).open()
        result = run.end().expect(1)
    last = next(line for line in result.stderr.splitlines() if line.startswith("error: "))
    assert "failed on a batch of 1" in last
    assert "allocate 7 bytes" in last
    assert job.paths() == numbered(4)
    assert_clean(job.out)
    job.run().expect(0)
    assert_same_rows(job.out, job.undisturbed())
