"""A run does what is new and nothing else, and never mixes rows of different making."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.run.commands import command
from tests.run.jobs import HOME, JobFolder, assert_clean, assert_same_rows, numbered, records, states


def touch(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def test_a_first_run_gives_one_row_for_each_image_in_order(done: JobFolder) -> None:
    assert [row["path"] for row in done.rows()] == numbered(5)
    assert [len(record["sources"]) for record in records(done.out)] == [2, 2, 1]
    assert_clean(done.out)


def test_the_ledger_says_what_each_source_was_and_how_the_shard_was_made(done: JobFolder) -> None:
    record = records(done.out)[0]
    status = (done.images / "0000.jpg").stat()
    assert record["sources"][0] == {
        "key": "0000.jpg",
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "status": "done",
        "rows": 1,
    }
    assert [shard["name"] for shard in record["shards"]] == ["part-000000.parquet"]
    assert record["rows"] == 2
    assert record["fingerprint"] == done.summary()["fingerprint"]


def test_a_second_run_with_nothing_new_touches_no_shard_and_loads_no_network(done: JobFolder) -> None:
    before = states(done.out)
    assert "5 already done" in done.run().expect(0).stdout
    assert states(done.out) == before
    assert done.summary()["engine"] is None


def test_a_file_of_any_date_is_a_source_and_every_other_date_a_change(job: JobFolder) -> None:
    years = {"1601.jpg": -11_644_473_600, "1969.jpg": -1, "2400.jpg": 13_569_465_600, "far.jpg": 2**40}
    job.add(*years)
    job.add_bad("2400-bad.jpg")
    memory = Path("/dev/shm")  # noqa: S108 - a file system that holds all of these dates, where there is one
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        job.images = Path(shutil.copytree(job.images, Path(folder) / "images"))
        reader = ("--set", f"reader.path={job.images}")
        for name, second in {**years, "2400-bad.jpg": 13_569_465_600}.items():
            os.utime(job.images / name, ns=(0, second * 10**9 + 7))
        job.run(*reader).expect(3)
        assert job.paths() == sorted(years)
        held = {path.name: path.stat().st_mtime_ns for path in job.images.iterdir()}
        entries = [entry for record in records(job.out) for entry in record["sources"]]
        assert {entry["key"]: entry["mtime_ns"] for entry in entries} == held
        assert job.failures()["2400-bad.jpg"]["mtime_ns"] == held["2400-bad.jpg"]
        assert "4 already done" in job.run(*reader).expect(0).stdout
        touch(job.images / "2400.jpg")
        assert "1 to process" in job.run(*reader, "--dry-run").expect(0).stdout
        assert command("check", str(job.out)).expect(0)


def test_new_files_become_new_chunks(done: JobFolder) -> None:
    before = states(done.out)
    done.add("0001-new.jpg", "zz.jpg", "more/one.jpg")
    done.run().expect(0)
    assert done.paths() == sorted([*numbered(5), "0001-new.jpg", "zz.jpg", "more/one.jpg"])
    after = states(done.out)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2
    assert_clean(done.out)


def test_a_file_of_another_size_replaces_its_row_and_leaves_the_others(done: JobFolder) -> None:
    before, rows = states(done.out), done.rows()
    done.change("0002.jpg")
    assert done.run().expect(0)
    after = done.rows()
    assert [row["path"] for row in after] == numbered(5)
    assert [old == new for old, new in zip(rows, after, strict=True)] == [True, True, False, True, True]
    untouched = ("part-000000.parquet", "part-000002.parquet")
    assert all(states(done.out)[name] == before[name] for name in untouched)
    assert done.summary()["sources"] == {"planned": 1, "skipped": 4, "done": 1, "partial": 0, "failed": 0}
    assert_clean(done.out)


def test_a_file_of_another_time_alone_is_processed_again(done: JobFolder) -> None:
    rows = done.rows()
    touch(done.images / "0003.jpg")
    done.run().expect(0)
    assert done.summary()["sources"]["done"] == 1
    assert done.rows() == rows
    done.run().expect(0)
    assert done.summary()["sources"]["done"] == 0


def test_a_file_that_has_become_bad_loses_its_row_and_gets_it_back_when_it_is_good_again(
    done: JobFolder,
) -> None:
    rows, good = done.rows(), (done.images / "0001.jpg").read_bytes()
    done.add_bad("0001.jpg")
    done.run().expect(3)
    assert done.paths() == ["0000.jpg", "0002.jpg", "0003.jpg", "0004.jpg"]
    assert list(done.failures()) == ["0001.jpg"]
    (done.images / "0001.jpg").write_bytes(good)
    done.run().expect(0)
    assert done.rows() == rows
    assert done.failures() == {}
    assert_clean(done.out)


def test_a_file_that_has_disappeared_keeps_its_row_until_prune(done: JobFolder) -> None:
    for name in ("0000.jpg", "0002.jpg", "0003.jpg"):
        (done.images / name).unlink()
    before = states(done.out)
    done.run().expect(0)
    assert states(done.out) == before
    done.run("--prune").expect(0)
    assert done.paths() == ["0001.jpg", "0004.jpg"]
    assert_clean(done.out)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_every_kind_of_shard_is_rewritten_for_a_changed_file(job: JobFolder, kind: str) -> None:
    job.write(kind=kind, fields="[top_k]")
    job.add(*numbered(3))
    job.run().expect(0)
    before = {path.name: path.read_text() for path in job.out.glob("part-*")}
    job.change("0000.jpg")
    job.run().expect(0)
    after = {path.name: path.read_text() for path in job.out.glob("part-*")}
    first, second = f"part-000000.{kind}", f"part-000001.{kind}"
    assert after[second] == before[second]
    old, new = before[first].splitlines(), after[first].splitlines()
    assert len(old) == len(new)
    assert sum(a != b for a, b in zip(old, new, strict=True)) == 1
    assert_clean(job.out)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"fields": "[logits]"}, 'writer.fields: ["features", "logits"] -> ["logits"]'),
        ({"reader": "accept_truncated: true"}, "reader.accept_truncated: false -> true"),
        (
            {"preprocess": "{resize: 40, crop: 32, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}"},
            "preprocess.resize: 36 -> 40",
        ),
    ],
)
def test_a_changed_fingerprint_is_refused_with_what_changed_and_both_ways_out(
    done: JobFolder, change: dict[str, Any], named: str
) -> None:
    before = states(done.out)
    done.write(**change)
    said = done.run().expect(2).stderr
    assert named in said
    assert said.count(" -> ") == 1
    assert "--fresh" in said
    assert "another writer.path" in said
    assert states(done.out) == before


def test_another_model_is_another_fingerprint(done: JobFolder, tmp_path: Path) -> None:
    from tests.networks import write_tiny

    (done.folder / "tiny.onnx").unlink()
    write_tiny(done.folder / "tiny.onnx", features=True, crop=32)
    with (done.folder / "tiny.onnx").open("ab") as file:
        file.write(b"\x9a\x06\x01x")  # an unknown field: protobuf skips it
    assert "model_sha256: " in done.run().expect(2).stderr


def test_what_does_not_change_rows_is_no_part_of_the_fingerprint(done: JobFolder) -> None:
    before = states(done.out)
    done.write(run="grace_s: 3", infer="engine: opencv", reader="timeout_s: 7")
    done.run("--set", "run.workers=2", "--set", "infer.batch_size=5").expect(0)
    assert states(done.out) == before


def test_fresh_replaces_everything(done: JobFolder) -> None:
    done.write(fields="[logits]", kind="parquet", run="max_failures: 3")
    (done.images / "0000.jpg").unlink()
    done.run("--fresh").expect(0)
    assert done.paths() == numbered(4, start=1)
    assert "features" not in done.rows()[0]
    assert_clean(done.out)


def test_fresh_drops_nothing_if_there_is_no_input(done: JobFolder) -> None:
    before = states(done.out)
    for path in done.images.iterdir():
        path.unlink()
    assert "no images" in done.run("--fresh").expect(1).stderr
    assert states(done.out) == before


def test_another_output_path_keeps_both_results(done: JobFolder) -> None:
    before = states(done.out)
    done.run("--set", "writer.fields=[logits]", "--set", f"writer.path={done.folder}/other").expect(0)
    assert states(done.out) == before
    assert_clean(done.folder / "other")


def test_results_do_not_depend_on_workers_batches_or_scheduling(done: JobFolder) -> None:
    other = done.folder / "other"
    done.run("--set", "run.workers=3", "--set", "infer.batch_size=1", "--set", f"writer.path={other}")
    assert_same_rows(other, done.out)


def test_the_sources_of_a_missing_shard_are_processed_again(done: JobFolder) -> None:
    rows = done.rows()
    (done.out / "part-000001.parquet").unlink()
    done.run().expect(0)
    assert done.summary()["sources"]["done"] == 2
    assert sorted(done.rows(), key=lambda row: str(row["path"])) == rows
    assert_clean(done.out)


@pytest.mark.parametrize("arguments", [[], ["--divide", "1/2"]])
def test_shards_of_somebody_else_are_refused_and_left_alone(job: JobFolder, arguments: list[str]) -> None:
    job.add(*numbered(3))
    job.out.mkdir()
    (job.out / "part-000000.parquet").write_bytes(b"somebody's only copy")
    before = states(job.out)
    assert "not in its ledger (1): part-000000.parquet" in job.run(*arguments).expect(2).stderr
    assert states(job.out) == before


def test_other_files_of_somebody_else_are_left_alone(job: JobFolder) -> None:
    job.add(*numbered(2))
    job.out.mkdir()
    names = ["notes.txt", ".part-of-my-notes", ".swp.tmp", "data.parquet", ".failures.txt.tmp"]
    for name in names:
        (job.out / name).write_text(name)
    job.run().expect(0)
    assert all((job.out / name).read_text() == name for name in names)


def test_an_unreadable_record_stops_the_run_and_is_named(done: JobFolder) -> None:
    record = done.out / HOME / "ledger" / "000001.json"
    record.write_text(record.read_text()[:100])
    before = states(done.out)
    said = done.run().expect(1).stderr
    assert str(record) in said
    assert "what to do" in said
    assert states(done.out) == before


def test_a_dry_run_says_what_would_be_done_and_makes_nothing(job: JobFolder) -> None:
    job.add(*numbered(3))
    assert "3 to process" in job.run("--dry-run").expect(0).stdout
    assert not job.out.exists()


def test_a_folder_without_images_is_an_error_unless_it_is_allowed(job: JobFolder) -> None:
    said = job.run().expect(1).stderr
    assert "no images found" in said
    assert "mounted" in said
    job.write(reader="allow_empty: true")
    job.run().expect(0)


def test_what_is_passed_over_is_counted_in_the_plan_in_the_run_and_when_nothing_is_left(
    job: JobFolder,
) -> None:
    for name in ("a.PSD", "b.psd", "c.txt"):
        (job.images / name).touch()
    counted = "passed over 2 .psd, 1 .txt"
    for command_line in ((), ("--dry-run",), ("--set", "reader.kind=video")):
        said = job.run(*command_line).expect(1).stderr
        assert f" found in {job.images}: {counted}\n" in said
        assert "mounted" not in said
        assert ".jpg" in said or ".mkv" in said, "what is taken"
    job.add("d.jpg")
    assert counted in job.run("--dry-run").expect(0).stdout
    assert job.run().expect(0).stderr.startswith(f"{counted}\n")
    assert job.summary()["passed_over"] == {".psd": 2, ".txt": 1}
    assert job.run("--quiet", "--fresh").expect(0).stderr == ""
