"""The contract of a child process: whatever it does, its parent learns of it and can end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import inf
from pathlib import Path

import pytest

from resnet_pipe.process.child import Child, ChildError, EndedError, SilentError, ending
from tests.run.jobs import wait_until

MODULE = "tests.process.obedient"
ROOT = Path(__file__).parents[2]
LARGE = b"x" * (8 << 20)
"""Far more than a socket's buffer holds."""


@pytest.fixture(autouse=True)
def _tests_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    path = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))


@pytest.fixture
def child() -> Iterator[Child]:
    with Child(MODULE) as child:
        yield child
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def test_it_answers_in_order(child: Child) -> None:
    for number in range(100):
        child.send(("say", number))
    assert [child.receive() for _ in range(100)] == list(range(100))
    child.send(("say", None))
    assert child.receive(60) is None


def test_a_message_is_sent_as_it_is_when_it_is_given(child: Child) -> None:
    words = ["say", "this"]
    for _ in range(50):
        child.send(words)
    words[1] = "that"
    assert {child.receive() for _ in range(50)} == {"this"}


def test_a_message_that_cannot_be_sent_is_an_error_of_the_sender(child: Child) -> None:
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        child.send(threading.Lock())
    child.send(("say", "and goes on"))
    assert child.receive(60) == "and goes on"


def test_it_inherits_descriptors(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file, Child(MODULE, file.fileno()) as child:
        child.send(("write", b"some bytes"))
        assert child.receive(60) == 10
    assert (tmp_path / "file").read_bytes() == b"some bytes"


CRASHES = {
    "return": (("return",), "exited with status 0"),
    "close": (("close",), "was killed by SIGKILL (out of memory?)"),
    "exit": (("exit", 7), "exited with status 7"),
    "SystemExit": (("raise", SystemExit(3)), "exited with status 3"),
    "an exception": (("raise", RuntimeError("a surprise")), "exited with status 1"),
    "segfault": (("segfault",), "was killed by SIGSEGV"),
    "killed": (("be killed",), "was killed by SIGKILL (out of memory?)"),
    "half a message": (("half a message",), "exited with status 7"),
}


@pytest.mark.parametrize("patience_s", [60, inf])
@pytest.mark.parametrize("name", CRASHES)
def test_however_it_ends_that_is_told_in_words(
    child: Child, monkeypatch: pytest.MonkeyPatch, name: str, patience_s: float
) -> None:
    monkeypatch.setattr("resnet_pipe.process.child.DYING_S", 0.5 if name == "close" else 60)
    command, words = CRASHES[name]
    child.send(("say", "first"))
    child.send(command)
    assert child.receive(patience_s) == "first"
    with pytest.raises(EndedError, match=r"^\w+ \w+") as caught:
        child.receive(patience_s)
    assert str(caught.value) == words == ending(caught.value.status)
    assert child.status() == caught.value.status
    child.send(("say", "to nobody"))  # does no harm


def test_a_module_that_cannot_be_imported_is_told_too() -> None:
    with Child("tests.process.not_there") as child, pytest.raises(EndedError, match="exited with status 1"):
        child.receive(60)


def test_one_that_hangs_is_found_and_ended(child: Child) -> None:
    child.send(("hang",))
    assert child.receive(60) == "hang"
    with within(30), pytest.raises(SilentError, match=r"^did not respond for 0.5 s$"):
        child.receive(0.5)
    with within(30):
        child.end()
    child.end()  # may be called again


def test_every_message_is_a_sign_of_life(child: Child) -> None:
    child.send(("twice, slowly", 1.5))
    child.send(("say", "done"))
    assert [child.receive(2.5) for _ in range(3)] == ["twice, slowly", "twice, slowly", "done"]


def test_one_that_is_stopped_and_continued_does_not_hang(child: Child) -> None:
    child.send(("say", "ready"))
    child.receive(60)
    os.kill(child.pid, signal.SIGSTOP)
    child.send(("say", "at last"))
    threading.Timer(2, os.kill, (child.pid, signal.SIGCONT)).start()
    assert child.receive(1) == "at last"


def test_whoever_waits_may_give_up(child: Child) -> None:
    looks = []

    def look() -> None:
        looks.append(time.monotonic())
        if len(looks) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        child.receive(look=look)
    child.send(("say", "still there"))
    assert child.receive(60) == "still there"


def test_it_may_be_ended_by_another_thread_while_one_waits(child: Child) -> None:
    child.send(("hang",))
    child.receive(60)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(child.receive)
        time.sleep(0.1)
        child.kill()
        with pytest.raises(ChildError, match="SIGKILL"):
            waiting.result(30)


def test_a_large_message_to_one_that_does_not_read_blocks_nobody(child: Child) -> None:
    child.send(("hang",))
    assert child.receive(60) == "hang"
    with within(30):
        for _ in range(4):
            child.send(("length", LARGE))
        with pytest.raises(SilentError):
            child.receive(0.5)
        child.end()


def test_two_large_messages_may_cross(child: Child) -> None:
    for _ in range(4):
        child.send(("say", LARGE))
    assert [len(child.receive(60)) for _ in range(4)] == [len(LARGE)] * 4


def test_standard_input_is_closed(child: Child) -> None:
    child.send(("read standard input",))
    assert child.receive(60) == ""


def test_what_it_prints_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with Child(MODULE) as child:
        child.send(("print", 3))
        assert child.receive(60) == "print"
    assert capfd.readouterr() == ("", "xxx\nyyy\n")


def test_or_into_a_file_however_much_it_is(tmp_path: Path) -> None:
    with (tmp_path / "printed").open("wb") as file, Child(MODULE, output=file.fileno()) as child:
        child.send(("print", 1 << 20))
        assert child.receive(60) == "print"
    assert (tmp_path / "printed").stat().st_size == 2 * ((1 << 20) + 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_signals_that_stop_a_run_do_not_reach_it(child: Child, number: int) -> None:
    child.send(("say", "ready"))
    child.receive(60)
    os.kill(child.pid, number)
    child.send(("say", "unmoved"))
    assert child.receive(60) == "unmoved"
    assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, ())  # its parent's


def test_it_is_in_its_parents_group(child: Child) -> None:
    child.send(("who",))
    assert child.receive(60) == (child.pid, os.getpid(), os.getpgid(0))


def test_or_leads_one_of_its_own_which_ends_with_it() -> None:
    with Child(MODULE, own_group=True) as child:
        child.send(("who",))
        assert child.receive(60) == (child.pid, os.getpid(), child.pid)
        child.send(("start another",))
        other = child.receive(60)
        child.send(("exit", 0))
        with pytest.raises(EndedError):
            child.receive(60)
        assert state(other) in ("S", "R", "D")
    wait_until(lambda: state(other) in ("", "Z"), "what it had started is gone")


PARENT = f"""
import sys, time
from resnet_pipe.process.child import Child
child = Child({MODULE!r})
child.send((sys.argv[1],))
child.receive(60)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl(2)")
def test_it_dies_with_its_parent_even_while_it_hangs() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, "hang"], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    wait_until(lambda: state(pid) in ("", "Z"), "it is gone")


def test_it_ends_when_its_parent_is_gone(child: Child) -> None:
    """Also where Linux does not end it: because its connection is closed."""
    child.send(("say", "ready"))
    child.receive(60)
    child._connection.close()
    assert child.status() == 0


def test_one_whose_parent_has_died_before_it_could_be_told_ends_at_once() -> None:
    program = "from resnet_pipe.cli.child import main; main()"
    subprocess.run([sys.executable, "-c", program, MODULE, "0", "1"], check=True, timeout=60)


@pytest.mark.parametrize("end", [Child.end, Child.kill], ids=["end", "kill"])
def test_one_that_has_just_been_started_can_be_ended(end: Callable[[Child], None]) -> None:
    with Child(MODULE) as child:
        end(child)
        assert child.status() == -signal.SIGKILL


def test_it_holds_nothing_here_after_its_end() -> None:
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    before = held()
    with Child(MODULE) as child:
        child.send(("length", LARGE))
    assert held() == before
    with pytest.raises(OSError, match="closed"):
        child.fileno()


def state(pid: int) -> str:
    """Return the state of a process; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
