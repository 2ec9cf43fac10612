"""A worker process: `python -m resnet_pipe.run.workers.worker_process CONNECTION MEMORY RUN`.

It gets two inherited descriptors, and the process id of the run. A decoder that crashes or hangs on a hostile
file takes this process down, and nothing else. Everything is imported before the first source comes: a
library that cannot be imported is no fault of a source.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from resnet_pipe.process import child
from resnet_pipe.run.workers.ready import Broken, Ready


def main(arguments: list[str]) -> None:
    """Serve the run. `arguments` are the descriptors of connection and memory, and the run's process id."""
    child.die_with(int(arguments[2]))
    connection: Any = Connection(int(arguments[0]))
    with suppress(EOFError, ConnectionError):  # the run has closed the connection or is gone
        _serve(connection, int(arguments[1]))
    os._exit(0)


def _serve(connection: Any, memory: int) -> None:  # noqa: ANN401 - multiprocessing's are generic
    try:
        from resnet_pipe.run.workers.worker import Worker

        worker = Worker(connection, memory)
    except (EOFError, ConnectionError):
        raise
    except Exception as error:  # ImportError, and what numpy raises for a library made for another version
        connection.send(Broken(_in_words(error)))
        return
    connection.send(Ready())
    try:
        worker.serve()
    except ImportError as error:  # of what is imported late
        connection.send(Broken(_in_words(error)))


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


if __name__ == "__main__":
    main(sys.argv[1:])
