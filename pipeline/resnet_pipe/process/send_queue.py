"""What waits to be sent to a child process: its parent must never wait for it to read."""

from __future__ import annotations

import pickle
import queue
import threading
from contextlib import suppress
from multiprocessing.connection import Connection


class SendQueue:
    """Messages to a child process, sent by a separate thread.

    A child that hangs reads nothing, and one that waits for its parent to read its own message does not
    either: a parent that itself sent a message larger than the socket's buffer would wait for ever.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._deliver, name="send queue", daemon=True)
        self._thread.start()

    def put(self, message: object) -> None:
        """Send a message soon, as it is now. A child that is dead gets nothing."""
        self._messages.put(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))

    def close(self) -> None:
        """End the thread. The child must be dead, or this may wait for it."""
        self._messages.put(None)
        self._thread.join()

    def _deliver(self) -> None:
        with suppress(OSError):  # it is dead; whoever listens to it finds out
            while (message := self._messages.get()) is not None:
                self._connection.send_bytes(message)
