"""What happens in a run, told to its log, log.jsonl, and to whoever called it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from io import RawIOBase
from pathlib import Path
from typing import Any, NamedTuple


class Event(NamedTuple):
    """Something that has happened in a run.

    Attributes:
        name: one of the events in log.jsonl, see docs/unattended.md; or `progress`, several times a second,
            with the totals so far: `sources`, `items`, `failures`.
        fields: what log.jsonl says of it. A `note` also has `unusual`: whether to say it in a quiet run.
    """

    name: str
    fields: dict[str, Any]


Listener = Callable[[Event], None]
"""Is told of each event, from several threads. It watches: if it raises, it is told no more."""


class Events:
    """Tells a listener of events, and the log of the run once that is open. Used from several threads.

    In the log, each is a JSON object on a line of its own, flushed at once. An event that cannot be written
    (the disk is full) is dropped: what matters is committed elsewhere, and there the same fault ends the run
    with its reason.

    Attributes:
        log_error: the first reason why an event could not be written to the log.
    """

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener
        self._lock = threading.Lock()
        self._file: RawIOBase | None = None
        self.log_error: OSError | None = None

    def open_log(self, path: Path) -> None:
        """Append to a file from now on."""
        self._file = path.open("ab", buffering=0)

    def close(self) -> None:
        """Close the log; what is told from now on, the listener alone hears."""
        with self._lock, suppress(OSError):
            file, self._file = self._file, None
            if file is not None:
                file.close()

    def tell(self, name: str, **fields: object) -> None:
        """Tell the log and the listener of an event."""
        self.log(name, **fields)
        self._show(name, fields)

    def note(self, text: str, unusual: bool) -> None:
        """Tell of something; see `Event`."""
        self.log("note", text=text)
        self._show("note", {"text": text, "unusual": unusual})

    def progress(self, sources: int, items: int, failures: int) -> None:
        """Tell the listener the totals so far; the log has no room for them."""
        self._show("progress", {"sources": sources, "items": items, "failures": failures})

    def log(self, name: str, **values: object) -> None:
        """Tell the log alone of an event: the time (UTC) and its details, such as chunk, source, text."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": name, **values}, ensure_ascii=False) + "\n"
        with self._lock:
            try:
                if self._file is not None:
                    # A path in an error may hold bytes that are not UTF-8; JSON has an escape for these.
                    self._file.write(line.encode(errors="backslashreplace"))
            except OSError as error:
                self.log_error = self.log_error or error

    def _show(self, name: str, fields: dict[str, Any]) -> None:
        listener = self._listener
        if listener is None:
            return
        try:
            listener(Event(name, fields))
        except Exception as error:
            self._listener = None
            self.log("warning", text=f"events are told no more: {type(error).__name__}: {error}")
