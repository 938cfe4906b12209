"""A web server on loopback that serves a file well or badly, as told: what downloads meet in the wild."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@dataclass
class Served:
    """One address: its bytes, and how they are served.

    `faults` are used up one a request, then the file is served well; `always` never ends. A fault is `cut` (the
    connection ends half-way), `empty`, `short` (a whole answer that holds half), `html`, or a status such as `500`.
    """

    body: bytes
    faults: list[str] = field(default_factory=list)
    always: str | None = None
    ranges: bool = True
    modified: float | None = None
    content_type: str = "application/octet-stream"


@dataclass
class Server:
    url: str
    files: dict[str, Served]
    requests: list[tuple[str, str | None]]  # path and Range of each


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HTTPServer

    def do_GET(self) -> None:
        served = self.server.files.get(self.path)
        self.server.requests.append((self.path, self.headers["Range"]))
        if served is None:
            self._send(404, b"not here")
            return
        fault = served.always or (served.faults.pop(0) if served.faults else "")
        if fault.isdigit():
            self._send(int(fault), b"trouble")
        elif fault == "html":
            self._send(200, HTML, content_type="text/plain; charset=utf-8")
        elif fault == "empty":
            self._send(200, b"")
        elif fault == "short":
            self._send(200, served.body[: len(served.body) // 2])
        elif served.modified and self.headers["If-Modified-Since"] == formatdate(served.modified, usegmt=True):
            self._send(304, b"")
        else:
            self._file(served, cut=fault == "cut")

    def _file(self, served: Served, cut: bool) -> None:
        body, status, extra = served.body, 200, {}
        if served.modified:
            extra["Last-Modified"] = formatdate(served.modified, usegmt=True)
        asked = self.headers["Range"]
        if asked and served.ranges:
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
            if first >= len(body):
                self._send(416, b"", extra={"Content-Range": f"bytes */{len(body)}"})
                return
            extra["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
            body, status = body[first:], 206
        self._send(status, body, served.content_type, extra, sent=len(body) // 2 if cut else None)

    def _send(self, status, body, content_type="text/plain", extra=None, sent=None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        for key, value in (extra or {}).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body[:sent])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Silent."""


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    files: dict[str, Served]
    requests: list[tuple[str, str | None]]


@contextmanager
def serving(files: dict[str, Served]) -> Iterator[Server]:
    """Serve `files` by their absolute paths until the block ends."""
    server = _HTTPServer(("127.0.0.1", 0), _Handler)
    server.files, server.requests = files, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.server_port}", files, server.requests)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
