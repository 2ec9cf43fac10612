"""What a directory of earlier says about its rows is understood by later versions."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import resnet_pipe
from resnet_pipe.job import job as jobs
from resnet_pipe.job.resolve import resolve
from tests.run.jobs import HOME, JobFolder, assert_clean, records, states

DATA = Path(__file__).parents[1] / "data"
PACKAGE = Path(resnet_pipe.__file__).parent

DEFAULTS: dict[str, Any] = {
    "model_data_sha256": [],
    "preprocess.resize": None,
    "preprocess.fit": "crop",
    "preprocess.pad_value": 0,
    "infer.activation": "softmax",
    "preprocess.interpolation": "bilinear",
    "preprocess.color": "rgb",
    "preprocess.mode": "exact",
}
OF_READERS: dict[str, dict[str, Any]] = {
    "images": {"accept_truncated": False},
    "video": {
        "backend": "pyav",
        "track": None,
        "every": None,
        "fps": None,
        "count": None,
        "keyframes": False,
        "start": None,
        "end": None,
        "max_frames": None,
        "partial": "keep",
    },
}
OF_WRITERS: dict[str, dict[str, Any]] = {
    "parquet": {"k": 5, "fields": ["features", "top_k"], "aggregate": "none"},
    "csv": {"k": 5, "fields": ["top_k"], "aggregate": "none"},
    "jsonl": {"k": 5, "fields": ["top_k"], "aggregate": "none"},
    "npy": {"aggregate": "none", "field": "features", "layout": "per_source"},
    "images": {"k": 3, "font": None, "quality": 90},
    "video": {"k": 3, "font": None, "crf": 23},
}


@pytest.fixture
def version_1(tmp_path: Path) -> JobFolder:
    """A directory that version 0.1.0 has written, with a fingerprint and records of schema version 1."""
    folder = tmp_path / "directory-1"
    shutil.copytree(DATA / "directory-1", folder)
    for record in records(folder / "out"):
        for source in record["sources"]:
            os.utime(folder / "images" / source["key"], ns=(source["mtime_ns"], source["mtime_ns"]))
    return JobFolder(folder, folder / "tiny.onnx")


def test_a_directory_of_version_1_is_gone_on_with(version_1: JobFolder) -> None:
    before = states(version_1.out)
    version_1.run().expect(0)
    assert states(version_1.out) == before
    version_1.add("d.jpg")
    version_1.run().expect(0)
    assert version_1.paths() == ["a.jpg", "b.jpg", "d.jpg"]
    assert_clean(version_1.out)
    version_1.run().expect(0)
    said = version_1.run("--set", "reader.accept_truncated=true").expect(2).stderr
    assert "reader.accept_truncated: false -> true" in said
    assert said.count(" -> ") == 1


@pytest.mark.parametrize("form", ["version 1", "today's"])
def test_a_later_version_with_one_more_key_that_has_a_default_accepts_the_directory(
    version_1: JobFolder, tmp_path: Path, form: str
) -> None:
    if form == "today's":
        version_1.add("d.jpg")
        version_1.run().expect(0)
    later = tmp_path / "later"
    shutil.copytree(PACKAGE, later / "resnet_pipe", ignore=shutil.ignore_patterns("__pycache__"))
    section = later / "resnet_pipe" / "reader" / "images" / "section.py"
    known = "    allow_empty: AllowEmpty = False\n"
    assert known in section.read_text()
    section.write_text(
        section.read_text().replace(known, known + '    sharpened: Literal["no", "yes"] = "no"\n')
    )
    environment = {"PYTHONPATH": os.pathsep.join([str(later), *filter(None, sys.path)])}
    before = states(version_1.out)
    version_1.run(env=environment).expect(0)
    assert states(version_1.out) == before
    said = version_1.run("--set", "reader.sharpened=yes", env=environment).expect(2).stderr
    assert 'reader.sharpened: "no" -> "yes"' in said
    assert said.count(" -> ") == 1


def test_the_name_of_the_model_changes_no_row_and_no_fingerprint(version_1: JobFolder) -> None:
    before = states(version_1.out)
    (version_1.folder / "tiny.onnx").rename(version_1.folder / "other.onnx")
    version_1.run("--set", "infer.model=other.onnx").expect(0)
    assert states(version_1.out) == before


def test_a_fingerprint_of_a_newer_version_is_an_error_that_changes_nothing(done: JobFolder) -> None:
    path = done.out / HOME / "fingerprint.json"
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 99'))
    before = states(done.out)
    done.add("0005.jpg")
    assert "a newer resnet-pipe" in done.run().expect(1).stderr
    assert states(done.out) == before
    assert '"schema_version": 99' in path.read_text()


def test_rows_of_another_making_are_not_mixed_in_although_their_fingerprint_is_gone(done: JobFolder) -> None:
    (done.out / HOME / "fingerprint.json").unlink()
    before = states(done.out)
    done.change("0000.jpg")
    said = done.run("--set", "writer.fields=[logits]").expect(2).stderr
    assert "fingerprint.json" in said
    assert states(done.out) == before
    done.run().expect(0)
    assert_clean(done.out)


@pytest.mark.parametrize("reader", OF_READERS)
@pytest.mark.parametrize("writer", OF_WRITERS)
def test_the_defaults_of_schema_version_2_are_these(version_1: JobFolder, reader: str, writer: str) -> None:
    """Never change one: the rows of every directory that left it out were made with it."""
    if writer == "video" and reader == "images":
        pytest.skip("writer kind `video` needs reader kind `video`")
    sections = (f"reader={{kind: {reader}, path: images}}", f"writer={{kind: {writer}, path: out}}")
    found = resolve(*jobs.load(version_1.file, sections)).fingerprint
    of_reader = {f"reader.{name}": value for name, value in OF_READERS[reader].items()}
    of_writer = {f"writer.{name}": value for name, value in OF_WRITERS[writer].items()}
    if "top_k" not in found.defaults.get("writer.fields", ["top_k"]):
        of_writer.pop("k", None)
    expected = {**DEFAULTS, **of_reader, **of_writer}
    assert {name: found.defaults.get(name) for name in expected} == expected
