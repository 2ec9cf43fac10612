"""Sources that fail one after the other, with no row in between: then the machine is at fault."""

from __future__ import annotations

from collections.abc import Set

from resnet_pipe.errors import RunError
from resnet_pipe.ledger.record import RETRYABLE, Failure
from resnet_pipe.run.workers.messages import ReadyBatch, Split

LONGEST = 5
"""This many consecutive failures that may be the machine's fault are taken to be."""


class Streak:
    """Holds failures back that may be the machine's, until a row proves that it works.

    The sources with the known keys failed in an earlier run. They come together, first of all, and that they
    fail again says nothing new: they are held back by nobody.
    """

    def __init__(self, known: Set[str] = frozenset()) -> None:
        self._known = known
        self._held: list[ReadyBatch] = []
        self._failures: dict[str, Failure] = {}
        """By key: spans of one video count once."""

    def admit(self, message: ReadyBatch | Split) -> list[ReadyBatch | Split]:
        """Return what may go on now that a worker has said this.

        Raises:
            RunError: it is the last of too many in a row.
        """
        if isinstance(message, Split):
            return [message]
        if message.rows:
            return [*self.release(), message]
        doubtful = [failure for failure in message.failures if self._is_doubtful(failure)]
        if not doubtful:
            return [message]
        self._held.append(message)
        self._failures.update((failure.key, failure) for failure in doubtful)
        if len(self._failures) >= LONGEST:
            last = doubtful[-1]
            raise RunError(
                f"{len(self._failures)} sources in a row could not be read, though each was tried twice: the"
                f" machine is probably at fault, so none of them is recorded. The last: {last.key}:"
                f" {last.message}",
                "check the input's disk or network, and the memory; then run the same command again:"
                " committed results are kept",
                "limits",
            )
        return []

    def release(self) -> list[ReadyBatch]:
        """Return the failures that were held back: the streak has ended."""
        held, self._held, self._failures = self._held, [], {}
        return held

    def _is_doubtful(self, failure: Failure) -> bool:
        return failure.transient and failure.error in RETRYABLE and failure.key not in self._known
