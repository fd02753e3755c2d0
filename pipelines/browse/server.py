"""Serve the pages on this machine until Ctrl-C."""

import contextlib
import socket
import threading
import webbrowser
from collections.abc import Callable

import uvicorn

from avstore.manifests.store import StoreError
from avstore.pipelines.browse.access import Access
from avstore.pipelines.browse.app import create_app
from avstore.pipelines.browse.session import Session
from avstore.pipelines.browse.training import RunLibrary


def listen(port: int) -> socket.socket:
    """Return a socket on 127.0.0.1; port 0 takes a free one.

    Raises:
        StoreError: The port is in use or not allowed.
    """
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(("127.0.0.1", port))
        found.listen(128)  # now, so that a browser that comes early waits
    except OSError as error:
        found.close()
        raise StoreError(
            f"port {port} cannot be used ({error.strerror}); give another --port, or 0 for a free "
            "one"
        ) from error
    return found


def serve(
    session: Session,
    listener: socket.socket,
    runs: RunLibrary | None,
    *,
    open_browser: bool,
    announce: Callable[[str], None],
) -> None:
    """Serve the pages until Ctrl-C or SIGTERM.

    Args:
        session: The store.
        listener: Socket of `listen`.
        runs: Training runs to show, or None.
        open_browser: Whether to open the address in the user's browser.
        announce: Called with the address, which holds the token.
    """
    access = Access(listener.getsockname()[1])
    config = uvicorn.Config(
        create_app(session, access, runs),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=2,
    )
    announce(access.address)
    if open_browser:
        threading.Thread(target=webbrowser.open, args=(access.first_address,), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        _Server(config, session).run(sockets=[listener])
    session.close()


class _Server(uvicorn.Server):
    """A server that does not wait for long queries when it stops."""

    def __init__(self, config: uvicorn.Config, session: Session) -> None:
        super().__init__(config)
        self._session = session

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop serving."""
        self._session.interrupt()
        await super().shutdown(sockets)
