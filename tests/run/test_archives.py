"""Jobs over archives: the rows of a folder, with all that a run does when archives change, break or go."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from resnet_pipe.job.job import load
from resnet_pipe.run.stop import Stop
from resnet_pipe.study.trial import open_trials
from tests.archives import compressed, pack, tar_of
from tests.run.faults import DECODER
from tests.run.jobs import Cli, JobFolder, Row, assert_clean, numbered, read_rows, records, states, wait_until

PACKED = ("a.tar", "b.tar.gz", "c.tar.zst")
PER_ARCHIVE = 4


class ArchiveFolder(JobFolder):
    """A job with `archives/`; `images/` has what is put into them, and is what the job reads at first."""

    def __init__(self, folder: Path, network: Path) -> None:
        super().__init__(folder, network)
        self.archives = folder / "archives"
        self.archives.mkdir(exist_ok=True)

    def pack(self, name: str, images: Sequence[str]) -> None:
        """Make an archive of some images, in this order."""
        members = [(image, (self.images / image).read_bytes()) for image in images]
        (self.archives / name).write_bytes(compressed(tar_of(members), name))

    def read_archives(self) -> None:
        """Have the job read the archives."""
        text = self.file.read_text().replace("{kind: images, path: images", "{kind: archive, path: archives")
        self.file.write_text(text)

    def cut(self, name: str, share: float) -> bytes:
        """Leave a share of an archive, and return all of it."""
        data = (self.archives / name).read_bytes()
        (self.archives / name).write_bytes(data[: int(share * len(data))])
        return data


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def job(tmp_path: Path, network: Path) -> ArchiveFolder:
    """A job over twelve images in three archives."""
    (tmp_path / "job").mkdir()
    made = ArchiveFolder(tmp_path / "job", network)
    names = numbered(PER_ARCHIVE * len(PACKED))
    made.add(*names)
    for index, archive in enumerate(PACKED):
        made.pack(archive, names[index * PER_ARCHIVE : (index + 1) * PER_ARCHIVE])
    return made


def of_archives(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the folder under the paths that they have in the archives."""
    return [{**row, "path": f"{PACKED[int(row['path'][:4]) // PER_ARCHIVE]}/{row['path']}"} for row in rows]


def test_the_rows_are_those_of_the_folder(job: ArchiveFolder) -> None:
    expected = of_archives(read_rows(job.undisturbed()))
    job.read_archives()
    job.run("--set", "run.workers=2", "--set", "run.chunk_items=5").expect(0)
    assert job.rows() == expected
    assert_clean(job.out)
    before = states(job.out)
    assert "0 sources done, 0 failed, 12 already done" in job.run().expect(0).stdout
    assert states(job.out) == before


def test_the_same_archives_packed_again_are_processed_again(job: ArchiveFolder) -> None:
    job.read_archives()
    job.run().expect(0)
    rows, untouched = job.rows(), states(job.out)
    job.add("0000-new.jpg")
    job.pack("a.tar", ["0003.jpg", "0000-new.jpg", *numbered(3)])
    job.run().expect(0)
    assert job.summary()["sources"]["done"] == PER_ARCHIVE + 1
    assert [row for row in job.rows() if "new" not in row["path"]] == sorted(
        rows, key=lambda row: row["path"]
    )
    assert [row["path"] for row in job.rows() if "new" in row["path"]] == ["a.tar/0000-new.jpg"]
    assert sum(states(job.out).get(name) == state for name, state in untouched.items()) == 4


def test_what_is_whole_of_a_truncated_archive_is_processed_and_the_rest_when_it_is_there(
    job: ArchiveFolder,
) -> None:
    expected = of_archives(read_rows(job.undisturbed()))
    job.read_archives()
    whole = job.cut("a.tar", 0.6)
    (job.archives / "d.tar").write_bytes(b"no archive" * 100)
    job.run().expect(3)
    assert {path: line["error"] for path, line in job.failures().items()} == {
        "a.tar": "truncated",
        "d.tar": "unknown_format",
    }
    there = (*PACKED[1:], "a.tar/0000", "a.tar/0001")
    few = [row for row in expected if row["path"].startswith(there)]
    assert job.rows() == few
    assert "0 sources done, 0 failed, 10 already done" in job.run().expect(0).stdout, (
        "they are tried again when they change"
    )
    (job.archives / "a.tar").write_bytes(whole)
    shutil.copy(job.archives / "c.tar.zst", job.archives / "d.tar")
    job.run().expect(0)
    assert job.failures() == {}, "they are over"
    ours = [row for row in job.rows() if row["path"][0] != "d"]
    assert sorted(ours, key=lambda row: row["path"]) == expected
    assert len(job.rows()) == 4 * PER_ARCHIVE
    assert {entry["key"] for record in records(job.out) for entry in record["sources"]} == set(job.paths())
    assert_clean(job.out)


def test_members_that_are_gone_keep_their_rows_until_they_are_pruned(job: ArchiveFolder) -> None:
    job.read_archives()
    job.run().expect(0)
    (job.archives / "b.tar.gz").unlink()
    job.pack("a.tar", numbered(2))
    job.run().expect(0)
    assert len(job.rows()) == 12
    job.run("--prune", "--set", "run.max_disappeared=100%").expect(0)
    assert [path.partition("/")[0] for path in job.paths()] == ["a.tar"] * 2 + ["c.tar.zst"] * 4
    assert_clean(job.out)


def test_what_is_missing_from_a_truncated_archive_keeps_its_rows(job: ArchiveFolder) -> None:
    job.read_archives()
    job.run().expect(0)
    rows = {row["path"]: row for row in job.rows()}
    job.cut("a.tar", 0.6)
    (job.archives / "b.tar.gz").write_bytes(b"")
    assert "0 disappeared" in job.run("--dry-run").expect(0).stdout
    job.run("--prune").expect(3)
    assert {row["path"]: row for row in job.rows()} == rows
    assert {path: line["error"] for path, line in job.failures().items()} == {
        "a.tar": "truncated",
        "b.tar.gz": "empty",
    }


def test_a_division_takes_its_share(job: ArchiveFolder) -> None:
    job.read_archives()
    for index in (1, 2):
        job.run("--divide", f"{index}/2").expect(0)
    assert len(job.rows()) == 12


def test_a_run_that_is_killed_goes_on(job: ArchiveFolder) -> None:
    expected = of_archives(read_rows(job.undisturbed()))
    job.read_archives()
    slow = "--set", "run.workers=2"
    with job.start(*slow, faults=SLOW) as run:
        wait_until(lambda: len(list(job.out.glob("part-*"))) >= 2, "two chunks are there")
        run.signal_group(signal.SIGKILL)
    done = len(list(job.out.glob("part-*")))
    assert done < 6
    job.run(*slow).expect(0)
    assert job.rows() == expected
    assert_clean(job.out)


SLOW = """
import os, sys, time

if "resnet_pipe.run.workers.worker_process" in sys.orig_argv:
    pread = os.pread

    def slow_pread(descriptor, size, offset):
        time.sleep(0.05)
        return pread(descriptor, size, offset)

    os.pread = slow_pread
"""


def test_a_picture_that_kills_its_decoder_costs_itself(job: ArchiveFolder) -> None:
    job.add("bad.jpg", comment="die")
    job.pack("b.tar.gz", ["0004.jpg", "bad.jpg", "0005.jpg"])
    job.read_archives()
    job.run(children=DECODER).expect(3)
    assert [line["path"] for line in job.failures().values()] == ["b.tar.gz/bad.jpg"]
    assert len(job.rows()) == 10


def test_pictures_are_drawn_and_stay_below_the_output(job: ArchiveFolder) -> None:
    names = ["../../../../out.jpg", "/abs.jpg", "twice.jpg", "twice.jpg", "a/b.jpg", "a", "a.jpg/c.jpg"]
    photos = [(job.images / name).read_bytes() for name in numbered(len(names))]
    for archive in PACKED:
        (job.archives / archive).unlink()
    tar = tar_of(zip(names, photos, strict=True))
    (job.archives / "x.tar").write_bytes(tar)
    writer = "{kind: images, path: out, k: 1}"
    job.write(writer=writer)
    job.read_archives()
    before = {path for path in job.folder.parent.rglob("*") if job.out not in path.parents}
    job.run().expect(0)
    images = job.out / "images"
    drawn = sorted(str(path.relative_to(images / "x.tar")) for path in images.rglob("*.jpg"))
    assert len(drawn) == 6
    assert {"abs.jpg.jpg", "out.jpg.jpg", "twice.jpg.jpg", "twice.jpg#2.jpg", "a/b.jpg.jpg"} < set(drawn)
    after = {path for path in job.folder.parent.rglob("*") if job.out not in path.parents}
    assert {path for path in after - before if "cache" not in str(path)} == {job.out}


def test_nothing_to_read_is_said_with_what_was_passed_over(job: ArchiveFolder) -> None:
    for archive in PACKED:
        (job.archives / archive).unlink()
    (job.archives / "x.tar").write_bytes(tar_of([("a.txt", b"a"), ("b.json", b"{}")]))
    (job.archives / "y.zip").touch()
    job.read_archives()
    failed = job.run().expect(1)
    assert "no images found in" in failed.stderr
    assert "passed over 1 .json, 1 .txt, 1 .zip" in failed.stderr.replace("\n", " ")
    assert ".tar.zst" in failed.stderr


def test_the_other_commands_take_such_a_job(job: ArchiveFolder, cli: Cli) -> None:
    job.read_archives()
    assert "12" in cli("run", job.file, "--dry-run").expect(0).stdout
    assert not job.out.exists()
    cli("run", job.file, "--set", "run.canary=2").expect(0)
    assert job.summary()["canary"]["items"] == 2
    cli("check", job.out).expect(0)
    verified = json.loads(
        cli("verify", job.file, "--count", 3, "--engine", "opencv", "--json").expect(0).stdout
    )
    assert verified["images"]["used"] == 3
    cli("diff", job.out, job.out).expect(0)


def test_trials_read_what_is_in_archives(job: ArchiveFolder, tmp_path: Path) -> None:
    job.read_archives()
    loaded, _ = load(job.file)
    with open_trials(loaded, Stop()) as trials:
        assert trials.sample.found == 12
        result = trials.run(30, {"infer.batch_size": 4}, 60)
    assert result["sources"]["done"] == result["items"] == 30
    assert not [path for path in job.folder.iterdir() if path.name.startswith(".resnet-pipe")]


def test_a_folder_that_is_packed_has_the_same_rows(job: ArchiveFolder) -> None:
    """With subfolders and names of all kinds."""
    job.add("ä/ö.jpg", "sub/x.PNG", "back\\slash.jpg")
    expected = read_rows(job.undisturbed())
    shutil.rmtree(job.archives)
    job.archives.mkdir()
    pack(job.images, job.archives / "all.tar.gz")
    job.read_archives()
    job.run("--set", "run.chunk_items=100").expect(0)
    paths = [f"all.tar.gz/{row['path']}" for row in expected]
    assert job.rows() == [
        {**row, "path": path}
        for path, row in sorted(zip(paths, expected, strict=True), key=lambda both: both[0])
    ]
