"""Names that nobody would choose, and things in a folder that are no files: each is a row or a failure."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.run.jobs import SIDECAR, JobFolder, assert_clean, jpeg, keys, read_lines, records

NAMES = {
    b"two\nlines.jpg": "two\nlines.jpg",
    b"carriage\rreturn.jpg": "carriage\rreturn.jpg",
    b"quotes '\"`$(x).jpg": "quotes '\"`$(x).jpg",
    b"comma, semicolon; tab\t.jpg": "comma, semicolon; tab\t.jpg",
    b"not UTF-8 \xff\xc3.jpg": "not UTF-8 \\xff\\xc3.jpg",
    b"half a character \xe2\x82.jpg": "half a character \\xe2\\x82.jpg",
    b"a surrogate \xed\xa0\x80.jpg": "a surrogate \\xed\\xa0\\x80.jpg",
    b"back\\slash\\xff.jpg": "back\\\\slash\\\\xff.jpg",
    b"n" * 251 + b".jpg": "n" * 251 + ".jpg",
    b"-rf.jpg": "-rf.jpg",
    b"--fresh.jpg": "--fresh.jpg",
    b" .jpg": " .jpg",
    b"=1+1.jpg": "=1+1.jpg",
    b"%s{}%2e.jpg": "%s{}%2e.jpg",
    b"null.jpg": "null.jpg",
    b"\x1b[31m\x01\x7f.jpg": "\x1b[31m\x01\x7f.jpg",
    "emoji \U0001f4a9 e\u0301.jpg".encode(): "emoji \U0001f4a9 e\u0301.jpg",
    "lines \x85 \u2028 \u202e \ufeff.jpg".encode(): "lines \x85 \u2028 \u202e \ufeff.jpg",
    b"folder \xff\n\\/inside.jpg": "folder \\xff\n\\\\/inside.jpg",
}
"""File names as bytes, and as they must stand in every output: valid text, and reversible."""


def read_shards(job: JobFolder, kind: str) -> list[str]:
    """Return the paths in all shards, read as anybody would."""
    if kind == "parquet":
        return job.paths()
    if kind == "jsonl":
        return [
            row["path"]
            for shard in job.out.glob("*.jsonl")
            if shard.name != "failures.jsonl"
            for row in read_lines(shard)
        ]
    paths = []
    for shard in job.out.glob("part-*.csv"):
        with shard.open(encoding="utf-8", newline="") as file:
            paths += [row["path"].removeprefix("'") for row in csv.DictReader(file)]
    return paths


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_any_file_name_survives_into_every_output_and_is_known_the_next_time(
    job: JobFolder, kind: str
) -> None:
    job.write(kind=kind, fields="[top_k]")
    for name in NAMES:
        for folder, content in (("good", jpeg(0)), ("bad", b"not an image")):
            path = job.images / folder / os.fsdecode(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    job.run().expect(3)
    good, bad = ([f"{folder}/{key}" for key in sorted(NAMES.values())] for folder in ("good", "bad"))
    assert sorted(read_shards(job, kind)) == good
    assert sorted(job.failures()) == keys(job.events("source_failed")) == bad
    in_ledger = {s["key"]: s["status"] for record in records(job.out) for s in record["sources"]}
    assert in_ledger == dict.fromkeys(good, "done") | dict.fromkeys(bad, "failed")
    job.run().expect(0)
    assert job.summary()["sources"] == {
        "planned": 0,
        "skipped": 2 * len(NAMES),
        "done": 0,
        "partial": 0,
        "failed": 0,
    }
    assert_clean(job.out)


def test_a_name_is_no_formula_in_a_spreadsheet_also_when_its_chunk_is_written_again(job: JobFolder) -> None:
    job.write(kind="csv", fields="[top_k]", chunk_items=10)
    names = ["'=1.jpg", "+1.jpg", "-1.jpg", "=1.jpg", "@1.jpg", "\t1.jpg", "\r1.jpg"]
    job.add(*names, "plain.jpg")

    def cells() -> list[str]:
        with (job.out / "part-000000.csv").open(encoding="utf-8", newline="") as file:
            return [line["path"] for line in csv.DictReader(file)]

    job.run().expect(0)
    assert cells() == [f"'{name}" for name in sorted(names)] + ["plain.jpg"]
    job.change("=1.jpg")
    (job.images / "-1.jpg").unlink()
    job.run("--prune").expect(0)
    left = sorted({*names} - {"-1.jpg"})
    assert cells() == [f"'{name}" for name in left] + ["plain.jpg"]
    assert_clean(job.out)


def test_links_that_lead_in_circles_end(job: JobFolder) -> None:
    job.add("a.jpg", "deep/b.jpg")
    (job.images / "self").symlink_to(".")
    (job.images / "deep" / "up").symlink_to("..")
    (job.images / "deep" / "twin").symlink_to("../deep")
    job.run().expect(0)
    assert job.paths() == ["a.jpg", "deep/b.jpg"]


def test_what_is_not_a_file_is_a_failure_and_is_not_read(job: JobFolder) -> None:
    job.add("a.jpg")
    os.mkfifo(job.images / "fifo.jpg")
    (job.images / "device.jpg").symlink_to("/dev/zero")
    (job.images / "broken.jpg").symlink_to("nowhere.jpg")
    (job.images / "circle.jpg").symlink_to("circle.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(job.images / "socket.jpg"))  # the full path may be too long for one
        job.run().expect(3)
    assert job.paths() == ["a.jpg"]
    assert {path: line["error"] for path, line in job.failures().items()} == {
        "broken.jpg": "missing",
        "circle.jpg": "not_a_file",
        "device.jpg": "not_a_file",
        "fifo.jpg": "not_a_file",
        "socket.jpg": "not_a_file",
    }
    assert job.summary()["workers_replaced"] == 0
    job.run().expect(0)


def test_a_file_larger_than_memory_is_a_failure(job: JobFolder) -> None:
    job.add("a.jpg")
    with (job.images / "sparse.jpg").open("wb") as file:
        file.truncate(1 << 40)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))"
    job.run(children=limit).expect(3)
    assert job.failures()["sparse.jpg"]["error"] == "too_large"
    assert job.paths() == ["a.jpg"]


def on_terminal(*command: str) -> tuple[int, bytes]:
    """Run a command on a terminal of its own; return its exit code and all that the terminal got."""
    terminal, end = pty.openpty()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=end, stderr=end) as process:
        os.close(end)
        written = b""
        try:
            while block := os.read(terminal, 65536):
                written += block
        except OSError:  # EIO: the other end is closed
            pass
        os.close(terminal)
    return process.returncode, written


ESCAPE = "\x1b]0;owned\x07"
"""Sets the title of a terminal that obeys it."""


def test_escape_sequences_in_names_do_not_reach_the_terminal(make_job: Callable[[str], JobFolder]) -> None:
    job = make_job(f"job{ESCAPE}\x9b\n\udcff")
    job.add(f"a{ESCAPE}.jpg")
    job.add_bad(f"b{ESCAPE}.jpg")
    digest = hashlib.sha256((job.folder / "tiny.onnx").read_bytes()).hexdigest()
    weights = {"kind": "checkpoint", "name": ESCAPE, "requested": "x"}
    (job.folder / "tiny.json").write_text(json.dumps(SIDECAR | {"onnx_sha256": digest, "weights": weights}))

    def said(*arguments: str, code: int) -> bytes:
        found, written = on_terminal(sys.executable, "-m", "resnet_pipe", "run", *arguments)
        assert found == code, written
        assert ESCAPE.encode() not in written
        assert b"\x9b" not in written
        return written

    shown = b"\\x1b]0;owned\\x07"
    written = said(str(job.file), code=3)
    assert b"weights (" + shown + b")" in written
    assert b"job" + shown + b"\\x9b\r\n\\xff/out" in written
    assert shown in said(str(job.file), "--dry-run", code=0)
    assert shown in said(f"{job.folder}/gone.yaml", code=2)
    (job.out / "_resnet_pipe/ledger/000000.json").write_text("{")
    assert shown in said(str(job.file), code=1)
    said(str(job.file), ESCAPE, code=2)


def test_a_folder_of_any_name_in_any_locale_is_no_obstacle(make_job: Callable[[str], JobFolder]) -> None:
    job = make_job("not UTF-8 \udcff \U0001f4a9 \x1b\n'\"")
    job.add("a.jpg", "b.jpg")
    (job.folder / "tiny.onnx").rename(job.folder / "\udcff.onnx")
    job.file.write_text(job.file.read_text().replace("tiny.onnx", '"\\udcff.onnx"'))
    assert "2 sources done" in job.run(env={"PYTHONIOENCODING": "latin-1:strict"}).expect(0).stdout
    job.change("a.jpg")
    job.run("--json").expect(0)
    assert job.summary()["model"]["name"] == "\\xff"
    assert job.paths() == ["a.jpg", "b.jpg"]
    job.file.write_bytes((job.last_run() / "job.yaml").read_bytes())
    job.run().expect(0)
    assert job.summary()["sources"]["skipped"] == 2
    assert_clean(job.out)
