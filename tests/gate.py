"""A way to a server that can be closed and opened again: while it is closed, nobody answers."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from select import select
from threading import Thread


class Gate:
    """Passes what comes to a port on to another one, until it is closed.

    It closes by itself when the server has sent something through it and `closes_when` is true then.

    Attributes:
        port: to connect to, the same after it has been closed and opened.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self._near: set[socket.socket] = set()
        self.closes_when: Callable[[], bool] = lambda: False
        self.port = 0
        self.open()

    def open(self) -> None:
        """Let connections through."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._accepting = Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Refuse connections, and end those that there are."""
        for one in (self._listener, *self._near):
            with suppress(OSError):  # it has ended
                one.shutdown(socket.SHUT_RDWR)
        self._accepting.join()

    def _accept(self, listener: socket.socket) -> None:
        with listener, suppress(OSError):
            while True:
                near, _ = listener.accept()
                Thread(target=self._pass_on, args=(near,), daemon=True).start()

    def _pass_on(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._to)) as far, suppress(OSError):
            self._near.add(near)
            while True:
                for one in select([near, far], [], [])[0]:
                    data = one.recv(1 << 16)
                    if not data:
                        return
                    (far if one is near else near).sendall(data)
                    if one is far and self.closes_when():
                        self.closes_when = lambda: False
                        self.close()
