"""Names of files that are of one source alone."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resnet_pipe.store.names import key_of
from resnet_pipe.writer.annotated import names
from resnet_pipe.writer.registry import SECTIONS


def mirrored(folder: str, key: str, suffix: str) -> Path:
    """Return the path of a file of the writer whose folder this is."""
    return names.mirrored(folder, key, suffix, SECTIONS[folder].suffixes)


SUFFIXES = {"npy": (".npy", ".csv"), "video": (".mp4",), "images": (".jpg", "")}
LONG = mirrored("video", "x" * 255, ".mp4")
TAKEN = mirrored("images", "a.jpg/b", ".jpg")
"""What others become, and a source may be called."""
FILES = [(folder, suffix) for folder, suffixes in SUFFIXES.items() for suffix in suffixes]

_BYTES = st.binary(min_size=1, max_size=300).map(lambda name: name.translate(None, b"\0/")[:255])
_NAMES = st.one_of(
    _BYTES,
    st.sampled_from(
        [b"a", b"b.jpg", b"clip.mp4", b"B.NPY", b"x.csv", b"~", b"\xff\xfe", "ä☃".encode(), b"x" * 255]
    ),
).filter(lambda name: name not in (b"", b".", b".."))
_PATHS = st.lists(_NAMES, min_size=1, max_size=4).map(b"/".join)


@pytest.mark.parametrize(("folder", "suffix"), FILES)
def test_a_name_is_the_key_with_its_folders_and_a_suffix(folder: str, suffix: str) -> None:
    for name in ("a.mov", "day 1/b.b/ä ☃.mov", "-rf", "a\nb", "x" * 251):
        assert mirrored(folder, key_of(name), suffix) == Path(folder, name + suffix)


def test_bytes_that_are_no_text_stay_as_they_are() -> None:
    name = os.fsdecode(b"\xff\xfe/\\x41.mov")
    assert os.fsencode(mirrored("video", key_of(name), ".mp4")) == b"video/\xff\xfe/\\x41.mov.mp4"


def test_a_name_that_would_be_too_long_keeps_its_beginning_and_its_suffix() -> None:
    long = mirrored("video", "ä" * 126 + ".mov", ".mp4").name
    assert len(os.fsencode(long)) <= 255
    assert long.startswith("ä" * 100)
    assert long.endswith(".mp4")
    other = mirrored("video", "ä" * 126 + ".mpg", ".mp4").name
    assert long != other


@pytest.mark.parametrize("key", ["../up.mov", "../../up.mov", "a/../../up.mov", "/etc/passwd", "..", "a/.."])
@pytest.mark.parametrize(("folder", "suffix"), FILES)
def test_no_key_leads_out_of_the_folder(key: str, folder: str, suffix: str) -> None:
    path = mirrored(folder, key, suffix)
    assert not path.is_absolute()
    assert path.parts[0] == folder
    assert len(path.parts) > 1
    assert ".." not in path.parts


def test_a_folder_is_never_in_the_place_of_a_file() -> None:
    file, below = (mirrored("images", key, ".jpg") for key in ("a.png", "a.png.jpg/b.png"))
    assert file not in below.parents


def test_a_folder_that_ends_like_the_files_of_another_writer_keeps_its_name() -> None:
    assert mirrored("images", "clip.mp4", "") == Path("images/clip.mp4")


@given(st.lists(_PATHS, min_size=2, max_size=6, unique=True), st.sampled_from(FILES))
@example([b"x" * 255, LONG.stem.encode()], ("video", ".mp4"))
@example([b"a.jpg/b", TAKEN.parts[1].encode() + b"/b"], ("images", ".jpg"))
@example([b"/".join([b"x" * 255] * 6), b"/".join([b"x" * 255] * 5 + [b"y"])], ("npy", ".csv"))
def test_no_two_keys_share_a_path_and_every_path_fits(keys: list[bytes], file: tuple[str, str]) -> None:
    paths = [PurePath(mirrored(file[0], key_of(os.fsdecode(key)), file[1])) for key in keys]
    assert len(set(paths)) == len(paths)
    for path in paths:
        assert path.parts[0] == file[0]
        assert all(0 < len(os.fsencode(part)) <= 255 for part in path.parts)
        assert len(os.fsencode(path)) < 1400
    if file[1]:  # all are files
        assert all(one not in other.parents for one in paths for other in paths)
