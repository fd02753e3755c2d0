"""Who may read the pages: this machine's user, by a token, from a page of the same address.

Other programs of the machine lack the token. Other sites can neither read an answer (origin, cookie
and resource policies) nor reach the server by a name of their own (DNS rebinding: Host is checked).
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"""Content security policy: nothing inline, nothing from elsewhere."""
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class Access:
    """What a request needs.

    Attributes:
        port: Port of the server.
        token: Secret of this server's address.
        once: Secret of the address that the server opens itself. It is on the browser's command
            line, where other users of the machine can read it, so it is good for one request.
    """

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    once: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Values of the header Host."""
        return (f"127.0.0.1:{self.port}", f"localhost:{self.port}")

    @property
    def cookie(self) -> str:
        """Name of the cookie; cookies of all ports of a host are shared."""
        return f"avstore-{self.port}"

    @property
    def address(self) -> str:
        """The address to open."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    @property
    def first_address(self) -> str:
        """An address that opens the pages once."""
        return f"http://127.0.0.1:{self.port}/?token={self.once}"


class Guard:
    """Refuse requests without access; add the headers of every answer.

    Args:
        app: The application.
        access: What a request needs.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        self._unused = {access.once}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no web sockets

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer = self._refusal(scope) or self._entry(scope) or self._locked(scope) or self._app
        await answer(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """Refuse other methods, hosts and origins."""
        headers = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("the store is read-only\n", 405, {"Allow": "GET, HEAD"})
        if headers.get("host", "") not in self._access.hosts:
            return PlainTextResponse("this host name is not served here\n", 421)
        origin = headers.get("origin")
        own = {f"http://{host}" for host in self._access.hosts}
        site = headers.get("sec-fetch-site", "none")
        is_page = headers.get("sec-fetch-mode", "navigate") == "navigate"
        if (origin and origin not in own) or (site in _FOREIGN and not is_page):
            return PlainTextResponse("requests of other sites are refused\n", 403)
        return None

    def _entry(self, scope: Scope) -> Response | None:
        """Answer an address with the token: keep it in a cookie, and open the page without it.

        The page opens itself, since a redirect that began on another site carries no strict cookie.
        """
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(pairs).get("token")
        if given is None or not (self._is_token(given) or given in self._unused):
            return None
        self._unused.discard(given)
        rest = urlencode([pair for pair in pairs if pair[0] != "token"])
        path = "/" + quote(scope["path"].lstrip("/"))
        target = escape(f"{path}?{rest}" if rest else path, quote=True)
        page = (
            "<!doctype html><html lang=en><meta charset=utf-8><title>avstore</title>"
            '<link rel="icon" href="/static/icon.svg">'
            f'<meta http-equiv="refresh" content="0; url={target}">'
            f'<p><a href="{target}">Open the store</a>'
        )
        answer = HTMLResponse(page)
        answer.set_cookie(
            self._access.cookie, self._access.token, path="/", httponly=True, samesite="strict"
        )
        return answer

    def _locked(self, scope: Scope) -> Response | None:
        """Refuse a request without the cookie."""
        cookies: Mapping[str, str] = cookie_parser(Headers(scope=scope).get("cookie", ""))
        if self._is_token(cookies.get(self._access.cookie, "")):
            return None
        return PlainTextResponse("open the address that avstore browse printed\n", 403)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._access.token.encode())


_FOREIGN = ("cross-site", "same-site")
