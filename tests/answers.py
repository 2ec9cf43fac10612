"""A server that answers every request with what a function makes of its path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote
from xml.sax.saxutils import escape


@contextmanager
def answering(answer: Callable[[str], tuple[int, bytes]]) -> Iterator[str]:
    """Serve; yield the address. The function gets the path, with the query, and returns status and body."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = answer(unquote(self.path))
            self.send_response(status)
            for name, value in {
                "Content-Length": str(len(body)),
                "ETag": '"tag"',
                "Last-Modified": "Mon, 30 Nov 2026 00:00:00 GMT",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def listing(*names: str) -> bytes:
    """Return the listing of a bucket as S3 sends it; each object has ten bytes."""
    objects = "".join(
        f"<Contents><Key>{escape(name)}</Key><ETag>tag</ETag><Size>10</Size>"
        "<LastModified>2026-11-30T00:00:00Z</LastModified></Contents>"
        for name in names
    )
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{objects}</ListBucketResult>".encode()


def error(code: str) -> bytes:
    """Return an error as S3 sends it."""
    return f"<Error><Code>{code}</Code><Message>says the server</Message></Error>".encode()
