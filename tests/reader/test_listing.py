"""Listing: which files are sources, and in which order."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_pipe.errors import RunError
from resnet_pipe.reader.listing import PassedOver, check_entry, list_files, root_of
from resnet_pipe.reader.source import Source
from resnet_pipe.store.names import key_of, path_of

JPG = frozenset([".jpg"])


def keys(*entries: Path, recursive: bool = True, extensions: frozenset[str] = JPG) -> list[str]:
    return [source.key for source in list_files(entries, recursive, extensions)]


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_a_source_is_its_key_its_size_and_its_time_of_modification(tmp_path: Path) -> None:
    make(tmp_path, "sub/a.jpg")
    os.utime(tmp_path / "sub/a.jpg", ns=(1, 123_456_789_012_345_678))
    expected = Source("sub/a.jpg", 9, 123_456_789_012_345_678)
    assert list(list_files([tmp_path], True, JPG)) == [expected]


def test_a_directory_stands_for_the_files_below_it_with_a_known_extension(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b.JPG", "c.txt", "jpg", "sub/d.Jpg", "sub/deep/e.jpg", "sub.jpg/f.jpg")
    assert keys(tmp_path) == ["a.jpg", "b.JPG", "sub.jpg/f.jpg", "sub/d.Jpg", "sub/deep/e.jpg"]
    assert keys(tmp_path, recursive=False) == ["a.jpg", "b.JPG"]


def test_directories_that_a_file_system_gives_one_number_are_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = Path.stat

    def numberless(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        mode, _, *others = stat(path, follow_symlinks=follow_symlinks)
        return os.stat_result((mode, 0, *others))

    make(tmp_path, "a.jpg", "sub/b.jpg", "sub/deep/c.jpg")
    (tmp_path / "sub/circle").symlink_to(tmp_path)
    monkeypatch.setattr(Path, "stat", numberless)
    assert keys(tmp_path) == ["a.jpg", "sub/b.jpg", "sub/deep/c.jpg"]


def test_files_that_are_passed_over_are_counted_once_by_extension_however_the_entries_overlap(
    tmp_path: Path,
) -> None:
    make(
        tmp_path,
        "a.jpg",
        "b.PSD",
        "c.psd",
        "d.txt",
        "README",
        ".hidden",
        ".git/x.txt",
        "s/e.psd",
        "s/f.tar.gz",
    )
    entries = [tmp_path, tmp_path / "s", tmp_path / "**/*.psd", tmp_path / "c.psd"]
    passed_over = PassedOver()
    assert [source.key for source in list_files(entries, True, JPG, passed_over)] == ["a.jpg", "c.psd"]
    assert passed_over.to_json() == {".psd": 2, "": 1, ".gz": 1, ".txt": 1}
    assert passed_over.describe() == "passed over 2 .psd, 1 without an extension, 1 .gz, 1 .txt"


def test_only_the_most_frequent_extensions_are_told_apart(tmp_path: Path) -> None:
    make(tmp_path, *(f"{number}.{number % 1200 + 1}" for number in range(1500)), "x.1", "y.2", "y.1")
    passed_over = PassedOver()
    assert list(list_files([tmp_path], True, JPG, passed_over)) == []
    assert passed_over.describe() == "passed over 4 .1, 3 .2, 2 .10, 2 .100, 2 .101 and 1490 others"


def test_a_slash_sorts_where_its_character_does(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "a/b.jpg", "a-b/c.jpg", "a0.jpg", "a.jpg.d/e.jpg")
    assert keys(tmp_path) == ["a-b/c.jpg", "a.jpg", "a.jpg.d/e.jpg", "a/b.jpg", "a0.jpg"]


names = st.text(st.sampled_from("ab-./0~é\\\udcff").filter(lambda c: c != "/"), min_size=1, max_size=3).map(
    lambda name: "x" + name
)


@given(st.sets(st.lists(names, min_size=1, max_size=3).map("/".join), min_size=1, max_size=12))
@settings(max_examples=60)
def test_the_order_is_that_of_sorted_keys(tmp_path_factory: pytest.TempPathFactory, paths: set[str]) -> None:
    root = tmp_path_factory.mktemp("tree")
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{path}.jpg").touch()
    found = keys(root)
    assert found == sorted(key_of(f"{path}.jpg") for path in paths)
    assert keys(root, root / "**", *(root / f"{path}.jpg" for path in paths)) == found


def test_every_file_comes_once_however_the_entries_overlap(tmp_path: Path) -> None:
    make(tmp_path, "a/1.jpg", "a/b/2.jpg", "c.jpg")
    entries = [tmp_path / "a/b", tmp_path, tmp_path / "a", tmp_path / "a/1.jpg", tmp_path / "**/*.jpg"]
    assert keys(*entries) == ["a/1.jpg", "a/b/2.jpg", "c.jpg"]


@pytest.mark.parametrize(
    ("entries", "root"),
    [
        (["a"], "a"),
        (["a/1.jpg"], "a"),
        (["a/*.jpg"], "a"),
        (["a/*/x/1.jpg"], "a"),
        (["**/*.jpg"], "."),
        (["a", "b"], "."),
        (["a/b", "a/1.jpg"], "a"),
        (["a/b/*", "a/b"], "a/b"),
    ],
)
def test_keys_start_at_the_deepest_directory_that_all_entries_share(
    tmp_path: Path, entries: list[str], root: str
) -> None:
    make(tmp_path, "a/1.jpg", "a/b/2.jpg", "b/3.jpg")
    found = root_of([tmp_path / entry for entry in entries])
    assert found == tmp_path / root
    for key in keys(*(tmp_path / entry for entry in entries)):
        assert path_of(found, key).is_file()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["1.jpg"]),
        ("?.jpg", ["1.jpg"]),
        ("[!2].jpg", ["1.jpg"]),
        ("*.*", ["1.jpg"]),
        ("a*/*.jpg", ["a/2.jpg", "ab/4.jpg"]),
        ("**/*.jpg", ["1.jpg", "a/2.jpg", "a/c/3.jpg", "ab/4.jpg"]),
        ("**/c/*.jpg", ["a/c/3.jpg"]),
        ("**/**/3.jpg", ["a/c/3.jpg"]),
        ("a?", ["ab/4.jpg"]),
        ("[a]", ["a/2.jpg", "a/c/3.jpg"]),
        ("**", ["1.jpg", "a/2.jpg", "a/c/3.jpg", "ab/4.jpg"]),
        ("*/.h/*.jpg", ["a/.h/6.jpg"]),
        (".*", [".5.jpg"]),
        ("*.png", []),
    ],
)
def test_a_pattern_stands_for_the_files_and_directories_it_matches(
    tmp_path: Path, pattern: str, expected: list[str]
) -> None:
    make(tmp_path, "1.jpg", "a/2.jpg", "a/c/3.jpg", "ab/4.jpg", "a/note.txt", ".5.jpg", "a/.h/6.jpg")
    assert keys(tmp_path / pattern) == expected


def test_a_path_that_exists_is_not_a_pattern(tmp_path: Path) -> None:
    make(tmp_path, "[1].jpg", "1.jpg", "what?/2.jpg", "whats/3.jpg")
    assert keys(tmp_path / "[1].jpg") == ["[1].jpg"]
    assert keys(tmp_path / "what?") == ["2.jpg"]


def test_hidden_names_are_left_out_unless_spelled_out(tmp_path: Path) -> None:
    make(tmp_path, ".a.jpg", ".b/1.jpg", "c.jpg", "d/._e.jpg")
    assert keys(tmp_path) == ["c.jpg"]
    assert keys(tmp_path / ".a.jpg") == [".a.jpg"]
    assert keys(tmp_path / ".b") == ["1.jpg"]
    assert keys(tmp_path / "*" / "*") == []


def test_a_named_file_is_taken_whatever_its_extension(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "raw.dat")
    assert keys(tmp_path / "raw.dat") == ["raw.dat"]
    assert keys(tmp_path, tmp_path / "raw.dat") == ["a.jpg", "raw.dat"]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    make(tmp_path, "data/a.jpg", "elsewhere/b.jpg", "elsewhere/c.raw")
    (tmp_path / "data/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/c.jpg").symlink_to(tmp_path / "elsewhere/c.raw")
    (tmp_path / "data/up").symlink_to("..")
    (tmp_path / "data/self").symlink_to(".")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "data")
    assert keys(tmp_path / "data") == [
        "a.jpg",
        "c.jpg",
        "link/b.jpg",
        "up/elsewhere/b.jpg",
    ]


def test_what_is_not_a_file_is_listed_so_that_reading_it_can_fail(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket.jpg"))
        assert keys(tmp_path) == ["broken.jpg", "fifo.jpg", "loop.jpg", "socket.jpg"]


def test_a_directory_that_cannot_be_listed_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "open/a.jpg", "shut/b.jpg")
    scandir = os.scandir

    def refuse(path: Path) -> Iterator[os.DirEntry[str]]:  # root may list everything, so chmod would not do
        if path.name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        RunError, match=r"shut cannot be listed: Permission denied\n  what to do: make it readable"
    ):
        keys(tmp_path)


def test_an_entry_that_is_gone_when_it_is_listed_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"gone\.jpg no longer exists"):
        keys(make(tmp_path, "a.jpg"), tmp_path / "gone.jpg")


def test_a_file_that_vanishes_while_the_list_is_made_is_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    sources = list_files([tmp_path], True, JPG)
    assert next(sources).key == "a.jpg"
    (tmp_path / "b.jpg").unlink()
    assert [source.key for source in sources] == ["c.jpg"]


def test_only_what_exists_can_be_an_entry(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    for good in ("a.jpg", ".", "*.png", "[b]/c"):
        assert check_entry(tmp_path / good) == tmp_path / good
    for bad in ("b.jpg", "b/*.jpg"):
        with pytest.raises(ValueError, match=r"no such file or directory: /.*/b"):
            check_entry(tmp_path / bad)


HOSTILE = [
    b"two\nlines.jpg",
    b"quotes'\"`$(x).jpg",
    b"not utf-8 \xff\xc3.jpg",
    b"\xe2\x82.jpg",
    b"n" * 251 + b".jpg",
    b"-rf.jpg",
    "\N{PILE OF POO} \N{COMBINING ACUTE ACCENT}.jpg".encode(),
    b"back\\slash\\xff.jpg",
    b" .jpg",
    b"%2e;a,b\t\x1b[31m\x01.jpg",
]


def test_any_file_name_becomes_a_key_that_is_text_and_leads_back_to_the_file(tmp_path: Path) -> None:
    for name in HOSTILE:
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    found = keys(tmp_path)
    assert found == sorted(found)
    assert len(found) == len(HOSTILE)
    for key in found:
        key.encode("utf-8")
    assert sorted(path_of(tmp_path, key).read_bytes() for key in found) == sorted(HOSTILE)


@given(
    st.lists(st.binary(min_size=1).filter(lambda b: b"/" not in b and b"\0" not in b), min_size=1, max_size=3)
)
def test_keys_are_reversible_for_all_bytes(parts: list[bytes]) -> None:
    relative = os.fsdecode(b"/".join(part for part in parts if part not in (b".", b"..")) or b"x")
    key = key_of(relative)
    key.encode("utf-8")
    assert os.fspath(path_of(Path("/root"), key)) == f"/root/{relative}"


def test_an_empty_file_of_1970_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    os.utime(tmp_path / "a.jpg", ns=(0, 0))
    (source,) = list_files([tmp_path], True, JPG)
    assert not source.is_absent
