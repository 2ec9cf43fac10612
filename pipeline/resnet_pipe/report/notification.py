"""Notifications: messages to addresses of apprise, by which people are told how a run has ended.

The addresses are secrets. They are in environment variables, which are all that is named here: in no message
and no log is anything of their values.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from resnet_pipe.errors import MissingExtraError, UsageError
from resnet_pipe.process.child import Child, ChildError

LIMIT_S = 10.0
"""The most that all addresses together get to take a message."""
LOADING_S = 30.0
"""For apprise with its hundred services, from a cold disk."""
_PROCESS = "resnet_pipe.report.notification_process"


class Message(NamedTuple):
    """A title on one line, plain text, and how good the news are: services have colours for that."""

    title: str
    text: str
    kind: Literal["success", "warning", "failure"]


class Request(NamedTuple):
    """What the process is asked: to send a message, or, without one, whether all addresses are understood."""

    variables: tuple[str, ...]
    message: Message | None
    limit_s: float


def prove(variables: Sequence[str]) -> None:
    """Make sure that the variables hold addresses; nothing is sent.

    Raises:
        MissingExtraError: apprise is not installed.
        UsageError: a variable is not set, or holds something else.
    """
    if not variables:
        return
    if find_spec("apprise") is None:
        raise MissingExtraError("apprise", "notify", "run.notify")
    unset = [name for name in variables if not os.environ.get(name, "").strip()]
    if unset:
        raise UsageError(
            f"run.notify: not set, or empty: {', '.join(unset)}",
            "give them addresses of apprise where the run is started: cron and systemd have an environment of"
            " their own",
        )
    try:
        wrong = _ask(variables, None)
    except OSError as error:  # E2BIG, of variables that are too long for a process
        raise UsageError(
            f"run.notify: its process cannot be started: {error.strerror}", "shorten the variables"
        ) from None
    except ChildError as error:
        raise UsageError(
            f"run.notify: apprise cannot be loaded: its process {error}",
            "python -c 'import apprise' shows why; pip install --force-reinstall apprise",
        ) from None
    if wrong:
        raise UsageError(
            f"run.notify: what is in {wrong[0]} is not, or not only, addresses that apprise can send to",
            f'apprise --dry-run -vv --body test "${wrong[0]}" shows what is wrong, with the address',
        )


def send(variables: Sequence[str], message: Message) -> list[str]:
    """Send a message to all addresses; return what went wrong, for each that it has not reached."""
    try:
        return _ask(variables, message)
    except ChildError as error:
        return [f"no notification by {', '.join(variables)}: its process {error}"]


def _ask(variables: Sequence[str], message: Message | None) -> list[str]:
    """Have a process of its own do it, which is ended whatever it is doing.

    A server may hang for ever, and apprise would wait for it at the end of the program. What it prints is
    dropped: its log has addresses.
    """
    with Path(os.devnull).open("wb") as nowhere, Child(_PROCESS, output=nowhere.fileno()) as process:
        process.send(Request(tuple(dict.fromkeys(variables)), message, LIMIT_S))
        answer: list[str] = process.receive(LOADING_S + (LIMIT_S if message else 0.0))
        return answer
