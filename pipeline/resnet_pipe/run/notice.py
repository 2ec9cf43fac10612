"""What people are told when a run has ended: at which exit codes, and in what words."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from resnet_pipe.errors import ExitCode, ResnetPipeError
from resnet_pipe.job.job import Job
from resnet_pipe.report import notification
from resnet_pipe.report.notification import Message
from resnet_pipe.report.one_line import on_one_line
from resnet_pipe.run.observe.events import Event, Events, Listener
from resnet_pipe.run.observe.observer import Guard
from resnet_pipe.run.observe.outcome import Outcome
from resnet_pipe.run.observe.summary import sources, summary
from resnet_pipe.run.plan import Division

_LINE, _TEXT = 500, 1800
"""The longest line, and text, in characters: some services refuse 2000, others would send a novel as SMS."""


_KINDS: dict[ExitCode, Literal["success", "warning", "failure"]] = {
    ExitCode.DONE: "success",
    ExitCode.WINDOW_ENDED: "success",
    ExitCode.SOME_FAILED: "warning",
    ExitCode.SIGINT: "warning",
    ExitCode.SIGTERM: "warning",
}
"""How good the news are; any other is a failure."""


def with_notice(
    job: Job, division: Division | None, listener: Listener | None, execute: Callable[[Listener], Outcome]
) -> Outcome:
    """Execute a run, and tell the addresses of `run.notify` how it has ended, whatever that is.

    They are told when the run holds its output directory no longer: whoever waits for that need not wait for
    a server. What goes wrong with it is a warning to the listener; the log of the run is closed by then.

    Raises:
        UsageError: there is something that cannot be sent to; nothing has been executed.
        BaseException: what `execute` raises.
    """
    notification.prove(job.run.notify)
    events, ended = Events(listener), dict[str, Any]()
    guard = Guard(events)

    def listen(event: Event) -> None:
        if event.name == "run_ended":
            ended.update(event.fields)
        if listener is not None:
            listener(event)

    def tell(code: ExitCode, account: Callable[[], str]) -> None:
        if job.run.notify and code in job.run.notify_on:
            guard.call("notification", _tell, job, division, code, account, events)

    try:
        outcome = execute(listen)
    except BaseException as error:
        tell(_code_of(error), partial(_account_of, error, job, ended))
        raise
    tell(outcome.exit_code, partial(_account, outcome))
    return outcome


def _tell(
    job: Job, division: Division | None, code: ExitCode, account: Callable[[], str], events: Events
) -> None:
    message = Message(_title(job, division, code), _plain(account()), _KINDS.get(code, "failure"))
    for problem in notification.send(job.run.notify, message):
        events.tell("warning", text=problem)


def _code_of(error: BaseException) -> ExitCode:
    if isinstance(error, ResnetPipeError):
        return error.exit_code
    return ExitCode.SIGINT if isinstance(error, KeyboardInterrupt) else ExitCode.FAILED


def _title(job: Job, division: Division | None, code: ExitCode) -> str:
    share = f", division {division.index}/{division.count}," if division else ""
    what = code.meaning.partition(";")[0]
    text = f"resnet-pipe: {job.name}{share} on {socket.gethostname()}: {what} (exit code {code:d})"
    return _cut(on_one_line(text), _LINE)


def _account(outcome: Outcome) -> str:
    """Return what is told of a run that did not end in an error."""
    warning = f"warning: {outcome.plan.warning}\n" if outcome.plan.warning else ""
    return warning + summary(outcome, stages=False)


def _account_of(error: BaseException, job: Job, ended: dict[str, Any]) -> str:
    """Return what is told of a run that ended in an error; `ended` is its last event, if it had begun."""
    text = str(error) if isinstance(error, ResnetPipeError) else f"{type(error).__name__}: {error}"
    if isinstance(error, KeyboardInterrupt):
        text = "stopped by Ctrl-C"
    lines = [text]
    if ended:
        damaged = f", {ended['partial']} partial" if ended["partial"] else ""
        lines.append(f"committed: {sources(ended['done'])} done{damaged}, {ended['failed']} failed")
    lines.append(f"results: {job.output}")
    if ended.get("report"):
        lines.append(f"report: {ended['report']}")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Return a text of which every line is as long as it looks: there may be any name in it."""
    return _cut("\n".join(_cut(on_one_line(line), _LINE) for line in text.split("\n")), _TEXT)


def _cut(text: str, most: int) -> str:
    """Return a text of at most so many characters: if it has more, without its middle."""
    end = (most - 3) // 2
    return text if len(text) <= most else f"{text[: most - 3 - end]}...{text[-end:]}"
