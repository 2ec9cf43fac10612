"""Videos, and parts of videos, that manifests name: the frames of the same range of the whole file."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from resnet_pipe.errors import UsageError
from resnet_pipe.reader.manifests.clip import Clip, clip_of, key_of_clip
from resnet_pipe.reader.manifests.section import ManifestSection
from resnet_pipe.reader.source import Source
from resnet_pipe.reader.video.reader import VideoReader
from tests.reader.reading import Reading, read, read_span

Row = tuple[Any, Any, Any]


@pytest.fixture
def folder(tmp_path: Path, videos: Path) -> Path:
    """A folder with two videos of 1.6 seconds, and one of a name like a part of another one."""
    (tmp_path / "films").mkdir()
    for name in ("a.mp4", "a.mp4#t=1", "b c.mp4"):
        shutil.copy(videos / "h264.mp4", tmp_path / "films" / name)
    return tmp_path


def write(file: Path, rows: Sequence[Row]) -> None:
    """Write a manifest of paths, and where parts of them start and end."""
    names = ("path", "begin_s", "end_s")
    if file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    elif file.suffix == ".parquet":
        pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), file)
    else:
        with file.open("w", newline="") as out:
            csv.writer(out).writerows([names, *rows])


def reader(file: Path, video: dict[str, Any] | None = None, **keys: Any) -> VideoReader:  # noqa: ANN401
    values = {"kind": "manifest", "path": str(file), "start": "begin_s", "end": "end_s", **keys}
    made = ManifestSection.model_validate({**values, "video": video or {}}).make_reader()
    assert isinstance(made, VideoReader)
    return made


def assert_same(found: Reading, expected: Reading) -> None:
    assert [row[:3] for row in found.rows] == [row[:3] for row in expected.rows]
    assert all((one.frame == other.frame).all() for one, other in zip(found.rows, expected.rows, strict=True))
    assert str(found.failure) == str(expected.failure)
    assert found.counts == expected.counts


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    "video", [{}, {"fps": 7}, {"count": 2, "backend": "opencv"}, {"every": 3, "max_frames": 4}]
)
def test_rows_are_those_of_the_range_of_the_video(suffix: str, video: dict[str, Any], folder: Path) -> None:
    rows: list[Row] = [
        ("films/a.mp4", None, None),
        ("films/a.mp4", 0.4, 1.0),
        ("films/a.mp4", 0.28, None),
        ("films/b c.mp4", None, 0.7),
        ("films/a.mp4", 0.4, 1.0),
    ]
    write(folder / f"clips{suffix}", rows)
    ours = reader(folder / f"clips{suffix}", video)
    expected: dict[str, dict[str, Any]] = {
        "films/a.mp4": {},
        "films/a.mp4#t=0.28": {"start": 0.28},
        "films/a.mp4#t=0.4,1": {"start": 0.4, "end": 1.0},
        "films/b c.mp4#t=,0.7": {"end": 0.7},
    }
    assert [source.key for source in ours.list_sources()] == sorted(expected)
    for key, limits in expected.items():
        assert_same(read_span(ours, key, None), read(folder / "films/a.mp4", **video, **limits))


def test_a_source_is_the_file_and_what_its_key_says(folder: Path) -> None:
    write(
        folder / "clips.csv",
        [("films/a.mp4", "", ""), ("films/a.mp4", "0.2", ""), ("films/gone.mp4", "1", "2")],
    )
    status = (folder / "films/a.mp4").stat()
    assert list(reader(folder / "clips.csv").list_sources()) == [
        Source("films/a.mp4", status.st_size, status.st_mtime_ns),
        Source("films/a.mp4#t=0.2", status.st_size, status.st_mtime_ns),
        Source("films/gone.mp4#t=1,2", 0, 0),
    ]
    assert read_span(reader(folder / "clips.csv"), "films/gone.mp4#t=1,2", None).error == "missing"


def test_a_part_of_a_long_video_is_read_in_spans(folder: Path) -> None:
    write(folder / "clips.csv", [("films/a.mp4", "0.2", "1.3")])
    ours = replace(reader(folder / "clips.csv"), span_s=0.4, long_bytes=0)
    (source,) = ours.list_sources()
    spans = ours.spans(source)
    assert len(spans) > 1
    rows = [row for span in spans for row in read_span(ours, source.key, span).rows]
    whole = read(folder / "films/a.mp4", start=0.2, end=1.3)
    assert_same(Reading(rows, whole.counts), whole)


def test_a_name_like_that_of_a_part_is_no_part(folder: Path) -> None:
    write(
        folder / "clips.csv",
        [("films/a.mp4#t=1", "", ""), ("films/a.mp4", "1", ""), ("films/a.mp4#t=1", "0.5", "")],
    )
    ours = reader(folder / "clips.csv")
    keys = [source.key for source in ours.list_sources()]
    assert keys == ["films/a.mp4#t=1", "films/a.mp4#t=1#t=0", "films/a.mp4#t=1#t=0.5"]
    found = [read_span(ours, key, None) for key in keys]
    assert [one.indices for one in found] == [
        read(folder / "films/a.mp4", start=start).indices for start in (1, 0, 0.5)
    ]


@pytest.mark.parametrize(
    ("start", "end", "key"),
    [
        (None, "", "v"),
        ("10.50", 20, "v#t=10.5,20"),
        (10, None, "v#t=10"),
        ("", "0020.0", "v#t=,20"),
        (1e-7, "1e1", "v#t=0.0000001,10"),
        (" 007 ", ".5e2", "v#t=7,50"),
        (0, None, "v#t=0"),
        (0.1 + 0.2, 1, "v#t=0.30000000000000004,1"),
    ],
)
def test_keys_are_media_fragments_one_for_each_part(start: object, end: object, key: str) -> None:
    assert key_of_clip("v", start, end) == key
    clip = clip_of(key)
    assert clip.file == "v"
    for value, number in ((start, clip.start), (end, clip.end)):
        assert number == (Fraction(str(value).strip()) if str(value or "").strip() or value == 0 else None)


@pytest.mark.parametrize(
    "name",
    ["v#t=", "v#t=x", "v#t=1,", "v#t=1,2,3", "v#t=-1", "v#t=1s", "v#t=.5", "#t=5", "v#t=1.mp4", "v#t=\u0661"],
)
def test_other_keys_are_names(name: str) -> None:
    assert clip_of(name) == Clip(name)
    assert key_of_clip(name) == name
    assert clip_of(key_of_clip(name, 3)) == Clip(name, Fraction(3))


BAD: list[tuple[object, object]] = [
    ("-1", ""),
    ("nan", ""),
    (math.inf, None),
    ("1:30", ""),
    (True, None),
    ([1], None),
    ("1e400", None),
    ("1" * 50, None),
    ("1_000", None),
    ("\u0663", None),
    (2, 1),
    (1, "1.0"),
    (None, 0),
    ("0", "0"),
]


def test_a_row_that_says_no_part_fails_and_is_named(folder: Path) -> None:
    write(folder / "clips.jsonl", [("films/a.mp4", *times) for times in BAD] + [("films/a.mp4", 0, 1)])
    ours = reader(folder / "clips.jsonl")
    keys = [source.key for source in ours.list_sources()]
    assert keys == sorted(
        ["films/a.mp4#t=0,1", *(f"clips.jsonl//{number}#t=" for number in range(1, len(BAD) + 1))]
    )
    failed = read_span(ours, "clips.jsonl//3#t=", None)
    assert failed.failure is not None
    assert failed.error == "unsupported"
    assert failed.failure.message.startswith("row 3 of clips.jsonl says no clip: start and end are seconds")
    write(folder / "clips.jsonl", [(None, 1, 2), ("../x.mp4", 1, 2), ("s3://b/x.mp4", 1, 2)])
    errors = {source.key: read_span(ours, source.key, None).error for source in ours.list_sources()}
    assert list(errors.values()).count("unsupported") == 2
    assert errors["clips.jsonl//1"] == "missing"


def test_a_column_that_is_not_there_is_named(folder: Path) -> None:
    write(folder / "clips.csv", [("films/a.mp4", "", "")])
    with pytest.raises(UsageError, match="no column 'until'") as caught:
        list(reader(folder / "clips.csv", end="until").list_sources())
    assert caught.value.remedy == "reader.end: one of path, begin_s, end_s"


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"start": "begin_s"}, "add `video: {}`"),
        ({"video": {"every": 2, "fps": 3}}, "every and fps cannot be combined"),
        ({"video": {"start": 3}}, "Extra inputs"),
        ({"video": {}, "accept_truncated": True}, "accept_truncated is of images"),
    ],
)
def test_what_does_not_go_together_is_refused(keys: dict[str, Any], why: str, folder: Path) -> None:
    write(folder / "clips.csv", [])
    with pytest.raises(ValidationError, match=why):
        ManifestSection.model_validate({"kind": "manifest", "path": str(folder / "clips.csv"), **keys})


def test_such_a_section_describes_videos(folder: Path) -> None:
    write(folder / "clips.csv", [])
    values = {"kind": "manifest", "path": str(folder / "clips.csv")}
    videos = ManifestSection.model_validate({**values, "video": {"track": 1, "partial": "drop"}})
    images = ManifestSection.model_validate(values)
    assert (videos.description.source, videos.description.has_frames) == ("video", True)
    assert (images.description.source, images.description.has_frames) == ("image", False)
    assert (videos.track, videos.drops_partial, images.track, images.drops_partial) == (1, True, None, False)
    assert videos.worker_bytes > images.worker_bytes
