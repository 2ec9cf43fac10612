"""What becomes of a task when a worker has failed on one of its sources: that is tried again, alone."""

from __future__ import annotations

from dataclasses import replace

from resnet_pipe.ledger.record import Failure
from resnet_pipe.run.workers.messages import ReadyBatch, Task


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
        slot=None,
        rows=[],
        failures=[failure],
        sources=task.sources if task.final else 0.0,
        finished=1,
        last=task.final,
    )
