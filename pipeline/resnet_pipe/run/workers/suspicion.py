"""What becomes of a task when a worker has failed on one of its sources: that is tried again, alone."""

from __future__ import annotations

from dataclasses import replace

from resnet_pipe.ledger.failure import Failure
from resnet_pipe.run.workers.messages import ReadyBatch, Task


def rest(task: Task, posted: ReadyBatch | None) -> Task:
    """Return what is left of a task after its worker has died on no source in particular.

    Args:
        task: as the dead worker had it.
        posted: its last message about the task: what came before it is safe, what came after it is lost.
    """
    if posted is None:
        return task
    keys, number = task.keys[posted.finished :], posted.number + 1
    # What has been read as a whole is not split.
    return replace(task, keys=keys, may_split=None, first_number=number, skip=posted.items)


def pieces(task: Task, posted: ReadyBatch | None, suspect: int) -> list[Task]:
    """Return what is left of a task: the sources before a suspect, the suspect, and those after it.

    `first_number` of a piece that follows another is known when that has ended.

    Args:
        task: as the worker had it.
        posted: its last message about the task.
        suspect: position of the source it has failed on.
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
    """Return the message that ends a suspect on which a worker has failed again.

    Args:
        task: of this one source.
        posted: the worker's last message about it.
        failure: what is recorded.
    """
    return ReadyBatch(
        task=task.index,
        span=task.span.index if task.span else 0,
        number=rest(task, posted).first_number,
        slot=None,
        rows=[],
        failures=[failure],
        sources=task.sources if task.final else 0.0,
        finished=1,
        last=task.final,
    )
