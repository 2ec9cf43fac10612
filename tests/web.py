"""A web server for tests: it serves a folder, and does to requests what it is told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

DATE = "Mon, 30 Nov 2026 00:00:00 GMT"
_BEAT_S = 0.02


@dataclass
class Site:
    """What is served, and how; may be changed meanwhile.

    Attributes:
        folder: where the files are.
        address: of the server, without a slash at the end.
        requests: all so far, method and path as it was asked for.
        refused: the status that a request is refused with, by method and decoded path; None if it is not.
        headers: more headers of an answer that has a file, by decoded path; an empty one is left out.
        before: is called with method and decoded path before the answer, and may wait.
    """

    folder: Path
    address: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    refused: Callable[[str, str], int | None] = lambda _method, _path: None
    headers: Callable[[str], dict[str, str]] = lambda _path: {}
    before: Callable[[str, str], None] = lambda _method, _path: None

    def asked(self, method: str) -> list[str]:
        """Return the paths that were asked for with a method."""
        return [path for one, path in self.requests if one == method]


@contextmanager
def publishing(folder: Path) -> Iterator[Site]:
    """Serve a folder; the ETag of a file is of its content."""
    site = Site(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(self.path)
            site.requests.append((self.command, self.path))
            site.before(self.command, path)
            file = site.folder / path[1:]
            status = site.refused(self.command, path) or (200 if file.is_file() else 404)
            data = file.read_bytes() if status == 200 else b"no such thing"
            headers = {"Content-Length": str(len(data)), "ETag": f'"{hashlib.md5(data).hexdigest()}"'}  # noqa: S324
            headers |= {"Last-Modified": DATE, **(site.headers(path) if status == 200 else {})}
            if status in (301, 302):
                headers["Location"] = site.headers(path)["Location"]
            self.send_response(status)
            for name, value in headers.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """Say nothing: clients are killed."""

    with Server(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(_BEAT_S,), daemon=True).start()
        site.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield site
        finally:
            server.shutdown()
