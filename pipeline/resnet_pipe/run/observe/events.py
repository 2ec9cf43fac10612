"""What happens in a run, told to its log and to whoever called it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from resnet_pipe.run.observe.event_log import EventLog


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
    """Tells a listener, and the log of the run once that is open, of events. Used from several threads."""

    def __init__(self, listener: Listener | None) -> None:
        self.log = EventLog(None)
        self._listener = listener

    def tell(self, name: str, **fields: object) -> None:
        """Tell the log and the listener of an event."""
        self.log.event(name, **fields)
        self._show(name, fields)

    def note(self, text: str, unusual: bool) -> None:
        """Tell of something; see `Event`."""
        self.log.event("note", text=text)
        self._show("note", {"text": text, "unusual": unusual})

    def progress(self, sources: int, items: int, failures: int) -> None:
        """Tell the listener the totals so far; the log has no room for them."""
        self._show("progress", {"sources": sources, "items": items, "failures": failures})

    def _show(self, name: str, fields: dict[str, Any]) -> None:
        listener = self._listener
        if listener is None:
            return
        try:
            listener(Event(name, fields))
        except Exception as error:
            self._listener = None
            self.log.event("warning", text=f"events are told no more: {type(error).__name__}: {error}")
