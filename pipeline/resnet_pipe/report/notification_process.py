"""The process that knows the addresses of notifications: apprise, with all its services."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from resnet_pipe.report.notification import Message, Request

if TYPE_CHECKING:
    from apprise import Apprise, NotifyResult

_DESKTOP = ("dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "windows")
"""What shows a message to whoever sits at this machine, which is nobody. Some start programs for it."""
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_STATUS = re.compile(r"\berror=([1-5][0-9]{2})\b")
"""How apprise logs the status of an answer (HTTP). Nothing else of its log is shown: addresses are in it."""


def serve(connection: Connection) -> None:
    """Answer a request: with the variables that hold something else, or with what went wrong."""
    request: Request = connection.recv()
    known, owners, wrong = _load(request.variables)
    if request.message is None:
        connection.send(wrong)
        return
    lost = [f"no notification by {name}: it holds no address any more" for name in wrong]
    connection.send(lost + _send(known, owners, request.message, request.limit_s))


def _load(variables: Sequence[str]) -> tuple[Apprise, list[str], list[str]]:
    """Return all addresses, the variable of each, and the variables that hold anything else as well."""
    import apprise

    apprise.NotificationManager().disable(*_DESKTOP)
    asset = apprise.AppriseAsset(app_id="resnet-pipe", app_desc="resnet-pipe")
    asset.http_redirects = False  # what is sent to a page for logging in has reached nobody
    known = apprise.Apprise(asset=asset)
    owners: list[str] = []
    wrong = []
    for name in variables:
        if not _add(known, os.environ.get(name, "")):
            wrong.append(name)
        owners += [name] * (len(known) - len(owners))
    return known, owners, wrong


def _add(known: Apprise, text: str) -> bool:
    """Add the addresses of a variable; return whether it holds nothing else."""
    if not _ADDRESS.match(text):  # what comes before the first one, apprise would ignore
        return False
    try:
        return bool(known.add(text))
    except Exception:  # of any kind: each of a hundred services reads an address in its own way
        return False


def _send(known: Apprise, owners: Sequence[str], message: Message, limit_s: float) -> list[str]:
    if not owners:
        return []
    for service in known:  # has a limit of its own, of four seconds
        service.socket_connect_timeout = service.socket_read_timeout = 2 * limit_s
    sent = known.notify(
        title=message.title,
        body=message.text,
        notify_type=message.kind,
        body_format="text",  # so that nothing in it is taken for HTML or Markdown
        timeout=limit_s,
    )
    return [
        f"no notification by {owner}: {result.name} {_reason(result, limit_s)}"
        for owner, result in zip(owners, sent.results, strict=True)
        if not result
    ]


def _reason(result: NotifyResult, limit_s: float) -> str:
    """Return why a service has not taken the message, in words that hold no address."""
    if result.status.name == "TIMEOUT":
        return f"has not taken it within {limit_s:g} s"
    statuses = [found[1] for entry in result.logs() if (found := _STATUS.search(entry.message))]
    if statuses:
        return f"has refused it (HTTP status {statuses[-1]})"
    return "cannot be reached, does not answer, or has refused it"
