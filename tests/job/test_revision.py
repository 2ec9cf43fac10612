"""A YAML file whose values are changed: nothing else in it does, and it is never half written."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from resnet_pipe.errors import UsageError
from resnet_pipe.job.document import read
from resnet_pipe.job.revision import revise, sections

JOB = """\
# The nightly job.   "quoted"
name:   'nightly'
infer:     {model: a.onnx, batch_size: auto,   device: cpu }  # the network

run:            # how
    workers: 3  # as many as there are
    # no more than
    grace_s: 5
# the end
"""


def revised(folder: Path, text: str, **changes: object) -> str:
    path = folder / "job.yaml"
    path.write_bytes(text.encode())
    revise(path, {name.replace("__", "."): value for name, value in changes.items()})
    return path.read_bytes().decode()


def test_a_value_is_replaced_where_it_stands(tmp_path: Path) -> None:
    assert revised(tmp_path, JOB, infer__batch_size=16, run__workers="auto") == JOB.replace(
        "batch_size: auto,", "batch_size: 16,"
    ).replace("workers: 3 ", "workers: auto ")


def test_a_missing_key_comes_at_the_end_of_its_section_in_the_form_of_that(tmp_path: Path) -> None:
    assert revised(tmp_path, JOB, infer__streams=2, infer__threads=4, run__chunk_items=9) == JOB.replace(
        "device: cpu }", "device: cpu, streams: 2, threads: 4 }"
    ).replace("grace_s: 5\n", "grace_s: 5\n    chunk_items: 9\n")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("name: x\n", "name: x\nrun: {workers: 2, grace_s: 1}\n"),
        ("name: x", "name: x\nrun: {workers: 2, grace_s: 1}\n"),
        ("a: {b: 1}\n\n# end\n", "a: {b: 1}\n\n# end\nrun: {workers: 2, grace_s: 1}\n"),
        ('{"name": "x"}\n', '{"name": "x", run: {workers: 2, grace_s: 1}}\n'),
        ("name: x\r\n# y\r\n", "name: x\r\n# y\r\nrun: {workers: 2, grace_s: 1}\r\n"),
        ("run:\r\n  a: 1 # y\r\n", "run:\r\n  a: 1 # y\r\n  workers: 2\r\n  grace_s: 1\r\n"),
        ("run: { }  # y\n", "run: {workers: 2, grace_s: 1 }  # y\n"),
        ("run:\n  a: 1", "run:\n  a: 1\n  workers: 2\n  grace_s: 1"),
        ("run: {a: 'ü', b: [1, 2]}", "run: {a: 'ü', b: [1, 2], workers: 2, grace_s: 1}"),
    ],
)
def test_what_is_missing_is_added(tmp_path: Path, text: str, wanted: str) -> None:
    assert revised(tmp_path, text, run__workers=2, run__grace_s=1) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "run: {workers: &w 3}\ninfer: {streams: *w}\n",
        "base: &b {workers: 3}\nrun: *b\n",
        "run: 3\n",
        "run:\n  workers: {a: 1}\n",
        "name: |\n  x\n...\n",
    ],
    ids=["anchor", "alias", "scalar", "mapping", "end of document"],
)
def test_what_cannot_be_changed_by_itself_is_left_and_said(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        revised(tmp_path, text, run__workers=2)
    assert (tmp_path / "job.yaml").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["job.yaml"]


def test_a_link_stays_one_and_the_mode_is_kept(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    target = tmp_path / "jobs" / "real.yaml"
    target.write_text(JOB)
    target.chmod(0o640)
    link = tmp_path / "job.yaml"
    link.symlink_to("jobs/real.yaml")
    revise(link, {"run.workers": 2})
    assert link.is_symlink()
    assert target.read_text() == JOB.replace("workers: 3", "workers: 2")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert [path.name for path in target.parent.iterdir()] == ["real.yaml"]


def test_a_read_only_file_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    path.chmod(0o444)
    with pytest.raises(UsageError, match=r"job\.yaml is read-only"):
        revise(path, {"run.workers": 2})
    assert path.read_text() == JOB


def test_sections_are_printed_as_they_are_to_read(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    doc = read(tmp_path / "job.yaml")
    assert sections(doc, {"infer.batch_size": 16, "infer.streams": 2}) == (
        "infer: {model: a.onnx, batch_size: 16, device: cpu, streams: 2}\n"
    )
    assert sections(doc, {"run.workers": 2}) == "run: {workers: 2, grace_s: 5}\n"
    assert sections(doc, {"other.key": 2}) == "other: {key: 2}\n"
