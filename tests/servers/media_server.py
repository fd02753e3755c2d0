"""Serve media over HTTP with faults on command, and log every request.

The behaviour is part of the URL: `/ok/NAME`, `/404/NAME`, `/hang/NAME` ... A leading count makes a
fault transient: `/2x503/NAME` refuses two requests and then serves. NAME is a file of `folder`.
"""

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = b"<!doctype html><html><head><title>Please wait</title></head><body>No.</body></html>"
TYPES = {".mp4": "video/mp4", ".webm": "video/webm", ".zip": "application/zip"}


@dataclass
class RequestLog:
    """The requests of a server.

    Attributes:
        requests: (seconds since the epoch, method, path, Range header) of each request.
        seen: Requests by path.
        lock: Held while a request is added.
    """

    requests: list[tuple[float, str, str, str | None]] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, handler: BaseHTTPRequestHandler) -> int:
        """Add a request and return how often its path was requested before."""
        with self.lock:
            self.requests.append(
                (time.time(), handler.command, handler.path, handler.headers.get("Range"))
            )
            self.seen[handler.path] += 1
            return self.seen[handler.path] - 1


class MediaServer(ThreadingHTTPServer):
    """Serve `folder` on a loopback port while used as a context manager."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.folder = folder
        self.log = RequestLog()
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        """The URL of the server's root."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> "MediaServer":
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore the connections that the faults break."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: MediaServer

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        """Answer as for GET, without a body."""
        self.do_GET()

    def do_GET(self) -> None:
        """Log the request and behave as its URL says."""
        before = self.server.log.add(self)
        _, command, name = self.path.split("?")[0].split("/", 2)
        times, _, rest = command.partition("x")
        if rest and times.isdigit():
            command = rest if before < int(times) else "ok"
        status, _, argument = command.partition("-")
        if status.isdigit():
            self.refuse(int(status), argument)
        else:
            getattr(self, f"serve_{status}")(name, argument)

    def refuse(self, status: int, retry_after: str) -> None:
        """Answer with an error status and no body."""
        self.send_response(status)
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def serve_ok(self, name: str, _: str) -> None:
        """Serve the file or the requested range of it."""
        data = self.content(name)
        if data is None:
            self.refuse(404, "")
            return
        span = self.headers.get("Range")
        start, end = _parse_range(span, len(data)) if span else (0, len(data))
        if start >= len(data):
            self.refuse(416, "")
            return
        self.begin(name, end - start, 206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.end_headers()
        self.body(data[start:end])

    def serve_norange(self, name: str, _: str) -> None:
        """Serve the whole file and ignore the Range header."""
        data = self.content(name) or b""
        self.begin(name, len(data), ranges=False)
        self.end_headers()
        self.body(data)

    def serve_drip(self, name: str, _: str) -> None:
        """Serve one byte every 0.2 s."""
        data = self.content(name) or b""
        self.begin(name, len(data))
        self.end_headers()
        for byte in data:
            self.body(bytes([byte]))
            if self.server.closing.wait(0.2):
                return

    def serve_endless(self, name: str, _: str) -> None:
        """Send the file again and again, without a length."""
        self.send_response(200)
        self.send_header("Content-Type", TYPES.get(Path(name).suffix, "text/html"))
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            while self.command != "HEAD" and not self.server.closing.is_set():
                self.wfile.write((self.content(name) or b"") * 100)

    def serve_hang(self, name: str, _: str) -> None:
        """Send the headers and then nothing."""
        self.begin(name, 1000)
        self.end_headers()
        self.wfile.flush()
        self.server.closing.wait(120)
        self.close_connection = True

    def serve_silent(self, *_: str) -> None:
        """Send nothing, not even headers."""
        self.server.closing.wait(120)
        self.close_connection = True

    def serve_reset(self, name: str, _: str) -> None:
        """Send half of the file and then a TCP reset."""
        data = self.content(name) or b""
        self.begin(name, len(data))
        self.end_headers()
        self.body(data[: len(data) // 2])
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def serve_short(self, name: str, _: str) -> None:
        """Announce more bytes than are sent."""
        data = self.content(name) or b""
        self.begin(name, len(data) + 5000)
        self.end_headers()
        self.body(data)
        self.close_connection = True

    def serve_html(self, *_: str) -> None:
        """Serve a web page instead of the video."""
        self.begin("page.html", len(PAGE))
        self.end_headers()
        self.body(PAGE)

    def serve_liar(self, *_: str) -> None:
        """Serve a web page with the content type of a video."""
        self.begin("page.mp4", len(PAGE))
        self.end_headers()
        self.body(PAGE)

    def serve_loop(self, *_: str) -> None:
        """Redirect to the same URL."""
        self.send_response(302)
        self.send_header("Location", self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def serve_to(self, address: str, _: str) -> None:
        """Redirect to an address."""
        self.send_response(302)
        self.send_header("Location", address)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def content(self, name: str) -> bytes | None:
        """Return a file of the folder, or None."""
        path = self.server.folder / name
        return path.read_bytes() if path.is_file() else None

    def begin(self, name: str, length: int, status: int = 200, ranges: bool = True) -> None:
        """Send the status line and the headers that all answers share."""
        self.send_response(status)
        self.send_header("Content-Type", TYPES.get(Path(name).suffix, "text/html"))
        self.send_header("Content-Length", str(length))
        if ranges:
            self.send_header("Accept-Ranges", "bytes")

    def body(self, data: bytes) -> None:
        """Send bytes of the body, except for a HEAD request."""
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(data)


def _parse_range(header: str, size: int) -> tuple[int, int]:
    """Return a Range header as [start, end) in bytes."""
    first, _, last = header.removeprefix("bytes=").partition("-")
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size
