"""Files appear complete or not at all, in an order that a power cut cannot break."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from resnet_pipe.store import atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_not_there_until_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic.replacing(target) as temporary:
        temporary.write_text("half")
        assert names(tmp_path) == [temporary.name]
        assert temporary.name.startswith(".")
    assert target.read_text() == "half"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail() -> None:
        with atomic.replacing(target) as temporary:
            temporary.write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_block_that_makes_no_file_is_an_error_and_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(FileNotFoundError), atomic.replacing(target):
        pass
    assert target.read_text() == "old"


def test_several_writers_of_one_file_do_not_share_a_temporary_name(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic.replacing(target, "1of2") as one, atomic.replacing(target, "2of2") as two:
        one.write_text("one")
        two.write_text("two")
    assert target.read_text() == "one"
    assert names(tmp_path) == ["a.txt"]


def test_the_data_is_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        calls.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        calls.append(("replace", str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    target = tmp_path / "a.txt"
    atomic.write_bytes(target, b"data")
    assert calls == [
        ("fsync", str(atomic.temporary_name(target))),
        ("replace", str(target)),
        ("fsync", str(tmp_path)),
    ]


def refuse_to_sync(monkeypatch: pytest.MonkeyPatch, error: int, directories: bool) -> None:
    """Let the disk refuse to flush every directory, or every file."""
    fsync = os.fsync

    def refuse(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir() == directories:
            raise OSError(error, os.strerror(error))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS], ids=errno.errorcode.get)
def test_a_file_system_that_cannot_sync_directories_is_as_good_as_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    target = tmp_path / "a.txt"
    refuse_to_sync(monkeypatch, error, directories=True)
    atomic.write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def test_a_disk_that_cannot_keep_the_name_of_a_file_is_an_error_that_names_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    refuse_to_sync(monkeypatch, error, directories=True)
    with pytest.raises(OSError, match=os.strerror(error)) as caught:
        atomic.write_bytes(tmp_path / "a.txt", b"new")
    assert caught.value.filename == str(tmp_path)


@pytest.mark.parametrize("error", [errno.EIO, errno.EINVAL], ids=errno.errorcode.get)
def test_a_disk_that_cannot_keep_the_data_of_a_file_is_an_error_whatever_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    target = tmp_path / "a.txt"
    target.write_bytes(b"old")
    refuse_to_sync(monkeypatch, error, directories=False)
    with pytest.raises(OSError, match=os.strerror(error)):
        atomic.write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a.txt"]
