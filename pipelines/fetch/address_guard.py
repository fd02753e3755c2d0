"""Refuse connections to private addresses: a local proxy that yt-dlp and FFmpeg connect through.

A published address, a redirect or an HLS playlist may point anywhere. yt-dlp and FFmpeg resolve and
connect on their own, so the only place that sees every connection is a proxy. It resolves a host
once, and connects to the address that it has checked.
"""

import contextlib
import ipaddress
import select
import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_CONNECT_TIMEOUT_S = 20.0
_BLOCK_BYTES = 1 << 16
_RESET = struct.pack("ii", 1, 0)


class PrivateAddressError(OSError):
    """A host that is at a loopback, private or otherwise local address."""


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the Internet's."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    return all(part.is_global and not part.is_multicast for part in (ip, mapped) if part)


def connect(
    host: str,
    port: int,
    source_address: str | None = None,
    timeout_s: float = _CONNECT_TIMEOUT_S,
    allow_private: bool = False,
) -> socket.socket:
    """Connect to a host, if all of its addresses are public or `allow_private` is set.

    Raises:
        PrivateAddressError: One of them is not.
        OSError: It cannot be resolved or reached.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, address in found:
        if not allow_private and not is_public(str(address[0])):
            raise PrivateAddressError(
                f"refused: {host} is at the private address {address[0]}; set allow_private=true "
                "if clips may come from this machine or its network"
            )
    error: OSError | None = None
    source = (source_address, 0) if source_address else None
    for *_, address in found:
        try:
            return socket.create_connection((str(address[0]), port), timeout_s, source)
        except OSError as failed:
            error = failed
    raise error or OSError(f"{host} has no address")


class AddressGuard(ThreadingHTTPServer):
    """An HTTP proxy on a loopback port for this process and its children.

    Args:
        source_address: Local address to connect from.
        connect: Opens a connection; for tests.

    Attributes:
        errors: Why connections failed since the job began; emptied by the caller.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        source_address: str | None = None,
        connect: Callable[[str, int, str | None], socket.socket] = connect,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.source_address = source_address
        self.connect = connect
        self.errors: list[OSError] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """The proxy's address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore connections that break: both ends notice."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: AddressGuard

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_CONNECT(self) -> None:
        """Open a tunnel."""
        host, _, port = self.path.rpartition(":")
        if upstream := self._connect(host.strip("[]"), int(port)):
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            self._relay(upstream)

    def do_GET(self) -> None:
        """Forward a plain HTTP request, and everything that follows on its connection."""
        parts = urlsplit(self.path)
        if parts.scheme != "http" or not parts.hostname:
            self.send_error(400)
            return
        if upstream := self._connect(parts.hostname, parts.port or 80):
            target = parts._replace(scheme="", netloc="").geturl() or "/"
            lines = [f"{self.command} {target} HTTP/1.1"]
            lines += [
                f"{name}: {value}"
                for name, value in self.headers.items()
                if name.lower() not in ("connection", "proxy-connection", "keep-alive")
            ]
            lines += ["Connection: close", "", ""]
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            upstream.sendall("\r\n".join(lines).encode("latin-1") + body)
            self._relay(upstream)

    def do_HEAD(self) -> None:
        """Forward as for GET."""
        self.do_GET()

    def do_POST(self) -> None:
        """Forward as for GET, with the body."""
        self.do_GET()

    def _connect(self, host: str, port: int) -> socket.socket | None:
        self.close_connection = True
        try:
            return self.server.connect(host, port, self.server.source_address)
        except OSError as error:
            self.server.errors.append(error)
            status = 403 if isinstance(error, PrivateAddressError) else 502
            self.send_error(status)
        return None

    def _relay(self, upstream: socket.socket) -> None:
        """Copy bytes both ways until one end closes; pass a reset on as a reset."""
        client = self.connection
        with upstream, contextlib.suppress(OSError):
            upstream.settimeout(None)
            while True:
                ready, _, _ = select.select([client, upstream], [], [])
                for source in ready:
                    try:
                        block = source.recv(_BLOCK_BYTES)
                    except OSError:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                        client.close()
                        return
                    if not block:
                        return
                    (client if source is upstream else upstream).sendall(block)
