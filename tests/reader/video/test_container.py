"""Telling from the outermost structure of a file that its end is missing."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from resnet_pipe.reader.opened import DiskFile
from resnet_pipe.reader.video import container
from tests.videos import SAMPLES, VP9, Recipe, cut_off, make, x264

SAY = [name for name in SAMPLES if Path(name).suffix in (".mp4", ".mov", ".mkv", ".webm", ".avi")]
"""Files that say how long they are."""


def ends_early(path: Path) -> bool:
    with closing(DiskFile(path)) as opened:
        return container.ends_early(opened)


def is_known(path: Path) -> bool:
    with closing(DiskFile(path)) as opened:
        return container.is_known(opened)


@pytest.mark.parametrize("name", SAMPLES)
def test_whole_files_do_not_end_early(name: str, videos: Path) -> None:
    assert is_known(videos / name)
    assert not ends_early(videos / name)


@pytest.mark.parametrize("name", SAY)
def test_files_that_say_how_long_they_are_are_missed_a_byte(name: str, videos: Path, tmp_path: Path) -> None:
    size = (videos / name).stat().st_size
    for kept in (12, 40, 300, size // 3, size // 2, size - 100, size - 1):
        assert ends_early(cut_off(videos / name, tmp_path / name, kept)), kept


def test_transport_streams_are_missed_part_of_a_packet(videos: Path, tmp_path: Path) -> None:
    for name in ("h264.ts", "mpeg2.ts"):
        size = (videos / name).stat().st_size
        assert ends_early(cut_off(videos / name, tmp_path / name, size - 1))
        assert ends_early(cut_off(videos / name, tmp_path / name, 188 * 20 + 100))
        assert not ends_early(cut_off(videos / name, tmp_path / name, 188 * 20))


def test_files_that_were_never_finished_say_nothing_of_their_length(tmp_path: Path) -> None:
    live = make(tmp_path, Recipe("live.mkv", "libx264", x264(), muxer={"live": "1"}))
    assert not ends_early(cut_off(live, tmp_path / "cut.mkv", 0.7))
    fragments = make(
        tmp_path, Recipe("live.mp4", "libx264", x264(), muxer={"movflags": "frag_keyframe+empty_moov"})
    )
    assert ends_early(cut_off(fragments, tmp_path / "cut.mp4", 0.7))


def test_an_mp4_box_may_reach_to_the_end_or_have_a_long_length(tmp_path: Path, videos: Path) -> None:
    data = (videos / "h264-first-moov.mp4").read_bytes()
    start = data.index(b"mdat") - 4
    path = tmp_path / "open.mp4"
    path.write_bytes(data[:start] + bytes(4) + data[start + 4 :])
    assert not ends_early(path)
    body = data[start + 8 :]
    for length, early in ((16 + len(body), False), (17 + len(body), True)):
        path.write_bytes(data[:start] + b"\0\0\0\1mdat" + length.to_bytes(8, "big") + body)
        assert ends_early(path) == early


def test_nonsense_does_not_end_early_nor_is_it_known(tmp_path: Path) -> None:
    path = tmp_path / "nonsense"
    for content in (b"?", b"<!DOCTYPE html>" * 60, bytes(2000)):
        path.write_bytes(content)
        assert not ends_early(path)
        assert not is_known(path)
    path.write_bytes(b"\0\0\0\x08ftyp\0\0\0\3free")
    assert not ends_early(path), "a box that is shorter than its header is damage"


@pytest.mark.parametrize("name", ["a.nut", "a.mxf", "a.asf", "a.flv", "a.ivf", "a.mpg", "a.ts", "a.m2ts"])
def test_other_containers_are_known(name: str, tmp_path: Path) -> None:
    codec, options = {
        "a.ivf": ("libvpx-vp9", VP9),
        "a.mxf": ("mpeg2video", {}),
        "a.asf": ("mpeg4", {}),
        "a.mpg": ("mpeg2video", {}),
    }.get(name, ("libx264", x264()))
    path = make(tmp_path, Recipe(name, codec, options, frames=4))
    assert is_known(path)
    assert not ends_early(path)
