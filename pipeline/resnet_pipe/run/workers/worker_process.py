"""A worker process. A decoder that crashes or hangs on a hostile file takes it down, and nothing else.

Everything is imported before the first source comes: a library that cannot be imported is no fault of a
source. Nor does this module import one: it has to say so.
"""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import NamedTuple


class WorkerReady(NamedTuple):
    """A worker's first word, if it can begin: all that it needs is imported."""


class WorkerBroken(NamedTuple):
    """A worker's word that it cannot work at all, regardless of the source; with the problem."""

    problem: str


def serve(connection: Connection, memory: int) -> None:
    """Serve the run; `memory` is the descriptor of the memory with the slots."""
    try:
        from resnet_pipe.run.workers.worker import Worker

        worker = Worker(connection, memory)
    except (EOFError, ConnectionError):
        raise
    except Exception as error:  # ImportError, and what numpy raises for a library made for another version
        connection.send(WorkerBroken(_in_words(error)))
        return
    connection.send(WorkerReady())
    try:
        worker.serve()
    except ImportError as error:  # of what is imported late
        connection.send(WorkerBroken(_in_words(error)))


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
