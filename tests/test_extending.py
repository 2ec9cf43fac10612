"""The pages on the code: examples are put into a copy of the package, and run; what is named is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from tests.networks import write_tiny
from tests.run.jobs import JobFolder, Row, assert_clean, read_rows

ROOT = Path(__file__).parents[1]
PACKAGE = Path("pipeline", "resnet_pipe")
BLOCK = re.compile(r'^```(\w+) title="(.+?)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


class Copy(NamedTuple):
    """A copy of the repository with the examples in it. Do not change it.

    Attributes:
        folder: of the copy.
        environment: in which Python finds the copy's modules.
    """

    folder: Path
    environment: Mapping[str, str]


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    folder = tmp_path_factory.mktemp("extended")
    for name in (str(PACKAGE), "tests"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for language, title, text in BLOCK.findall((ROOT / "docs" / "extending.md").read_text()):
        path = folder / (title if title.startswith("tests/") else PACKAGE / title)
        if language == "diff":
            path.write_text(changed(path.read_text(), text))
        else:
            assert not path.exists(), title
            path.write_text(text)
    modules = os.pathsep.join([str(folder / "pipeline"), str(folder)])
    return Copy(folder, {**os.environ, "PYTHONPATH": modules})


def changed(text: str, difference: str) -> str:
    """Return a text with a difference: lines that begin with a space, with `-` or with `+`."""
    lines = difference.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    assert text.count(before) == 1, before
    return text.replace(before, after)


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    """A job over five photographs, in chunks of two."""
    made = JobFolder(tmp_path, write_tiny(tmp_path / "network.onnx"))
    made.add(*(f"{name}.jpg" for name in "abcde"))
    return made


def run(copy: Copy, job: JobFolder, *settings: str) -> None:
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    job.run(*arguments, env=copy.environment).expect(0)


def test_the_reader_reads_arrays_and_names_what_is_none(extended: Copy, job: JobFolder) -> None:
    folder = job.folder / "arrays"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    for index, one in enumerate(pixels):
        np.save(folder / f"{index}.npy", one)
    np.save(folder / "grey.npy", pixels[0, :, :, 0])
    reader = "reader={kind: arrays, path: arrays}"
    preprocess = "preprocess={fit: squash, crop: 32, mean: [0, 0, 0], std: [1, 1, 1]}"
    job.run("--set", reader, "--set", preprocess, env=extended.environment).expect(3)
    assert job.paths() == ["0.npy", "1.npy", "2.npy"]
    features = np.array([row["features"] for row in job.rows()])
    np.testing.assert_allclose(features, pixels.mean(axis=(1, 2)) / 255, rtol=1e-5)
    assert job.failures()["grey.npy"]["error"] == "unsupported"


def test_the_engine_gives_the_rows_of_another_one(extended: Copy, job: JobFolder) -> None:
    expected = read_rows(job.undisturbed())
    run(extended, job, "infer.engine=reference")
    assert job.summary()["engine"]["name"] == "reference"
    found = job.rows()
    assert [row["path"] for row in found] == [row["path"] for row in expected]
    for field in ("features", "logits"):
        values, others = (np.array([row[field] for row in rows]) for rows in (found, expected))
        np.testing.assert_allclose(values, others, rtol=1e-4, atol=1e-5)


def test_the_head_makes_features_of_length_1(extended: Copy, job: JobFolder) -> None:
    features = np.array([row["features"] for row in read_rows(job.undisturbed())])
    run(extended, job, "writer.fields=[unit]")
    unit = np.array([row["unit"] for row in job.rows()])
    np.testing.assert_allclose(unit, features / np.linalg.norm(features, axis=1, keepdims=True), rtol=1e-5)
    refused = job.run("--set", "writer.fields=[unit, features]", env=extended.environment).expect(2)
    assert "no head makes all of these fields: features, unit" in refused.stderr


def test_the_writer_writes_rows_and_keeps_them_when_a_source_changes(extended: Copy, job: JobFolder) -> None:
    writer = "writer={kind: arrow, path: out, fields: [features, logits]}"
    run(extended, job, writer)
    before = arrow_rows(job)
    assert before == read_rows(job.undisturbed())
    job.change("b.jpg")
    run(extended, job, writer)
    after = arrow_rows(job)
    assert [row["path"] for row in after] == [row["path"] for row in before]
    assert [row["path"] for row, other in zip(after, before, strict=True) if row != other] == ["b.jpg"]
    assert_clean(job.out)
    check = [sys.executable, "-m", "resnet_pipe", "check", str(job.out)]
    assert subprocess.run(check, env=extended.environment, check=False).returncode == 0
    read = "import sys, resnet_pipe; sys.exit(resnet_pipe.read(sys.argv[1]).count_rows())"
    command = [sys.executable, "-c", read, str(job.out)]
    assert subprocess.run(command, env=extended.environment, check=False).returncode == len(after)


def arrow_rows(job: JobFolder) -> list[Row]:
    shards = sorted(job.out.glob("part-*.arrow"))
    return [row for path in shards for row in pa.ipc.open_file(path).read_all().to_pylist()]


def test_the_contract_suites_hold_the_examples(extended: Copy) -> None:
    suites = [f"tests/{room}/test_contract.py" for room in ("reader", "infer", "head", "writer")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *suites],
        cwd=extended.folder,
        env=extended.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", ["architecture.md", "extending.md"])
def test_every_file_and_every_test_that_a_page_names_is_there(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", (ROOT / "docs" / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    spans = set(re.findall(r"`([^`\n]+)`", text))
    paths = {span for span in spans if re.fullmatch(r"[\w./]*(\.py|/)", span)}
    assert len(paths) > 5
    assert [
        path for path in paths if not (ROOT / path).exists() and not (ROOT / PACKAGE / path).exists()
    ] == []
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = {span for span in spans if re.fullmatch(r"test_\w+", span)}
    assert [name for name in named if f"def {name}(" not in tests] == []
