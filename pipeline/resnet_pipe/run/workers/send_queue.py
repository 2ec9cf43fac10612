"""What waits to be sent to a worker: the run itself must never wait for a worker to read."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from multiprocessing.connection import Connection

from resnet_pipe.run.workers.messages import Setup, Task


class Outbox:
    """Messages to a worker, sent by a separate thread.

    A worker that hangs reads nothing, and one that waits for the run to read its own message does not either:
    a run that sent a message larger than the socket's buffer itself would wait for ever.

    Args:
        connection: to the worker.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._messages: queue.SimpleQueue[Setup | Task | int | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._deliver, name="outbox", daemon=True)
        self._thread.start()

    def put(self, message: Setup | Task | int) -> None:
        """Send a message soon. A dead worker gets nothing; its successor gets all that it had."""
        self._messages.put(message)

    def close(self) -> None:
        """End the thread and close the connection of a worker that is dead."""
        self._messages.put(None)
        self._thread.join()
        self._connection.close()

    def _deliver(self) -> None:
        with suppress(ConnectionError):
            while (message := self._messages.get()) is not None:
                self._connection.send(message)
