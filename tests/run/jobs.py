"""Jobs for the tests of unattended runs: images or videos, a network and a job, run as real processes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq

from tests.networks import preprocess_yaml
from tests.photographs import NAMES, encode, photograph
from tests.run.commands import PATIENCE_S, Result, command
from tests.videos import Recipe, make, number_of, x264

HOME = "_resnet_pipe"
Row = dict[str, Any]

SIDECAR: dict[str, Any] = {
    "schema_version": 1,
    "name": "tiny",
    "source": "someone else",
    "architecture": "tiny",
    "depth": None,
    "weights": {"kind": "checkpoint", "name": "x", "requested": "x"},
    "classes": [f"label {index}" for index in range(10)],
    "features": 3,
    "preprocessing": {"resize": 36, "crop": 32, "mean": [0.5] * 3, "std": [0.5] * 3},
    "params": 1,
    "macs": 1,
    "file_bytes": 1,
    "onnx_sha256": "",
    "recipe_sha256": "",
    "max_relative_difference": 0.0,
    "versions": {},
}
"""Of a model from someone else; sound but for its SHA-256."""


Cli = Callable[..., Result]
"""Runs a command in this process; the arguments are those of the command line."""


class Running:
    """A run in a process group of its own. As a context manager, it is killed at the end of the block."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            self.signal_group(signal.SIGKILL)
        self.process.communicate()

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def signal_group(self, number: int) -> None:
        os.killpg(self.pid, number)

    def workers(self) -> list[int]:
        """Return the living worker processes."""
        return self._children("resnet_pipe.run.workers.worker_process")

    def engines(self) -> list[int]:
        """Return the living engine processes."""
        return self._children("resnet_pipe.run.engines.engine_process")

    def _children(self, module: str) -> list[int]:
        return [pid for pid in group(self.pid) if module in command_of(pid)]

    def end(self) -> Result:
        """Wait for the end of the run, and check that nothing of it is left."""
        try:
            out, err = self.process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.signal_group(signal.SIGKILL)
            out, err = self.process.communicate()
            raise AssertionError(f"the run did not end\n{out}\n{err}") from None
        wait_until(lambda: not group(self.pid), "all processes of the run are gone")
        return Result(self.process.returncode, out, err)


class JobFolder:
    """A folder with `images/`, `tiny.onnx` and `job.yaml`, whose results go to `out/`.

    Args:
        folder: an empty directory, or a copy of another job's.
        network: a small ONNX file.
        inputs: name of the directory with the images.
    """

    def __init__(self, folder: Path, network: Path, inputs: str = "images") -> None:
        self.folder = folder
        self.images = folder / inputs
        self.out = folder / "out"
        self.file = folder / "job.yaml"
        self.images.mkdir(exist_ok=True)
        if not (folder / "tiny.onnx").exists():
            (folder / "tiny.onnx").hardlink_to(network)
        if not self.file.exists():
            self.write()

    def write(
        self,
        kind: str = "parquet",
        fields: str = "[features, logits]",
        reader: str = "",
        infer: str = "",
        run: str = "",
        preprocess: str = "",
        batch_size: int = 2,
        chunk_items: int = 2,
        workers: int = 1,
        writer: str = "",
        canary: int = 0,
    ) -> None:
        """Write the job file: two images a batch, two a chunk, one worker, unless told otherwise.

        Without a report, which takes a second, and without a canary, which takes half of one: `--set
        run.report=true` or `canary` where it matters.
        """
        writer = writer or f"{{kind: {kind}, path: out, fields: {fields}, k: 3}}"
        self.file.write_text(
            "name: nightly\n"
            f"reader: {{kind: images, path: images{reader and ', ' + reader}}}\n"
            f"preprocess: {preprocess or preprocess_yaml()}\n"
            f"infer: {{model: tiny.onnx, device: cpu, batch_size: {batch_size}{infer and ', ' + infer}}}\n"
            f"writer: {writer}\n"
            f"run: {{workers: {workers}, chunk_items: {chunk_items}, report: false{run and ', ' + run}"
            f", canary: {canary}}}\n"
        )

    def add(self, *names: str, comment: str = "") -> None:
        """Add a small photograph under each name, each with other pixels than all before it.

        Args:
            names: below `images/`.
            comment: in the file, for `faults.DECODER`.
        """
        already = sum(len(files) for _, _, files in os.walk(self.images))
        for index, name in enumerate(names, already):
            path = self.images / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(index, comment))

    def add_bad(self, *names: str) -> None:
        """Add files that are named like images and are none."""
        for name in names:
            (self.images / name).write_bytes(b"this is not an image")

    def change(self, name: str) -> None:
        """Replace an image by another one."""
        path = self.images / name
        path.write_bytes(jpeg(1000 + len(name)))
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns + 1_000_000_000))

    def start(
        self,
        *arguments: str,
        faults: str | None = None,
        env: Mapping[str, str] | None = None,
        command: str = "run",
    ) -> Running:
        """Start a run, or another command over the job.

        Args:
            arguments: after `resnet-pipe run job.yaml`.
            faults: Python code that every process of the run executes before anything else.
            env: added to the environment.
            command: in the place of `run`.
        """
        return Running(
            subprocess.Popen(
                [sys.executable, "-m", "resnet_pipe", command, str(self.file), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
                env={**self.environment(faults), **(env or {})},
            )
        )

    def environment(self, faults: str | None) -> dict[str, str]:
        """Return the environment of a run with these faults."""
        environment = dict(os.environ)
        if faults is not None:
            place = self.folder / "faults"
            place.mkdir(exist_ok=True)
            (place / "sitecustomize.py").write_text(faults)
            environment["PYTHONPATH"] = os.pathsep.join(
                filter(None, [str(place), environment.get("PYTHONPATH")])
            )
        return environment

    def run(
        self,
        *arguments: str,
        faults: str | None = None,
        env: Mapping[str, str] | None = None,
        children: str | None = None,
    ) -> Result:
        """Run the job to its end: in this process, unless there are faults or another environment.

        Args:
            arguments: after `resnet-pipe run job.yaml`.
            faults: Python code that every process of the run executes before anything else.
            env: added to the environment.
            children: Python code that the processes which the run starts execute before anything else:
                faults of workers, engines and drawing.
        """
        if faults is None and env is None:
            with mock.patch.dict(os.environ, self.environment(children)):
                return command("run", str(self.file), *arguments)
        return self.start(*arguments, faults=faults, env=env).end()

    def undisturbed(self) -> Path:
        """Run the job, without faults and without what it has done, into a folder beside `out`."""
        folder = self.folder / "undisturbed"
        self.run("--set", f"writer.path={folder}").expect(0)
        return folder

    def rows(self) -> list[Row]:
        return read_rows(self.out)

    def paths(self) -> list[str]:
        return sorted(row["path"] for row in self.rows())

    def failures(self) -> dict[str, dict[str, Any]]:
        """Return failures.jsonl, by path."""
        return {line["path"]: line for line in read_lines(self.out / "failures.jsonl")}

    def last_run(self) -> Path:
        """Return the folder of the newest run."""
        return max((self.out / HOME / "runs").iterdir())

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return what the newest run logged: all, or the events of one name."""
        lines = read_lines(self.last_run() / "log.jsonl")
        return [line for line in lines if name is None or line["event"] == name]

    def summary(self) -> dict[str, Any]:
        """Return run.json of the newest run."""
        data: dict[str, Any] = json.loads((self.last_run() / "run.json").read_text())
        return data


CROP = 16
"""Side of the input of a job with videos."""


class VideoFolder(JobFolder):
    """A job whose sources are in `videos/`, with a network whose features are its input, values 0 to 1.

    Args:
        folder: an empty directory, or a copy of another job's.
        network: of `write_pixels`, for `CROP`.
    """

    def __init__(self, folder: Path, network: Path) -> None:
        described = (folder / "job.yaml").exists()
        super().__init__(folder, network, "videos")
        self.videos = self.images
        if not described:
            self.describe()

    def describe(
        self,
        reader: str = "",
        writer: str = "{kind: parquet, path: out, fields: [features, logits]}",
        run: str = "",
        batch_size: int = 4,
        chunk_items: int = 1_000_000,
        workers: int = 1,
        canary: int = 0,
    ) -> None:
        """Write the job file: four frames a batch, one chunk, one worker, unless told otherwise."""
        self.file.write_text(
            "name: nightly\n"
            f"reader: {{kind: video, path: videos{reader and ', ' + reader}}}\n"
            f"preprocess: {{resize: {CROP}, crop: {CROP}, mean: [0, 0, 0], std: [1, 1, 1]}}\n"
            f"infer: {{model: tiny.onnx, device: cpu, batch_size: {batch_size}}}\n"
            f"writer: {writer}\n"
            f"run: {{workers: {workers}, chunk_items: {chunk_items}, report: false{run and ', ' + run}"
            f", canary: {canary}}}\n"
        )

    def add_video(self, name: str, frames: int = 12, shift: int = 0) -> Path:
        """Add a video of square pictures, 25 a second, with a key frame every twelve.

        Args:
            name: below `videos/`, ending in .mkv or .mp4.
            frames: how many.
            shift: number of the first picture.
        """
        square = Recipe(
            name, "libx264", x264(), size=(120, 120), frames=frames, first=shift, time_base=Fraction(1, 25)
        )
        (self.videos / name).parent.mkdir(exist_ok=True)
        return make(self.videos, square)

    def numbers(self) -> list[tuple[str, int, int]]:
        """Return path, frame index, and the number of the picture that the features show, of every row."""
        return [(row["path"], row["frame_index"], number_in(row["features"])) for row in self.rows()]


def number_in(features: Sequence[float]) -> int:
    """Return the number of the picture that the features of a square video's frame show."""
    pixels = np.reshape(features, (3, CROP, CROP)).transpose(1, 2, 0)
    return number_of((255 * pixels).clip(0, 255).astype(np.uint8))


@cache
def jpeg(number: int, comment: str = "") -> bytes:
    """Return a JPEG of 64 x 48 pixels; every number gives other pixels, and the comment changes none."""
    image = photograph(NAMES[number % 3])
    left, top = 13 * number % (image.width - 128), 7 * number % (image.height - 96)
    small = image.crop((left, top, left + 128, top + 96)).resize((64, 48))
    data = encode(small, "JPEG", quality=90)
    marker = b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment.encode() if comment else b""
    return data[:2] + marker + data[2:]


def numbered(count: int, start: int = 0) -> list[str]:
    """Return names that sort by number."""
    return [f"{number:04d}.jpg" for number in range(start, start + count)]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def records(out: Path) -> list[dict[str, Any]]:
    """Return the ledger's records, sorted by chunk."""
    return [json.loads(path.read_text()) for path in sorted((out / HOME / "ledger").glob("*.json"))]


def read_rows(out: Path) -> list[Row]:
    """Return every row of every Parquet shard, in the order of shards and rows."""
    rows: list[Row] = []
    for path in sorted(out.glob("part-*.parquet")):
        with path.open("rb") as file:  # pyarrow takes no name whose bytes are not UTF-8
            rows += pq.read_table(file).to_pylist()
    return rows


def assert_same_rows(out: Path, undisturbed: Path) -> None:
    """Check that two output directories hold the same shards with the same rows in the same order."""
    assert [path.name for path in sorted(out.glob("part-*"))] == [
        path.name for path in sorted(undisturbed.glob("part-*"))
    ]
    ours, theirs = read_rows(out), read_rows(undisturbed)
    assert [row["path"] for row in ours] == [row["path"] for row in theirs]
    assert ours == theirs


def assert_other_commands(job: JobFolder, cli: Cli, count: int) -> None:
    """Check that dry runs, divisions, checks and `verify` take a job over so many images, `numbered`."""
    assert str(count) in cli("run", job.file, "--dry-run").expect(0).stdout
    assert not job.out.exists()
    cli("run", job.file, "--divide", "1/2").expect(0)
    cli("run", job.file, "--divide", "2/2").expect(0)
    assert sorted(job.paths()) == numbered(count)
    cli("check", job.out).expect(0)
    cli("verify", job.file, "--count", 3, "--engine", "opencv").expect(0)


def assert_clean(out: Path) -> None:
    """Check an output directory after a run: it is complete, and nothing is there twice or half."""
    left = [path for path in out.rglob("*") if path.name.endswith("tmp") or path.name.startswith(".")]
    left += [
        path for name in ("staging", "spool") for path in (out / HOME / name).rglob("*") if path.is_file()
    ]
    assert left == []
    ledger = records(out)
    shards = {shard["name"]: shard["sha256"] for record in ledger for shard in record["shards"]}
    assert sorted(path.name for path in out.glob("part-*")) == sorted(shards)
    for name, digest in shards.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    own = {
        file["name"]: file["sha256"]
        for record in ledger
        for source in record["sources"]
        for file in source.get("files", ())
    }
    found = [path for name in ("npy", "video", "images") for path in (out / name).rglob("*")]
    assert sorted(str(path.relative_to(out)) for path in found if path.is_file()) == sorted(own)
    assert all(any(path.iterdir()) for path in found if path.is_dir())
    for name, digest in own.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    keys = [source["key"] for record in ledger for source in record["sources"]]
    assert len(keys) == len(set(keys))
    if shards and all(name.endswith(".parquet") for name in shards):
        rows = [(row["path"], row["frame_index"]) for row in read_rows(out)]
        assert len(rows) == len(set(rows))
        assert len(rows) == sum(record["rows"] for record in ledger)
        counts = Counter(path for path, _ in rows)
        for source in (source for record in ledger for source in record["sources"]):
            assert counts[source["key"]] == source["rows"]
            assert (source["status"] == "failed") == (source["rows"] == 0)
            assert (source["status"] == "done") == ("failure" not in source)


def command_of(pid: int) -> list[str]:
    """Return the command line of a process; nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


def group(leader: int) -> list[int]:
    """Return the living processes of a process group."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == leader and fields[0] != "Z":
                members.append(int(entry.name))
    return members


def wait_until(true: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, f"waited {patience_s:g} s in vain until {what}"
        time.sleep(0.01)


def states(out: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return inode, mtime and contents of every shard, by name: equal means untouched."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(out.glob("part-*"))
    }


def keys(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the source of each event, sorted."""
    return sorted(str(entry["source"]) for entry in entries)
