"""A request that a thread makes, so that who waits for the answer can show meanwhile that it is alive."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from typing import TypeVar

_BEAT_S = 0.5
"""How often to show that this process is alive."""
_Answer = TypeVar("_Answer")


def started(ask: Callable[[], _Answer]) -> Future[_Answer]:
    """Have a thread make a request; the process can end before it has an answer."""
    future: Future[_Answer] = Future()

    def make() -> None:
        try:
            future.set_result(ask())
        except BaseException as error:  # whatever it is, `answer` will raise it
            future.set_exception(error)

    Thread(target=make, name="request", daemon=True).start()
    return future


def answer(future: Future[_Answer], alive: Callable[[], None]) -> _Answer:
    """Return what a request gives, or raise what it raises; `alive` is called while that takes long."""
    while not wait([future], _BEAT_S).done:
        alive()
    return future.result()
