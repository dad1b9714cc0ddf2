"""What stands before every request: who may ask, how much may be sent, and what a browser may do with the answer.

A body is read here, up to its limit, before anything looks at it. When a client goes away its request is cancelled,
wherever it waits.
"""

import asyncio
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polyprompt.serve.errors import Refused, of_refusal

BODY = 24 << 20
"""Bytes of one request: a picture of 16 MB in base64, and more."""
BODIES = 192 << 20
"""Bytes of all requests that are being read or answered; more have to wait."""
COOKIE = "polyprompt"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
OPEN = frozenset({"/", "/page.js", "/page.css", "/icon.svg", "/session"})
"""Asked without a token: they hold nothing of a collection, and a browser asks for the token with them."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass
class Guard:
    """An ASGI app around another.

    Args:
        app: what answers.
        token: what has to be shown; None: nothing, and then only names of this machine are answered to, so that no web
            page can have a name of its own point here and read along (DNS rebinding).
    """

    app: ASGIApp
    token: str | None = None
    held: int = 0
    """Bytes of bodies in memory."""
    patience: float = 30.0
    """Seconds between two parts of a body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or answers it with the reason for which it is refused."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        size = 0
        try:
            self._check_asker(scope)
            body = bytearray()
            try:
                async for part in self._parts(scope, receive):
                    size += len(part)
                    body += part
                await self._answered(scope, bytes(body), receive, guarded)
            finally:
                self.held -= size
        except Refused as error:
            response: Response = of_refusal(error)
            response.headers["Connection"] = "close"  # the rest of the body is not read
            await response(scope, receive, guarded)
        return None

    def _check_asker(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.token is None and _name(host) not in LOOPBACK:
            raise Refused(403, "this server answers to localhost alone; start it with a token to answer to other names")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            raise Refused(403, "requests of other sites' pages are not answered")
        if self.token is None or scope["path"] in OPEN:
            return
        shown = headers.get("authorization", "").removeprefix("Bearer ")
        if not shown:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
            shown = cookie.value if cookie else ""
        if not same(shown, self.token):
            raise Refused(401, "this server needs its token: Authorization: Bearer TOKEN")

    async def _parts(self, scope: Scope, receive: Receive) -> AsyncIterator[bytes]:
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            raise Refused(400, "Content-Length is no number")
        if int(length) > BODY:
            raise Refused(413, f"a request may have {BODY:,} bytes")
        size = 0
        while True:
            try:
                message = await asyncio.wait_for(receive(), self.patience)
            except TimeoutError:
                raise Refused(408, f"nothing came for {self.patience:g} seconds") from None
            part = message.get("body", b"")
            size += len(part)
            if size > BODY:
                raise Refused(413, f"a request may have {BODY:,} bytes")
            if self.held + len(part) > BODIES:
                raise Refused(503, "too many large requests at once; try again")
            self.held += len(part)
            yield part
            if not message.get("more_body", False):
                return

    async def _answered(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                await asyncio.Event().wait()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        answering = asyncio.ensure_future(self.app(scope, replay, send))
        gone = asyncio.ensure_future(receive())
        try:
            await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                answering.cancel()
            await asyncio.gather(answering, return_exceptions=gone.done())
        finally:
            answering.cancel()
            gone.cancel()


def same(shown: str, token: str) -> bool:
    """Whether it is the token, in a time that does not tell how much of it is right."""
    return hmac.compare_digest(shown.encode(), token.encode())


def _name(host: str) -> str:
    """The name of a Host header, without port and brackets."""
    return host[1:].split("]")[0] if host.startswith("[") else host.rsplit(":", 1)[0] if ":" in host else host
