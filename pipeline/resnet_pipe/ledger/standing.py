"""failures.jsonl: the failures currently in the results, from any run, as opposed to those of one run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from resnet_pipe.ledger.ledger import Ledger

NAME = "failures.jsonl"


@dataclass(frozen=True)
class Standing:
    """How many failures the ledger of an output directory holds, from all its divisions and runs.

    They are sources without rows, and those that lack some of their rows or files.
    """

    failed: int
    partial: int

    def of_earlier_runs(self, of_this_run: int) -> str:
        """Return how many are from earlier runs, in words; empty if there are none."""
        earlier = self.failed + self.partial - of_this_run
        return f"{earlier} from earlier runs" if earlier > 0 else ""


def write(ledger: Ledger) -> Standing:
    """Write failures.jsonl, with every failure in the ledger; return how many there are."""
    store = ledger.store
    with store.alone():
        while True:  # in a bucket, until no other division has written it since the records were read
            counts, mark = Counter[str](), store.mark(NAME)
            if store.exchange(NAME, _lines(ledger, counts), mark) is not None:
                return Standing(counts["failed"], counts["partial"])


def _lines(ledger: Ledger, counts: Counter[str]) -> Iterator[bytes]:
    """Yield a line for each failure, and count them by status."""
    for record in ledger.records():
        for entry in record.entries.detailed:
            if entry.failure is not None:
                counts[entry.status] += 1
                line = {
                    "path": entry.source.key,
                    "status": entry.status,
                    "rows": entry.rows,
                    "stage": entry.failure.stage,
                    "error": entry.failure.error,
                    "message": entry.failure.message,
                    "attempts": entry.attempts,
                    "size": entry.source.size,
                    "mtime_ns": entry.source.version,
                    "chunk": record.chunk,
                }
                yield json.dumps(line, ensure_ascii=False).encode() + b"\n"
