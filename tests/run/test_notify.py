"""Who is told how a run has ended: addresses of apprise, which environment variables hold."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from unittest import mock

import pytest

import resnet_pipe
from resnet_pipe.errors import RunError, UsageError
from resnet_pipe.report import notification
from resnet_pipe.run.observe import events
from tests.run.faults import DECODER, Gate
from tests.run.inbox import SECRET, Inbox, receiving
from tests.run.jobs import HOME, JobFolder, numbered
from tests.run.test_alerts import listening

pytest.importorskip("apprise", reason="needs the extra `notify`")


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """A server that is told things."""
    with receiving() as made:
        yield made


@pytest.fixture
def told(job: JobFolder, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> JobFolder:
    """A job without images that tells the inbox how it has ended."""
    monkeypatch.setenv("OPS_CHAT", inbox.address)
    job.write(run="notify: [OPS_CHAT]")
    return job


def assert_secret(job: JobFolder, *printed: str) -> None:
    """Check that nothing that a run has left or printed has anything of the address."""
    files = [path for path in job.folder.rglob("*") if path.is_file()]
    assert job.out / HOME / "runs" in [path.parent.parent for path in files]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in "".join(printed)


def test_a_run_tells_its_failures_and_not_its_successes(told: JobFolder, inbox: Inbox) -> None:
    said = [told.run().expect(1)]
    told.add(*numbered(2))
    said.append(told.run().expect(0))
    told.add_bad("bad.jpg")
    said.append(told.run().expect(3))
    told.run("--set", "run.until=2000-01-01T00:00Z", "--retry-failed").expect(4)
    assert inbox.titles == [
        "the run could not finish (exit code 1)",
        "finished, but some sources failed or are partial (exit code 3)",
    ]
    failed, partly = inbox.messages
    assert failed["type"] == "failure"
    text = failed["message"].split("\n")
    assert said[0].stderr == f"error: {text[0]}\n{text[1]}\n"
    assert text[1].startswith("  what to do: ")
    assert text[2:] == ["committed: 0 sources done, 0 failed", f"results: {told.out}"]
    assert partly["type"] == "warning"
    assert partly["message"].startswith("0 sources done, 1 failed, 2 already done")
    assert set(partly["message"].split("\n")) <= set(said[2].stdout.split("\n")), (
        "what is printed, less the table"
    )
    assert f"failures: {told.out}/failures.jsonl" in partly["message"]
    assert_secret(told, *(one.stdout + one.stderr for one in said))


def test_a_run_that_could_not_finish_tells_what_it_has_done_and_where_its_report_is(
    told: JobFolder, inbox: Inbox
) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `report`")
    told.add(*numbered(2))
    told.add_bad("0002.jpg", "0003.jpg")
    told.run("--set", "run.max_failures=1", "--set", "run.report=true").expect(1)
    (message,) = inbox.messages
    assert "committed: 2 sources done, " in message["message"]
    assert message["message"].endswith(f"report: {told.last_run()}/report.html")
    assert told.events("run_ended")[0]["report"] == f"{told.last_run()}/report.html"


def test_what_ends_a_run_before_it_has_begun_is_told(told: JobFolder, inbox: Inbox) -> None:
    told.add("a.jpg")
    (told.out / HOME).mkdir(parents=True)
    with (told.out / HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        locked = told.run().expect(11)
    model = told.folder / "tiny.onnx"
    model.unlink()
    model.write_bytes(b"no network")
    unusable = told.run().expect(2)
    assert inbox.titles == [
        "another run is using the output directory (exit code 11)",
        "wrong usage, job or environment (exit code 2)",
    ]
    for said, message in zip((locked, unusable), inbox.messages, strict=True):
        assert said.stderr.removeprefix("error: ").rstrip("\n") in message["message"]


def test_a_run_that_a_signal_stops_tells_so(told: JobFolder, inbox: Inbox) -> None:
    told.add("0000.jpg", comment="gate")
    with told.start(faults=DECODER) as run:
        Gate(told).wait()
        run.signal(signal.SIGTERM)
        Gate(told).open()
        run.end().expect(143)
    assert inbox.titles == ["stopped by SIGTERM (exit code 143)"]


def test_the_job_says_at_which_exit_codes_and_a_division_says_which_it_is(
    told: JobFolder, inbox: Inbox
) -> None:
    told.add(*numbered(2))
    told.run("--set", "run.notify_on=[0]", "--divide", "1/1").expect(0)
    told.add_bad("bad.jpg")
    told.run("--set", "run.notify_on=[0]", "--divide", "1/1").expect(3)
    (message,) = inbox.messages
    assert message["title"].startswith(
        f"resnet-pipe: nightly, division 1/1, on {socket.gethostname()}: all done"
    )
    assert message["type"] == "success"


def test_a_program_is_told_as_the_command_is(told: JobFolder, inbox: Inbox) -> None:
    heard: list[events.Event] = []
    job = resnet_pipe.load_job(told.file)
    with pytest.raises(RunError):
        resnet_pipe.run(job, heard.append)
    assert inbox.titles == ["the run could not finish (exit code 1)"]
    with mock.patch.dict(os.environ, OPS_CHAT=inbox.refusing), pytest.raises(RunError):
        resnet_pipe.run(job, heard.append)
    assert [event.fields["text"] for event in heard if event.name == "warning"] == [
        "no notification by OPS_CHAT: JSON has refused it (HTTP status 500)"
    ]


UNUSABLE = {
    "not set": ({}, "run.notify: not set, or empty: OPS_CHAT"),
    "empty": ({"OPS_CHAT": " "}, "run.notify: not set, or empty: OPS_CHAT"),
    "no address": ({"OPS_CHAT": SECRET}, "what is in OPS_CHAT is not, or not only, addresses"),
    "no such service": ({"OPS_CHAT": f"{SECRET}://host/x"}, "what is in OPS_CHAT is not, or not only,"),
    "one wrong": ({"OPS_CHAT": f"json://host/x, no://{SECRET}"}, "what is in OPS_CHAT is not, or not only,"),
    "words before": ({"OPS_CHAT": f"{SECRET} json://host/x"}, "what is in OPS_CHAT is not, or not only,"),
    "no text": (
        {"OPS_CHAT": f"json://{SECRET}/\udcff"},
        "what is in OPS_CHAT is not, or not only, addresses",
    ),
    "a file": ({"OPS_CHAT": f"file:///etc/{SECRET}"}, "what is in OPS_CHAT is not, or not only,"),
    "a desktop": ({"OPS_CHAT": f"macosx://{SECRET}"}, "what is in OPS_CHAT is not, or not only,"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cannot_be_sent_to_is_refused_before_anything_changes(job: JobFolder, case: str) -> None:
    job.write(run="notify: [OPS_CHAT]")
    job.add("a.jpg")
    variables, expected = UNUSABLE[case]
    with mock.patch.dict(os.environ, variables):
        said = job.run().expect(2).stderr
    assert expected in said
    assert SECRET not in said
    assert not job.out.exists()


def test_a_dry_run_and_a_plan_refuse_what_a_run_does_and_tell_nobody(told: JobFolder, inbox: Inbox) -> None:
    told.run("--dry-run").expect(1)
    assert inbox.messages == []
    job = resnet_pipe.load_job(told.file)
    with mock.patch.dict(os.environ, OPS_CHAT=""):
        assert "not set, or empty: OPS_CHAT" in told.run("--dry-run").expect(2).stderr
        with pytest.raises(UsageError, match="not set, or empty: OPS_CHAT"):
            resnet_pipe.plan(job)


def test_without_apprise_the_extra_is_named(told: JobFolder) -> None:
    with mock.patch.dict(sys.modules, apprise=None):
        said = told.run().expect(2).stderr
    assert "pip install 'resnet-pipe[notify]'" in said
    said = told.run(children="import sys; sys.modules['apprise.common'] = None").expect(2).stderr
    assert "apprise cannot be loaded: its process exited with status 1" in said
    assert not told.out.exists()


def test_one_that_is_not_told_is_a_warning_and_the_others_are_told(told: JobFolder, inbox: Inbox) -> None:
    told.write(run="notify: [MAIL, OPS_CHAT, NOBODY]")
    told.add_bad("bad.jpg")
    with socket.create_server(("127.0.0.1", 0)) as gone:
        nobody = f"json://{SECRET}@127.0.0.1:{gone.getsockname()[1]}/"
    addresses = {"MAIL": f"{inbox.refusing}, {inbox.address}", "NOBODY": nobody}
    with mock.patch.dict(os.environ, addresses):
        said = told.run("--quiet").expect(3)
    unaffected = "; the results are not affected"
    assert said.stderr.split("\n")[1:3] == [
        f"warning: no notification by MAIL: JSON has refused it (HTTP status 500){unaffected}",
        "warning: no notification by NOBODY: JSON cannot be reached, does not answer, or has refused it"
        f"{unaffected}",
    ]
    assert len(inbox.titles) == 2
    assert_secret(told, said.stdout, said.stderr)


def test_a_server_that_hangs_is_given_up_and_holds_no_lock(told: JobFolder, inbox: Inbox) -> None:
    told.add_bad("bad.jpg")
    free = []

    def look() -> None:
        with (told.out / HOME / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free.append(True)

    inbox.before = look
    with listening(None) as silent, mock.patch.object(notification, "LIMIT_S", 1.0):
        addresses = {"OPS_CHAT": f"{silent.replace('http', 'json')}/{SECRET} {inbox.address}"}
        with mock.patch.dict(os.environ, addresses):
            said = told.run("--quiet").expect(3)
    assert "no notification by OPS_CHAT: JSON has not taken it within 1 s" in said.stderr
    assert free == [True]
    assert_secret(told, said.stdout, said.stderr)


HANGING = """
import sys
if "resnet_pipe.report.notification_process" in sys.orig_argv:
    import ctypes, socket
    socket.socket.connect = lambda *_: ctypes.PyDLL(None).pause()  # with the lock of the interpreter held
"""


def test_a_process_that_hangs_is_ended(told: JobFolder, inbox: Inbox) -> None:
    told.add_bad("bad.jpg")
    with mock.patch.multiple(notification, LIMIT_S=0.5, LOADING_S=1.0):
        said = told.run("--quiet", children=HANGING).expect(3)
    assert "warning: no notification by OPS_CHAT: its process did not respond for 1.5 s" in said.stderr
    assert inbox.messages == []


def test_whatever_names_are_in_a_message_it_is_short_plain_text(told: JobFolder, inbox: Inbox) -> None:
    name = "<b>*x*\x1b[2J\u202e" + 200 * "x"
    folders = [f"{number}/{name}" for number in range(5)]
    for folder in folders:
        (told.folder / folder).mkdir(parents=True)
    reader = f"{{kind: images, path: {json.dumps(folders)}}}"
    told.run("--set", f"reader={reader}", "--set", r'name="<i>\u0007\nx"').expect(1)
    (message,) = inbox.messages
    assert message["title"].startswith(r"resnet-pipe: <i>\x07\x0ax on ")
    assert r"<b>*x*\x1b[2J\u202exxx" in message["message"]
    lines = message["message"].split("\n")
    assert all(line.isprintable() and len(line) <= 500 for line in lines)
    assert lines[-1] == f"results: {told.out}"


def test_of_a_long_message_the_middle_is_left_out(told: JobFolder, network: Path, inbox: Inbox) -> None:
    deep = told.folder / (200 * "d") / (200 * "e") / (150 * "f")
    deep.mkdir(parents=True)
    job = JobFolder(deep, network)
    kinds = ("path: out, kind: parquet", "kind: csv", "kind: jsonl")
    writers = ", ".join(f"{{{kind}, fields: [top_k], k: 99}}" for kind in kinds)
    job.write(run="notify: [OPS_CHAT]", writer=f"[{writers}]")
    said = job.run().expect(2).stderr
    (message,) = inbox.messages
    text = message["message"]
    assert len(said) > 1800 == len(text)
    assert text.startswith(f"{told.folder}/ddd")
    assert text.endswith("fff/out")


def test_a_message_that_is_redirected_has_reached_nobody(
    told: JobFolder, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_CHAT", inbox.moved)
    said = told.run("--quiet").expect(1).stderr
    assert "warning: no notification by OPS_CHAT: JSON has refused it (HTTP status 302)" in said


def test_a_signal_while_the_message_is_sent_changes_neither_what_is_printed_nor_the_exit_code(
    told: JobFolder, inbox: Inbox
) -> None:
    told.add("a.jpg")
    arrived, go_on = Event(), Event()

    def hold() -> None:
        arrived.set()
        go_on.wait(30)

    inbox.before = hold
    with told.start("--set", "run.notify_on=[0]") as run:
        assert arrived.wait(60)
        run.signal(signal.SIGTERM)
        go_on.set()
        said = run.end().expect(0)
    assert said.stdout.startswith("1 source done, 0 failed")
    assert inbox.titles == ["all done, or nothing new (exit code 0)"]
