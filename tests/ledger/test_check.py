"""`resnet-pipe check`: what is wrong with results is found, nothing is changed, and runs may go on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.run.commands import PATIENCE_S, Result, command
from tests.run.faults import DECODER, GATE, Gate
from tests.run.jobs import HOME, Cli, JobFolder, VideoFolder, assert_clean, numbered
from tests.run.test_fresh import IN_THE_SWITCH, LOGITS

DATA = Path(__file__).parents[1] / "data"
LEDGER = Path(HOME, "ledger")


def everything(out: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Return inode, mode, time and contents of everything in a directory."""
    found = {}
    for path in (out, *out.rglob("*")):
        state = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (state.st_ino, state.st_mode, state.st_mtime_ns, content)
    return found


def check(out: Path, code: int) -> dict[str, Any]:
    """Check a directory that nobody changes, and see that nothing in it changes; return the JSON."""
    before = everything(out)
    said = command("check", str(out), "--json").expect(code)
    assert everything(out) == before
    found: dict[str, Any] = json.loads(said.stdout)
    assert found["schema_version"] == 1
    assert found["sound"] == (code == 0) == (not found["problems"])
    assert all(problem["remedy"] for problem in found["problems"])
    return found


def kinds(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return kind and path of each problem."""
    return [(problem["kind"], problem["path"]) for problem in found["problems"]]


def only(found: dict[str, Any], kind: str, path: str) -> dict[str, str]:
    """Return the only problem, which is of this kind."""
    assert kinds(found) == [(kind, path)]
    problem: dict[str, str] = found["problems"][0]
    return problem


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a record, and give it the checksum of what it says then."""
    data = json.loads(path.read_text())
    data.pop("sha256", None)
    change(data)
    body = json.dumps(data)[:-1].encode()
    path.write_bytes(body + f', "sha256": "{hashlib.sha256(body).hexdigest()}"}}'.encode())


def accept(out: Path, chunk: str, name: str) -> None:
    """Write the SHA-256 that a file has now into the record of its chunk."""
    digest = hashlib.sha256((out / name).read_bytes()).hexdigest()

    def change(data: dict[str, Any]) -> None:
        own = [file for source in data["sources"] for file in source.get("files", ())]
        for file in data["shards"] + own:
            if file["name"] == name:
                file["sha256"] = digest

    edit(out / LEDGER / f"{chunk}.json", change)


def test_sound_results_are_told_with_what_was_looked_at(done: JobFolder) -> None:
    found = check(done.out, 0)
    size = sum(path.stat().st_size for path in done.out.glob("part-*"))
    assert found["counts"] == {"records": 3, "sources": 5, "rows": 5, "files": 3, "bytes": size}
    assert found["next"] is None
    assert found["notes"] == []
    said = command("check", str(done.out)).expect(0).stdout
    assert said.splitlines()[-1] == f"no problems: {done.out}"
    assert "3 records, 5 sources, 5 rows, 3 files" in said


def test_a_directory_of_version_1_is_sound(tmp_path: Path) -> None:
    shutil.copytree(DATA / "directory-1", tmp_path / "old")
    assert check(tmp_path / "old" / "out", 0)["counts"]["sources"] == 3


@pytest.mark.parametrize("aggregate", ["none", "mean"])
@pytest.mark.parametrize("layout", ["per_source", "matrix"])
def test_what_every_writer_makes_is_sound_also_when_chunks_were_written_again(
    film: VideoFolder, layout: str, aggregate: str
) -> None:
    film.describe(
        writer=f"""
  - {{kind: parquet, path: out, fields: [features], aggregate: {aggregate}}}
  - {{kind: csv, path: out, aggregate: {aggregate}}}
  - {{kind: jsonl, path: out}}
  - {{kind: npy, path: out, layout: {layout}, aggregate: {aggregate}}}
  - {{kind: images, path: out}}
"""
    )
    film.add_video("=a.mkv", 5)
    film.add_video("b/b.mkv", 4)
    film.add_bad("c.mkv")
    film.run().expect(3)
    counts = check(film.out, 0)["counts"]
    assert (counts["sources"], counts["rows"]) == (3, 9)
    (film.videos / "b" / "b.mkv").unlink()
    film.add_video("b/b.mkv", 6)
    film.run().expect(0)
    assert check(film.out, 0)["counts"]["rows"] == 11
    assert_clean(film.out)


def remove(out: Path) -> None:
    (out / "part-000001.parquet").unlink()


def replace_by_a_folder(out: Path) -> None:
    remove(out)
    (out / "part-000001.parquet").mkdir()


def flip(out: Path) -> None:
    path = out / "part-000001.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(out: Path) -> None:
    os.truncate(out / "part-000001.parquet", 100)


def tear(out: Path) -> None:
    path = out / LEDGER / "000001.json"
    path.write_bytes(path.read_bytes()[:-40])


def falsify(out: Path) -> None:
    path = out / LEDGER / "000001.json"
    path.write_text(path.read_text().replace("0002.jpg", "0009.jpg"))


def from_the_future(out: Path) -> None:
    edit(out / LEDGER / "000001.json", lambda data: data.update(schema_version=99))


def add_a_stranger(out: Path) -> None:
    (out / "part-9.csv").write_text("path\n")


def forget(out: Path) -> None:
    (out / LEDGER / "000001.json").unlink()


def lose_the_fingerprint(out: Path) -> None:
    (out / HOME / "fingerprint.json").unlink()


def break_the_fingerprint(out: Path) -> None:
    (out / HOME / "fingerprint.json").write_text("{")


def record_of_another_making(out: Path) -> None:
    edit(out / LEDGER / "000001.json", lambda data: data.update(fingerprint="0" * 64))


def source_twice(out: Path) -> None:
    second = json.loads((out / LEDGER / "000001.json").read_text())["sources"][0]

    def change(data: dict[str, Any]) -> None:
        data["sources"].append({**second, "rows": 0})

    edit(out / LEDGER / "000002.json", change)


SHARD, RECORD = "part-000001.parquet", f"{LEDGER}/000001.json"
FINGERPRINT = f"{HOME}/fingerprint.json"
DAMAGE: dict[Callable[[Path], None], tuple[str, str, str]] = {
    remove: ("missing", SHARD, "run the job again"),
    replace_by_a_folder: ("missing", SHARD, "run the job again"),
    flip: ("changed", SHARD, "from a backup"),
    truncate: ("changed", SHARD, "from a backup"),
    tear: ("record", RECORD, "from a backup"),
    falsify: ("record", RECORD, "from a backup"),
    from_the_future: ("record", RECORD, "with that version"),
    add_a_stranger: ("unknown", "part-9.csv", "move the files to another directory"),
    forget: ("unknown", SHARD, "from a backup"),
    lose_the_fingerprint: ("fingerprint", FINGERPRINT, "--fresh"),
    break_the_fingerprint: ("fingerprint", FINGERPRINT, "--fresh"),
    record_of_another_making: ("fingerprint", RECORD, "--fresh"),
    source_twice: ("twice", f"{LEDGER}/000002.json", "run the job again"),
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_each_damage_is_found_once_with_its_place_and_what_to_do(
    cli: Cli, done: JobFolder, damage: Callable[[Path], None]
) -> None:
    kind, path, remedy = DAMAGE[damage]
    damage(done.out)
    assert remedy in only(check(done.out, 1), kind, path)["remedy"]
    said = cli("check", done.out).expect(1).stdout
    assert f"  {path}: " in said
    assert "what to do: " in said
    assert said.splitlines()[-1] == f"1 problem: {done.out}"


@pytest.mark.parametrize("damage", [remove, flip])
def test_what_is_said_to_do_about_a_lost_shard_helps(done: JobFolder, damage: Callable[[Path], None]) -> None:
    damage(done.out)
    check(done.out, 1)
    (done.out / SHARD).unlink(missing_ok=True)
    done.run().expect(0)
    check(done.out, 0)
    assert done.paths() == numbered(5)


def test_files_of_single_sources_are_missed_and_strangers_among_them_found(job: JobFolder) -> None:
    job.write(writer="[{kind: parquet, path: out, fields: [features]}, {kind: npy}, {kind: images}]")
    hostile = os.fsdecode(b"\xff\x1b[2J.jpg")
    job.add("a/0000.jpg", "0001.jpg", hostile)
    job.run().expect(0)
    (job.out / "npy" / "a" / "0000.jpg.npy").unlink()
    (job.out / "npy" / f"{hostile}.csv").unlink()
    (job.out / "images" / "0001.jpg.jpg").write_bytes(b"something else")
    (job.out / "npy" / "b.jpg.npy").write_bytes(b"")
    (job.out / "images" / "notes.txt").write_text("of somebody, who is left alone")
    assert kinds(check(job.out, 1)) == [
        ("missing", "npy/\\xff\x1b[2J.jpg.csv"),
        ("missing", "npy/a/0000.jpg.npy"),
        ("changed", "images/0001.jpg.jpg"),
        ("unknown", "npy/b.jpg.npy"),
    ]
    assert "\x1b" not in command("check", str(job.out)).expect(1).stdout


def test_folders_of_the_user_that_are_called_like_those_of_writers_are_left_alone(job: JobFolder) -> None:
    job.write(writer="{kind: parquet, path: ., fields: [features]}")
    job.add(*numbered(2))
    job.run().expect(0)
    assert job.images == job.folder / "images"
    check(job.folder, 0)


def rewrite(path: Path) -> None:
    """Leave the last row of a table out, and have the first one twice."""
    if path.suffix == ".parquet":
        rows = pq.read_table(path)
        pq.write_table(pa.concat_tables([rows.slice(0, 1), rows.slice(0, rows.num_rows - 1)]), path)
    elif path.suffix == ".npy":
        rows = np.load(path)
        np.save(path, rows[:-1])
    else:
        head, *lines = path.read_bytes().splitlines(keepends=True)
        first = [head, head] if path.suffix == ".jsonl" else [head, lines[0]]
        path.write_bytes(b"".join([*first, *lines[:-1]]))


@pytest.mark.parametrize(
    ("writer", "name"),
    [
        ("{kind: parquet, path: out, fields: [features]}", "part-000000.parquet"),
        ("{kind: csv, path: out}", "part-000000.csv"),
        ("{kind: jsonl, path: out}", "part-000000.jsonl"),
        ("{kind: npy, path: out, layout: matrix}", "part-000000.index.csv"),
        ("{kind: npy, path: out, layout: matrix}", "part-000000.npy"),
        ("{kind: npy, path: out}", "npy/a.mkv.csv"),
        ("{kind: npy, path: out}", "npy/a.mkv.npy"),
    ],
)
def test_rows_that_are_not_those_of_the_record_are_found(film: VideoFolder, writer: str, name: str) -> None:
    film.describe(writer=writer)
    film.add_video("a.mkv", 5)
    film.add_video("b.mkv", 4)
    film.run().expect(0)
    check(film.out, 0)
    rewrite(film.out / name)
    accept(film.out, "000000", name)
    assert name in [path for kind, path in kinds(check(film.out, 1)) if kind == "rows"]


def test_of_many_problems_of_one_kind_the_first_twenty_are_printed_and_json_has_all(done: JobFolder) -> None:
    for number in range(25):
        (done.out / f"part-x{number:02d}.parquet").touch()
    assert len(check(done.out, 1)["problems"]) == 25
    said = command("check", str(done.out)).expect(1).stdout
    assert said.count("not in any record of the ledger") == 20
    assert "and 5 more" in said
    assert said.splitlines()[-1] == f"25 problems: {done.out}"


@pytest.mark.parametrize("name", ["nothing", "file", "folder"])
def test_what_is_no_results_directory_is_refused_with_what_to_give(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    said = command("check", str(tmp_path / name)).expect(2).stderr
    assert "what to do: give the writer.path" in said


def test_while_a_run_goes_on_what_it_has_committed_is_sound(done: JobFolder) -> None:
    done.add("0005.jpg")
    done.add("0006.jpg", comment="gate")
    done.change("0000.jpg")
    with done.start(faults=DECODER) as run:
        Gate(done).wait()
        said = command("check", str(done.out), "--json").expect(0)
        assert "a run is active" in json.loads(said.stdout)["notes"][0]
        add_a_stranger(done.out)
        said = command("check", str(done.out), "--json").expect(1)
        only(json.loads(said.stdout), "unknown", "part-9.csv")
        (done.out / "part-9.csv").unlink()
        Gate(done).open()
        run.end().expect(0)
    check(done.out, 0)


HALF_LOOKED = f"""
{GATE}

def watch(event, arguments, seen=[]):
    if event == "open" and str(arguments[0]).endswith("/part-000001.parquet") and not seen:
        seen.append(True)
        wait_at("looking")

sys.addaudithook(watch)
"""
"""In a check: wait when it has looked at the first chunk and is about to look at the second one."""


def start_check(job: JobFolder, faults: str | None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "resnet_pipe", "check", str(job.out)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=job.environment(faults),
    )


def end_check(process: subprocess.Popen[str]) -> Result:
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    return Result(process.returncode, out, err)


@pytest.mark.parametrize("arguments", [(), ("--prune",), ("--fresh",), ("--fresh", "--now")], ids=" ".join)
def test_what_runs_change_meanwhile_is_looked_at_again(done: JobFolder, arguments: tuple[str, ...]) -> None:
    checking = start_check(done, HALF_LOOKED)
    Gate(done, "looking").wait()
    done.change("0000.jpg")
    done.change("0002.jpg")
    if "--prune" in arguments:
        (done.images / "0004.jpg").unlink()
    done.add("0005.jpg")
    done.run(*arguments, "--set", "run.chunk_items=1", faults="").expect(0)
    Gate(done, "looking").open()
    end_check(checking).expect(0)
    check(done.out, 0)


@pytest.mark.parametrize("at", ["pending", "place"])
def test_a_commit_that_was_cut_off_is_a_note_and_the_next_run_completes_it(done: JobFolder, at: str) -> None:
    done.change("0000.jpg")
    done.run(faults=IN_THE_COMMIT % at).expect(-signal.SIGKILL)
    found = check(done.out, 0)
    assert [note for note in found["notes"] if "interrupted commit" in note]
    done.run().expect(0)
    assert check(done.out, 0)["notes"] == []


IN_THE_COMMIT = f"""
{GATE}
import os

def replace(source, target, *, replace=os.replace):
    if "%s" == "pending" and "/staging/" in str(source) and "/staging/" not in str(target):
        os.kill(os.getpid(), 9)
    if "/ledger/" in str(source):
        os.kill(os.getpid(), 9)
    replace(source, target)

os.replace = replace
"""
"""Killed when the record is pending and no file is in place, or all files are."""


def test_what_a_killed_run_leaves_is_noted(done: JobFolder) -> None:
    done.add("0005.jpg")
    done.add("0006.jpg", comment="gate")
    with done.start(faults=DECODER) as run:
        Gate(done).wait()
        run.signal_group(signal.SIGKILL)
        run.end()
    (done.out / LEDGER / ".000009.json.tmp").write_bytes(b'{"schema_version": 2, "chu')
    (done.out / HOME / ".fingerprint.json.tmp").write_bytes(b"{")
    spool = done.out / HOME / "spool" / "whole"
    spool.mkdir(parents=True, exist_ok=True)
    (spool / "x.npz").touch()
    notes = "\n".join(check(done.out, 0)["notes"])
    for word in (".000009.json.tmp", ".fingerprint.json.tmp", "1 finished span"):
        assert word in notes


def test_new_results_that_have_been_begun_are_looked_at_as_well(done: JobFolder) -> None:
    done.add_bad("0005.jpg")
    done.run("--fresh", "--set", "run.max_failures=0").expect(1)
    found = check(done.out, 0)
    assert found["counts"]["records"] == 3
    assert found["next"]["records"] == 2
    assert [note for note in found["notes"] if "--fresh continues" in note]
    new = f"{HOME}/next/part-000001.parquet"
    (done.out / new).unlink()
    (done.out / HOME / "next" / "part-9.parquet").touch()
    found = check(done.out, 1)
    assert kinds(found) == [("missing", new), ("unknown", f"{HOME}/next/part-9.parquet")]
    assert all("new results: " in problem["text"] for problem in found["problems"])
    assert all("--fresh" in problem["remedy"] for problem in found["problems"])


def test_a_switch_that_was_cut_off_is_a_problem_until_the_next_run_completes_it(done: JobFolder) -> None:
    done.run("--fresh", *LOGITS, faults=IN_THE_SWITCH).expect(-signal.SIGKILL)
    problem = only(check(done.out, 1), "switch", f"{HOME}/switch.json")
    assert "run the job again" in problem["remedy"]
    new = done.out / HOME / "next" / SHARD
    new.rename(done.folder / "moved")
    assert kinds(check(done.out, 1)) == [("switch", f"{HOME}/switch.json"), ("changed", SHARD)]
    (done.folder / "moved").rename(new)
    done.run(*LOGITS).expect(0)
    check(done.out, 0)
    assert "features" not in done.rows()[0]


def test_a_switch_that_cannot_be_read_is_the_only_problem(done: JobFolder) -> None:
    (done.out / HOME / "switch.json").write_text("{")
    only(check(done.out, 1), "switch", f"{HOME}/switch.json")


SLOW_SWITCH = f"""
{GATE}
import os

def replace(source, target, *, replace=os.replace):
    replace(source, target)
    if "/next/part-" in str(source):
        wait_at("gate")

os.replace = replace
"""


def test_a_check_waits_for_new_results_that_are_taking_their_place(done: JobFolder) -> None:
    with done.start("--fresh", faults=SLOW_SWITCH) as run:
        Gate(done).wait()
        checking = start_check(done, "")
        time.sleep(2)
        assert checking.poll() is None
        Gate(done).open()
        end_check(checking).expect(0)
        run.end().expect(0)
    check(done.out, 0)


def test_the_divisions_of_a_job_are_at_work_and_their_results_sound(job: JobFolder) -> None:
    job.add(*numbered(3))
    job.add("0003.jpg", comment="gate")
    with job.start("--divide", "1/1", faults=DECODER) as run:
        Gate(job).wait()
        said = command("check", str(job.out), "--json").expect(0)
        assert "a run is active" in json.loads(said.stdout)["notes"][0]
        Gate(job).open()
        run.end().expect(0)
    assert check(job.out, 0)["notes"] == []
