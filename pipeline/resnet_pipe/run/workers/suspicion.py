"""What follows when a worker fails on a source: it is tried again, alone. Many in a row end the run."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from resnet_pipe.errors import RunError
from resnet_pipe.ledger.record import RETRYABLE, Failure
from resnet_pipe.run.workers.messages import ReadyBatch, Split, Task

LONGEST = 5
"""This many consecutive failures that may be the machine's fault are taken to be."""


def rest(task: Task, posted: ReadyBatch | None) -> Task:
    """Return what is left of a task whose worker has died on no source in particular.

    What came before the last message that it posted about the task is safe, what came after it is lost.
    """
    if posted is None:
        return task
    keys, number = task.keys[posted.finished :], posted.number + 1
    # What has been read as a whole is not split.
    return replace(task, keys=keys, may_split=None, first_number=number, skip=posted.items)


def pieces(task: Task, posted: ReadyBatch | None, suspect: int) -> list[Task]:
    """Return what is left of a task: the sources before a suspect, the suspect, and those after it.

    `suspect` is its position in the task as the worker had it. `first_number` of a piece that follows another
    is known when that has ended.
    """
    left = rest(task, posted)
    at = suspect - (len(task.keys) - len(left.keys))
    before, after = left.keys[:at], left.keys[at + 1 :]
    cut = []
    if before:
        cut.append(replace(left, keys=before, may_split=None, final=False))
        left = replace(left, skip=0)
    cut.append(replace(left, keys=(left.keys[at],), alone=True, final=task.final and not after))
    if after:
        cut.append(replace(left, keys=after, may_split=None, skip=0))
    return cut


def given_up(task: Task, posted: ReadyBatch | None, failure: Failure) -> ReadyBatch:
    """Return the message that ends the task of a suspect, on which a worker has failed again."""
    return ReadyBatch(
        task=task.index,
        span=task.span.index if task.span else 0,
        number=rest(task, posted).first_number,
        failures=[failure],
        sources=task.sources if task.final else 0.0,
        finished=1,
        last=task.final,
    )


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
