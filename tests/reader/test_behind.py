"""What a process has read leaves the memory, in whatever pieces it is read, and files are told apart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resnet_pipe.reader.behind import Behind
from tests.page_cache import forget, in_memory

pytestmark = pytest.mark.skipif("sys.platform != 'linux'")

MIB = 1 << 20
LARGE = 256 * MIB


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of zeros, which takes no room on the disk, but does in memory."""
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, LARGE)
    forget(path)
    return path


def read(behind: Behind, path: Path, step: int) -> None:
    with path.open("rb", buffering=0) as file:
        for at in range(0, path.stat().st_size, step):
            os.pread(file.fileno(), step, at)
            behind.let_go(file.fileno(), at, step)


@pytest.mark.parametrize("step", [100_000, 3 * MIB])
def test_what_is_read_in_small_pieces_leaves_the_memory_as_well(large: Path, step: int) -> None:
    behind = Behind()
    behind.room = 0
    read(behind, large, step)
    assert in_memory(large) * LARGE <= 40 * MIB


def test_without_a_room_everything_stays(large: Path) -> None:
    os.truncate(large, 64 * MIB)
    read(Behind(), large, MIB)
    assert in_memory(large) == 1.0


def test_a_file_that_is_closed_and_another_with_its_number_are_told_apart(
    large: Path, tmp_path: Path
) -> None:
    behind = Behind()
    behind.room = 0
    other = tmp_path / "other"
    other.write_bytes(bytes(4 * MIB))
    read(behind, large, MIB)
    read(behind, other, MIB)  # with the same descriptor as before
    assert in_memory(other) == 1.0
    read(behind, large, MIB)
    assert in_memory(large) * LARGE <= 40 * MIB
