"""The process that draws labels: what it dies or hangs on costs that source, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from resnet_pipe.errors import RunError
from resnet_pipe.writer.writer import Written
from tests.run.jobs import group, wait_until
from tests.videos import SAMPLES, make
from tests.writer.annotated.drawing import FAULTS, bring, draw, rows, target

FULL = f"""
{FAULTS}
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
"""
"""Files cannot become larger, as on a disk that is full."""

DEAD = """
import sys
import threading
if "resnet_pipe.writer.annotated.drawing_process" in sys.orig_argv:
    import os
    os._exit(7)
"""


@pytest.fixture(scope="module")
def struck(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """What has become of seven videos, of which four meet a fault. Do not change it."""
    folder = tmp_path_factory.mktemp("struck")
    video = make(folder, SAMPLES["one.mp4"]).read_bytes()
    names = ["0.mp4", "1-segfault.mp4", "2.mp4", "3-hang.mp4", "4-exit.mp4", "5-surprise.mp4", "6.mp4"]
    for name in names:
        (folder / name).write_bytes(video)
    with pytest.MonkeyPatch.context() as monkeypatch:
        bring(monkeypatch, folder / "faults", FAULTS)
        made = target(folder / "out", folder, "video", timeout_s=2)
        return draw(made, *(rows(name, [0]) for name in names))


CAUSES = {
    "1-segfault.mp4": ("worker_died", "was killed by SIGSEGV"),
    "3-hang.mp4": ("timeout", "for 2 s"),
    "4-exit.mp4": ("worker_died", "exited with status 3"),
    "5-surprise.mp4": ("OSError", "nobody foresaw this"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_a_source_on_which_it_dies_hangs_or_is_surprised_is_a_failure_with_the_cause(
    struck: Written, name: str
) -> None:
    failure = struck.failures[name]
    error, words = CAUSES[name]
    assert (failure.stage, failure.error) == ("writer", error)
    assert words in failure.message
    assert not struck.files[name]


def test_the_other_sources_are_drawn(struck: Written) -> None:
    assert set(struck.failures) == set(CAUSES)
    assert {key for key, files in struck.files.items() if files} == {"0.mp4", "2.mp4", "6.mp4"}


@pytest.mark.parametrize("kind", ["video", "images"])
def test_a_disk_that_is_full_is_no_matter_of_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    make(tmp_path, SAMPLES["h264.mp4"])
    bring(monkeypatch, tmp_path / "faults", FULL)
    opened = target(tmp_path / "out", tmp_path, kind).open()
    opened.append(rows("h264.mp4", [0]))
    with pytest.raises(OSError, match="File too large") as caught:
        opened.close()
    assert str(tmp_path / "out") in str(caught.value.filename)
    opened.append(rows("1.mp4", [0]))
    with pytest.raises(OSError, match="File too large"):  # also before the end of the chunk
        opened.append(rows("2.mp4", [0]))
    opened.discard()


def test_a_process_that_does_not_start_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, SAMPLES["one.mp4"])
    bring(monkeypatch, tmp_path / "faults", DEAD)
    with pytest.raises(RunError, match="exited with status 7") as caught:
        draw(target(tmp_path / "out", tmp_path, "video"), rows("one.mp4", [0]))
    assert caught.value.remedy


def test_a_chunk_that_is_given_up_ends_at_once_whatever_the_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("hang.mp4", "next.mp4"):
        (tmp_path / name).write_bytes(make(tmp_path, SAMPLES["one.mp4"]).read_bytes())
    bring(monkeypatch, tmp_path / "faults", FAULTS)
    opened = target(tmp_path / "out", tmp_path, "video", timeout_s=3600).open()
    for name in ("hang.mp4", "next.mp4", "last.mp4"):
        opened.append(rows(name, [0]))
    wait_until((tmp_path / "faults/hang.reached").exists, "the process hangs")
    giving_up = threading.Thread(target=opened.discard, daemon=True)
    giving_up.start()
    wait_until(lambda: not giving_up.is_alive(), "the chunk is given up")
    assert children() == []
    assert list((tmp_path / "out").iterdir()) == []


RUN = """
import sys
import threading
from pathlib import Path
from tests.writer.annotated.drawing import rows, target
folder = Path(sys.argv[1])
opened = target(folder / "out", folder, "video", timeout_s=3600).open()
opened.append(rows("hang.mp4", [0]))
opened.close()
"""


def test_it_dies_with_the_run_even_while_a_decoder_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, SAMPLES["one.mp4"]).rename(tmp_path / "hang.mp4")
    bring(monkeypatch, tmp_path / "faults", FAULTS)
    root = Path(__file__).parents[3]
    run = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)], cwd=root, start_new_session=True)
    try:
        wait_until((tmp_path / "faults/hang.reached").exists, "the process hangs")
        assert len(group(run.pid)) == 2
        run.kill()
        run.wait()
        wait_until(lambda: not group(run.pid), "the process is gone")
    finally:
        for pid in group(run.pid):
            os.kill(pid, signal.SIGKILL)


def test_the_signals_that_stop_a_run_do_not_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, SAMPLES["one.mp4"]).rename(tmp_path / "hang.mp4")
    bring(monkeypatch, tmp_path / "faults", FAULTS.replace("ctypes.PyDLL(None).pause()", "time.sleep(1)"))
    opened = target(tmp_path / "out", tmp_path, "video").open()
    opened.append(rows("hang.mp4", [0]))
    opened.append(rows("x.mp4", [0]))  # the first one is begun
    wait_until((tmp_path / "faults/hang.reached").exists, "the process is at work")
    for number in (signal.SIGINT, signal.SIGTERM):
        for pid in children():
            os.kill(pid, number)
    assert opened.close().files["hang.mp4"]


def test_a_process_that_is_stopped_and_continued_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, SAMPLES["one.mp4"]).rename(tmp_path / "hang.mp4")
    bring(monkeypatch, tmp_path / "faults", FAULTS.replace("ctypes.PyDLL(None).pause()", "time.sleep(0.5)"))
    opened = target(tmp_path / "out", tmp_path, "video", timeout_s=2).open()
    opened.append(rows("hang.mp4", [0]))
    opened.append(rows("x.mp4", [0]))  # the first one is begun
    wait_until((tmp_path / "faults/hang.reached").exists, "the process is at work")
    (process,) = children()
    os.kill(process, signal.SIGSTOP)
    time.sleep(3)
    os.kill(process, signal.SIGCONT)
    assert opened.close().files["hang.mp4"]


def children() -> list[int]:
    """Return the processes that draw labels for this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if parent == os.getpid() and b"resnet_pipe.writer.annotated.drawing_process" in command:
                found.append(int(entry.name))
    return found
