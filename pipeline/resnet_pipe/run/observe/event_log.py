"""The log of a run for machines: log.jsonl, one object for each event, UTC."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path


class EventLog:
    """Appends events to a file, each flushed at once; without a path, drops them. Used from several threads.

    An event that cannot be written (the disk is full) is dropped: what matters is committed elsewhere, and
    there the same fault ends the run with its reason. `error` has dropped the first one; None if all are
    written.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._file = path.open("ab", buffering=0) if path else None
        self.error: OSError | None = None

    def event(self, name: str, **values: object) -> None:
        """Append one event, with the time and its details: chunk, source, text."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": name, **values}, ensure_ascii=False) + "\n"
        with self._lock:
            try:
                if self._file is not None:
                    # A path in an error may hold bytes that are not UTF-8; JSON has an escape for these.
                    self._file.write(line.encode(errors="backslashreplace"))
            except OSError as error:
                self.error = self.error or error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
