"""How a remote file is fetched: which ranges, how many at once, and that the bytes are the right ones."""

from __future__ import annotations

import errno
import random
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from resnet_pipe.reader.buckets.read_ahead import ReadAhead

MIB = 1 << 20


class Remote:
    """A file of random bytes, whose requests are written down, and may be late, be held back, or fail.

    Attributes:
        asked: the ranges so far, offset and size.
        open: while it is not set, no request is answered.
        fails: whether requests do.
    """

    def __init__(self, size: int) -> None:
        block = random.Random(size).randbytes(MIB + 7)
        self.content = (block * (size // MIB + 1))[:size]
        self.asked: list[tuple[int, int]] = []
        self.open = threading.Event()
        self.open.set()
        self.fails = False
        self._change = threading.Condition()

    def fetch(self, offset: int, size: int) -> bytes:
        with self._change:
            self.asked.append((offset, size))
            self._change.notify_all()
        assert self.open.wait(60)
        if self.fails:
            raise OSError(errno.EIO, "no answer")
        assert 0 <= offset < offset + size <= len(self.content), "nothing is asked for that is not there"
        return self.content[offset : offset + size]

    def settled(self, quiet_s: float = 0.3) -> list[tuple[int, int]]:
        """Return the ranges, sorted, when no more have come for a moment."""
        with self._change:
            while self._change.wait(quiet_s):
                pass
            return sorted(self.asked)

    @property
    def fetched(self) -> int:
        """Bytes so far."""
        return sum(size for _, size in self.settled())


def reading(remote: Remote) -> tuple[ReadAhead, Callable[[int, int], None]]:
    """Return what reads the file, and what does so and compares the bytes."""
    ahead = ReadAhead(remote.fetch, len(remote.content))

    def check(offset: int, size: int) -> None:
        assert ahead.read(offset, size, lambda: None) == remote.content[offset : offset + size]

    return ahead, check


def in_thread(read: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def test_neighbours_are_fetched_with_one_request() -> None:
    remote = Remote(40 * MIB)
    ahead, check = reading(remote)
    members = [(1000 + number * 42_000, 40_000) for number in range(200)]
    for member in members:
        ahead.announce(*member)
    for member in members:
        check(*member)
    end = members[-1][0] + members[-1][1]
    assert len(remote.asked) <= -(-end // (4 * MIB))
    assert remote.fetched <= end


def test_what_is_far_apart_is_fetched_alone() -> None:
    remote = Remote(8 * MIB)
    ahead, check = reading(remote)
    members = [(number * MIB, 10_000) for number in (5, 2, 7, 0)]
    for member in members:
        ahead.announce(*member)
    for member in members:
        check(*member)
    assert remote.settled() == sorted(members)


def test_what_is_large_is_fetched_in_parts_at_the_same_time() -> None:
    remote = Remote(17 * MIB)
    ahead, check = reading(remote)
    ahead.announce(5, 16 * MIB)
    remote.open.clear()
    thread = in_thread(lambda: check(5, 16 * MIB))
    assert remote.settled() == [(5 + number * 4 * MIB, 4 * MIB) for number in range(4)]
    remote.open.set()
    thread.join(60)


def test_no_more_is_fetched_ahead_than_there_is_room_for() -> None:
    remote = Remote(100 * MIB)
    ahead, check = reading(remote)
    members = [(number * 4 * MIB, 4 * MIB) for number in range(20)]
    for member in members:
        ahead.announce(*member)
    for size in (100, 200, 300):
        check(0, size)
        assert remote.settled() == members[:8], "32 MiB"
    for member in members:
        check(*member)
    assert remote.settled() == members, "each of them once"


def test_a_server_gets_eight_requests_at_once() -> None:
    remote = Remote(20 * MIB)
    ahead, check = reading(remote)
    members = [(number * MIB, 100) for number in range(20)]
    for member in members:
        ahead.announce(*member)
    remote.open.clear()
    thread = in_thread(lambda: check(*members[0]))
    assert remote.settled() == members[:8]
    remote.open.set()
    thread.join(60)
    for member in members[1:]:
        check(*member)
    assert remote.settled() == members, "each of them once"


def test_what_was_passed_over_makes_room() -> None:
    remote = Remote(100 * MIB)
    ahead, check = reading(remote)
    members = [(number * 5 * MIB, 4 * MIB) for number in range(20)]
    for member in members:
        ahead.announce(*member)
    for member in members[::7]:
        check(*member)
    assert set(members[::7]) | {members[15]} <= set(remote.settled())


def test_reading_on_fetches_more_and_more_and_what_comes_next() -> None:
    remote = Remote(64 * MIB)
    _, check = reading(remote)
    for offset in range(0, 64 * MIB, 256 << 10):
        check(offset, 256 << 10)
    ranges = remote.settled()
    assert len(ranges) < 25
    assert sum(size for _, size in ranges) == 64 * MIB, "each byte once"
    remote.asked.clear()
    remote.open.clear()
    _, check = reading(remote)
    thread = in_thread(lambda: [check(offset, 100) for offset in (0, 100_000)])
    assert remote.settled() == [(0, 64 << 10)], "whether reading goes on is not known yet"
    remote.open.set()
    thread.join(60)
    assert [offset for offset, _ in remote.settled()] == [0, 100_000, 100_000 + (256 << 10)]


def test_reading_on_after_less_than_was_read_fetches_nothing_twice() -> None:
    """A decompressor may not take all that it has read."""
    remote = Remote(32 * MIB)
    _, check = reading(remote)
    offset = 0
    while offset < 32 * MIB:
        check(offset, 256 << 10)
        offset += 255_000
    assert remote.fetched == 32 * MIB


def test_jumps_fetch_little() -> None:
    """As the headers of a tar file with large members do, and the end of a table."""
    remote = Remote(100 * MIB)
    _, check = reading(remote)
    for number in range(48):
        check(number * 2 * MIB, 512)
    assert remote.fetched <= 48 * (64 << 10)
    remote.asked.clear()
    _, check = reading(remote)
    check(100 * MIB - (64 << 10), 64 << 10)
    assert remote.settled() == [(100 * MIB - (64 << 10), 64 << 10)]


def test_short_jumps_are_read_through() -> None:
    """As the headers of a tar file with small members do."""
    remote = Remote(100 * MIB)
    _, check = reading(remote)
    for offset in range(0, 100 * MIB, 40_000):
        check(offset, 512)
    assert len(remote.settled()) < 40


def _orders(rng: random.Random, size: int) -> Sequence[tuple[int, int]]:
    ranges = [(rng.randrange(size), rng.choice([1, 600, 70_000, 5 * MIB])) for _ in range(40)]
    return sorted(ranges) if rng.random() < 0.5 else ranges


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_announced_and_read_the_bytes_are_right(seed: int) -> None:
    rng = random.Random(seed)
    remote = Remote(12 * MIB + seed)
    ahead, check = reading(remote)
    for _ in range(3):
        ranges = _orders(rng, len(remote.content))
        for one in ranges:
            if rng.random() < 0.7:
                ahead.announce(*one)
        for one in ranges:
            if rng.random() < 0.8:
                check(*one)
            if rng.random() < 0.2:
                check(rng.randrange(len(remote.content)), rng.choice([10, 300_000]))
    check(len(remote.content), 10)
    check(len(remote.content) + 10, 10)
    check(0, len(remote.content))


def test_what_fails_is_raised_and_fetched_anew() -> None:
    remote = Remote(16 * MIB)
    ahead, check = reading(remote)
    for number in range(4):
        ahead.announce(number * 4 * MIB, 4 * MIB)
    remote.fails = True
    with pytest.raises(OSError, match="no answer"):
        check(0, 10)
    remote.fails = False
    for number in range(4):
        check(number * 4 * MIB, 4 * MIB)


def test_who_waits_shows_that_he_is_alive() -> None:
    remote = Remote(MIB)
    ahead, _ = reading(remote)
    remote.open.clear()
    beats = []

    def alive() -> None:
        beats.append(time.monotonic())
        if len(beats) == 2:
            remote.open.set()

    assert ahead.read(0, 10, alive) == remote.content[:10]
    assert len(beats) == 2
