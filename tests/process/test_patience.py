"""What counts as hanging: not the time in which a process is held, or waits for a processor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resnet_pipe.process.patience import LOOK_S, Waiting
from tests.run.jobs import wait_until

SLEEPS = "import time; print(flush=True); time.sleep(600)"
BURNS = "print(flush=True)\nwhile True: pass"
BURNS_IN_A_THREAD = f"""
import threading, time
threading.Thread(target=exec, args=({BURNS!r},), daemon=True).start()
time.sleep(600)
"""


@contextmanager
def process(code: str) -> Iterator[int]:
    """Run Python code; give the process id once it is at work."""
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert running.stdout is not None
        running.stdout.readline()
        yield running.pid
    finally:
        running.kill()
        running.communicate()


def watch(waiting: Waiting, seconds: float, thing: object = "a source") -> float:
    """Look for so long, as a run does; return what counts in the end."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        waiting.look(thing)
        time.sleep(LOOK_S / 4)
    return waiting.look(thing)


def stat(pid: int) -> list[str]:
    """Return the fields of a process from its state on, see proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_s(pid: int) -> float:
    return sum(map(int, stat(pid)[11:13])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("code", [SLEEPS, BURNS, BURNS_IN_A_THREAD], ids=["sleeps", "burns", "thread burns"])
def test_a_process_that_sleeps_or_computes_is_found_to_hang(code: str) -> None:
    with process(code) as pid:
        waiting = Waiting(pid)
        wait_until(lambda: watch(waiting, 0.5) > 1.5, "it has been at it for 1.5 seconds")


def test_no_more_counts_than_the_clock_says() -> None:
    with process(SLEEPS) as pid:
        started = time.monotonic()
        waiting = Waiting(pid)
        counted = watch(waiting, 1.5)
        assert counted <= time.monotonic() - started


def test_another_thing_starts_anew() -> None:
    with process(SLEEPS) as pid:
        waiting = Waiting(pid)
        wait_until(lambda: watch(waiting, 0.3, 1) > 0.5, "half a second counts")
        assert waiting.look(2) == 0


def test_a_stopped_process_does_not_hang_and_goes_on_to_count_when_it_is_continued() -> None:
    with process(SLEEPS) as pid:
        waiting = Waiting(pid)
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: stat(pid)[0] == "T", "it is stopped")
        assert watch(waiting, 1.5) == 0
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: watch(waiting, 0.3) > 0.5, "it counts again")


def test_a_gap_between_two_looks_counts_as_one_look() -> None:
    with process(SLEEPS) as pid:
        waiting = Waiting(pid)
        waiting.look("a source")
        time.sleep(1.5)  # as if whoever looks had been stopped, or the machine
        assert waiting.look("a source") <= LOOK_S


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="needs Linux")
def test_a_process_that_gets_no_processor_does_not_hang() -> None:
    core = min(os.sched_getaffinity(0))
    with process(BURNS) as starved, process(BURNS) as greedy:
        os.sched_setscheduler(starved, os.SCHED_IDLE, os.sched_param(0))
        for pid in (starved, greedy):
            os.sched_setaffinity(pid, {core})
        time.sleep(0.2)
        waiting = Waiting(starved)
        before = cpu_s(starved)
        counted = watch(waiting, 3)
        assert counted <= cpu_s(starved) - before  # so much it got, and not what it waited


def test_where_linux_does_not_tell_the_clock_counts() -> None:
    waiting = Waiting(2**22 + 1)  # there are no such process ids
    wait_until(lambda: watch(waiting, 0.3) > 0.5, "half a second counts")
