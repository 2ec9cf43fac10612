"""What every writer promises, asked of every writer in the registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_pipe.head.registry import FieldName
from resnet_pipe.writer.registry import SECTIONS
from tests.networks import write_tiny
from tests.run.jobs import JobFolder, assert_clean, numbered
from tests.videos import SAMPLES, make
from tests.writer.shards import (
    CLASSES,
    TABLES,
    columns,
    expected,
    join,
    merge,
    read,
    rows,
    schema,
    section,
    target,
    write,
)

ODD = [
    "\ttab", "\rcr", " spaces ", "'quoted'", "''", "'=1+1", '"quoted".jpg', "=1+1", "+1", "-1", "@sum",
    "a,b;c.jpg", "a\nb\r\nc.jpg", "back\\\\slash\\xff.jpg",
    "cr\r.jpg", "none", "null", "ä/☃/𝄞.jpg", "\u2028line\x85.jpg",
]  # fmt: skip
"""Names that files may have, sorted."""


@pytest.fixture(params=TABLES)
def kind(request: pytest.FixtureRequest) -> str:
    """A kind of shard."""
    name: str = request.param
    return name


def test_every_value_is_read_back_with_the_bits_it_had(tmp_path: Path, kind: str) -> None:
    parts = [rows([f"{part}-{n:03d}.jpg" for n in range(count)], seed=part) for part, count in
             enumerate((1, 64, 200, 3))]  # fmt: skip
    path = write(tmp_path / "shard", kind, schema(kind), *parts)
    assert read(path, kind, schema(kind)) == expected(join(*parts), schema(kind))


def test_names_and_labels_may_hold_anything_that_text_may_hold(tmp_path: Path, kind: str) -> None:
    given = rows(sorted(ODD), k=len(CLASSES))
    made = schema(kind, k=len(CLASSES))
    found = read(write(tmp_path / "shard", kind, made, given), kind, made)
    assert found == expected(given, made)
    assert {label for row in found for _, label, _ in row["top_k"]} == set(CLASSES)


def test_images_have_no_frame_and_frames_have_number_and_time(tmp_path: Path, kind: str) -> None:
    images, frames = rows(["a.jpg", "b.jpg"]), rows(12 * ["c.mp4"], frames=True)
    path = write(tmp_path / "shard", kind, schema(kind), images, frames)
    found = [(row["frame_index"], row["pts_s"]) for row in read(path, kind, schema(kind))]
    assert found == [(None, None), (None, None), *((index, index / 29.97) for index in range(12))]


def test_the_fields_are_those_asked_for_in_that_order(tmp_path: Path, kind: str) -> None:
    chosen: tuple[FieldName, ...] = ("top_k", "logits")
    for fields in (chosen, chosen[::-1], chosen[:1], chosen[1:]):
        made = schema(kind, fields=fields)
        path = write(tmp_path / "shard", kind, made, rows(["a", "b"]))
        (first, _) = read(path, kind, made)
        assert tuple(first) == ("path", "frame_index", "pts_s", *fields)


def test_a_shard_without_rows_is_valid(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "shard", kind, schema(kind))
    assert read(path, kind, schema(kind)) == []


def test_a_merge_drops_what_is_gone_and_sorts_the_rest_by_path_and_frame(tmp_path: Path, kind: str) -> None:
    made = schema(kind)
    video = rows(12 * ["b.mp4"], frames=True, seed=1)
    old = join(rows(["\n", "a,1", "a,2"]), video, rows(["z", "ä"], seed=2))
    new = rows(["a,1", "a,3", "c", "\U0001d11e"], seed=3)
    write(tmp_path / "old", kind, made, old)
    write(tmp_path / "new", kind, made, new)
    parts = (tmp_path / "old", {"a,1", "z", "never there"}), (tmp_path / "new", {"c"})
    out = merge(tmp_path / "out", kind, made, *parts)
    wanted = [row for row in expected(old, made) if row["path"] not in {"a,1", "z"}]
    wanted += [row for row in expected(new, made) if row["path"] != "c"]
    wanted.sort(key=lambda row: (row["path"], row["frame_index"] or 0))
    assert read(out, kind, made) == wanted
    assert len(wanted) == 18


@pytest.mark.parametrize(("old", "new"), [([], ["a"]), (["a"], []), (["gone"], []), ([], [])])
def test_a_merge_takes_shards_without_rows(tmp_path: Path, kind: str, old: list[str], new: list[str]) -> None:
    made = schema(kind)
    for name, keys in (("old", old), ("new", new)):
        write(tmp_path / name, kind, made, *([rows(keys)] if keys else []))
    out = merge(tmp_path / "out", kind, made, (tmp_path / "old", {"gone"}), (tmp_path / "new", ()))
    assert [row["path"] for row in read(out, kind, made)] == [*{*old, *new} - {"gone"}]


def test_a_merge_of_a_merge_changes_no_byte(tmp_path: Path, kind: str) -> None:
    made = schema(kind)
    one = write(tmp_path / "one", kind, made, rows(sorted(ODD)))
    two = merge(tmp_path / "two", kind, made, (tmp_path / "one", ()))
    three = merge(tmp_path / "three", kind, made, (tmp_path / "two", ()))
    assert two.read_bytes() == three.read_bytes()
    assert read(three, kind, made) == read(one, kind, made)


@pytest.fixture(params=SECTIONS)
def any_kind(request: pytest.FixtureRequest) -> str:
    """A kind of writer, of tables or of pictures."""
    name: str = request.param
    return name


def test_a_writer_makes_the_files_that_its_section_says_and_no_others(tmp_path: Path, any_kind: str) -> None:
    make(tmp_path, SAMPLES["one.mp4"])
    made = section(any_kind)
    given = rows(["one.mp4"], frames=True, k=made.k)
    out = tmp_path / "out"
    opened = made.open(target(out, columns(made.fields, made.k), root=tmp_path))
    opened.append(given.batch(columns(made.fields, made.k)))
    written = opened.close()
    own = [path for files in written.files.values() for path in files]
    found = {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
    assert found == {*own, *(path for path in found if str(path).startswith("part-000000."))}
    assert bool(own) is bool(made.suffixes)
    assert all(path.parts[0] == any_kind and path.name.endswith(made.suffixes) for path in own)
    assert written.failures == {}


def test_a_writer_that_is_hurried_and_discarded_leaves_nothing_running(tmp_path: Path, any_kind: str) -> None:
    made = section(any_kind)
    opened = made.open(target(tmp_path / "out", columns(made.fields, made.k)))
    opened.hurry()
    opened.discard()
    opened.discard()


def test_a_section_describes_its_writer(any_kind: str) -> None:
    made = section(any_kind)
    assert made.kind == any_kind
    assert made.fields
    assert made.number_bytes >= 4
    assert made.over_frames is None
    assert type(made).__doc__


FAULT = """
import errno
from resnet_pipe.writer.registry import SECTIONS
opened = []
class Broken:
    def __init__(self, inner):
        self.inner = inner
        self.close, self.discard, self.hurry, self.copy = inner.close, inner.discard, inner.hurry, inner.copy
        opened.append(self)
    def append(self, batch):
        self.inner.append(batch)
        if len(opened) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
for section in SECTIONS.values():
    section.open = lambda self, target, open=section.open: Broken(open(self, target))
"""


def test_a_writer_that_fails_in_the_middle_leaves_complete_shards_only(tmp_path: Path, kind: str) -> None:
    job = JobFolder(tmp_path, write_tiny(tmp_path / "tiny.onnx"))
    job.write(kind=kind, fields="[top_k]")
    job.add(*numbered(5))
    said = job.run(faults=FAULT).expect(1).stderr
    assert "No space left on device" in said
    assert [path.name for path in job.out.glob("*part*")] == [f"part-000000.{kind}"]
    assert_clean(job.out)
    job.run("--set", "run.workers=2").expect(0)
    assert len(list(job.out.glob("part-*"))) == 3
    assert_clean(job.out)
