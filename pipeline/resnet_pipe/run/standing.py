"""What is wrong in the results now, whichever run it is of. What a run has done itself is something else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """How many failures stand in the ledger of an output directory, those of all its parts and runs.

    Attributes:
        failed: sources without rows.
        partial: sources that lack some of their rows or files.
    """

    failed: int
    partial: int

    def of_earlier_runs(self, of_this_run: int) -> str:
        """Return how many stand from earlier runs, in words; empty if there are none."""
        earlier = self.failed + self.partial - of_this_run
        if earlier <= 0:
            return ""
        return f"{earlier} from earlier runs"
