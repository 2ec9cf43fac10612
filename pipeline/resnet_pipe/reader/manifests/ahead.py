"""What threads do to many things, several at a time; results come in the order of the things."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

_Thing = TypeVar("_Thing")
_Result = TypeVar("_Result")
_AHEAD = 8
"""So many things for each thread: one that takes long does not hold the others up."""


def ahead(do: Callable[[_Thing], _Result], things: Iterable[_Thing], threads: int) -> Iterator[_Result]:
    """Yield what a function returns for each thing; what it raises is raised in its place.

    Threads that are not waited for do it: the process can end at once.
    """
    queue: SimpleQueue[tuple[_Thing, Future[_Result]] | None] = SimpleQueue()
    begun: deque[Future[_Result]] = deque()

    def begin(some: Iterable[_Thing]) -> None:
        for thing in some:
            begun.append(Future())
            queue.put((thing, begun[-1]))

    def work() -> None:
        while (given := queue.get()) is not None:
            thing, future = given
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(do(thing))
            except BaseException as error:  # whatever it is, it is raised below
                future.set_exception(error)

    rest = iter(things)
    for _ in range(threads):
        Thread(target=work, name="ahead", daemon=True).start()
    try:
        begin(islice(rest, _AHEAD * threads))
        while begun:
            yield begun.popleft().result()
            begin(islice(rest, 1))
    finally:
        for future in begun:
            future.cancel()
        for _ in range(threads):
            queue.put(None)
