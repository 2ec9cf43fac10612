"""A proxy before a server of buckets that loses requests, loses answers, is late, or drops conditions."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

CONDITIONS = ("if-match", "if-none-match")
_OF_THE_CONNECTION = ("connection", "transfer-encoding", "content-length", "date", "server")
Request = tuple[str, str]
"""The method and the path, with its query."""


class Faults:
    """What the proxy does to requests; may be changed while it runs.

    Attributes:
        lost: the share of requests that do not reach the server.
        unanswered: the share whose answers get lost.
        late_s: for how long, at most, a request is held back.
        ignore_conditions: requests lose theirs, as with a server that does not know them.
        before: is called with each request before it goes to the server, and may wait.
        refused: the status that a request is refused with; None if it is passed on.
    """

    def __init__(self, seed: int = 0) -> None:
        self.lost = self.unanswered = self.late_s = 0.0
        self.ignore_conditions = False
        self.before: Callable[[Request], None] = lambda _request: None
        self.refused: Callable[[Request], int | None] = lambda _request: None
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def draw(self) -> tuple[bool, bool, float]:
        """Return whether the next request gets lost, whether its answer does, and how late it is, seconds."""
        with self._lock:
            return (
                self._random.random() < self.lost,
                self._random.random() < self.unanswered,
                self._random.random() * self.late_s,
            )


@contextmanager
def before(endpoint: str, faults: Faults) -> Iterator[str]:
    """Serve as `endpoint` does, but for the faults; yield the address."""
    place = urlsplit(endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            request = (self.command, self.path)
            lost, unanswered, late_s = faults.draw()
            time.sleep(late_s)
            faults.before(request)
            if status := faults.refused(request):
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()
                return
            if lost:
                self._hang_up()
                return
            drop = {"connection", *(CONDITIONS if faults.ignore_conditions else ())}
            headers = {name: value for name, value in self.headers.items() if name.lower() not in drop}
            server = HTTPConnection(place, timeout=60)
            server.request(self.command, self.path, body, headers)
            answer = server.getresponse()
            content = answer.read()
            server.close()
            if unanswered:
                self._hang_up()
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in (
                    "connection",
                    "transfer-encoding",
                    "content-length",
                    "date",
                    "server",
                ):
                    self.send_header(name, value)
            length = answer.getheader("content-length") if self.command == "HEAD" else str(len(content))
            self.send_header("content-length", length or "0")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815 - the library's names

        def _hang_up(self) -> None:
            self.close_connection = True
            self.connection.close()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Say nothing: clients are killed."""

    with Server(("127.0.0.1", 0), Handler) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}"
        finally:
            proxy.shutdown()
