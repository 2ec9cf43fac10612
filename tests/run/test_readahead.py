"""The files of coming sources are opened and read ahead while others are decoded."""

from __future__ import annotations

from tests.run.faults import DECODER, GATE, Gate
from tests.run.jobs import JobFolder, numbered, read_rows, wait_until

AHEAD = f"""
{GATE}
import os

def posix_fadvise(descriptor, offset, length, advice):
    assert advice == os.POSIX_FADV_WILLNEED
    with (FOLDER / "ahead").open("a") as file:
        file.write(os.path.basename(os.readlink(f"/proc/self/fd/{{descriptor}}")) + chr(10))

os.posix_fadvise = posix_fadvise
"""
"""Notes the names of the files that are read ahead in `ahead`."""

HANGING = f"""
{GATE}
import os, threading
os_open = os.open

def open_(path, *arguments, **options):
    if str(path).endswith("0005.jpg"):
        (FOLDER / "hangs").touch()
        threading.Event().wait()
    return os_open(path, *arguments, **options)

os.open = open_
"""
"""Opening a file of a certain name hangs."""


def test_the_files_of_a_task_and_of_the_next_one_are_read_ahead_while_the_first_is_decoded(
    job: JobFolder,
) -> None:
    job.write(batch_size=4, chunk_items=12, workers=1)
    job.add("0000.jpg")
    job.add("0001.jpg", comment="1.5")  # seconds, for the next task to come: before 0002, it is looked for
    job.add("0002.jpg", comment="gate")
    job.add(*numbered(9, start=3))
    ahead = job.folder / "ahead"
    with job.start(faults=DECODER + AHEAD) as run:
        Gate(job).wait()  # by then it may have opened the first ones itself
        rest = numbered(5, start=3)
        wait_until(lambda: ahead.exists() and ahead.read_text().split()[-5:] == rest, "two tasks")
        Gate(job).open()
        run.end().expect(0)


def test_a_file_that_hangs_while_it_is_opened_ahead_is_the_one_that_fails(job: JobFolder) -> None:
    job.write(batch_size=4, chunk_items=12, workers=1, reader="timeout_s: 1")
    job.add(*numbered(12))
    job.run(children=HANGING).expect(3)
    assert (job.folder / "hangs").exists()
    failures = job.failures()
    assert list(failures) == ["0005.jpg"]
    assert failures["0005.jpg"]["error"] == "timeout"
    assert job.rows() == [row for row in read_rows(job.undisturbed()) if row["path"] != "0005.jpg"]
