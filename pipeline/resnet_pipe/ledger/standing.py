"""The failures currently in the results, from any run, as opposed to those of one run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """How many failures the ledger of an output directory holds, from all its divisions and runs.

    Attributes:
        failed: sources without rows.
        partial: sources that lack some of their rows or files.
    """

    failed: int
    partial: int

    def of_earlier_runs(self, of_this_run: int) -> str:
        """Return how many are from earlier runs, in words; empty if there are none."""
        earlier = self.failed + self.partial - of_this_run
        if earlier <= 0:
            return ""
        return f"{earlier} from earlier runs"
