"""A server that takes what a run tells at its end."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "pAssw0rd"  # noqa: S105 - of nothing


@dataclass
class Inbox:
    """A server that takes what apprise's `json://` sends.

    Attributes:
        host: its address, without a scheme.
        messages: that have arrived at `/ops`.
        before: is called before a message is taken.
    """

    host: str = ""
    messages: list[dict[str, str]] = field(default_factory=list)
    before: Callable[[], None] = lambda: None

    @property
    def address(self) -> str:
        """An address with a secret, where messages arrive."""
        return f"json://me:{SECRET}@{self.host}/ops"

    @property
    def refusing(self) -> str:
        """An address with a secret, where messages are refused with HTTP status 500."""
        return f"json://me:{SECRET}@{self.host}/{SECRET}"

    @property
    def moved(self) -> str:
        """An address with a secret, where messages are redirected to a page for logging in."""
        return f"json://me:{SECRET}@{self.host}/moved"

    @property
    def titles(self) -> list[str]:
        """What has arrived, without the part of the title that all have."""
        start = f"resnet-pipe: nightly on {socket.gethostname()}: "
        return [message["title"].removeprefix(start) for message in self.messages]


@contextmanager
def receiving() -> Iterator[Inbox]:
    """Serve an inbox."""
    made = Inbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.before()
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/ops":
                made.messages.append(message)
            self.send_response({"/ops": 200, "/moved": 302}.get(self.path, 500))
            self.send_header("Location", "/login")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        made.host = f"127.0.0.1:{server.server_port}"
        yield made
        server.shutdown()
