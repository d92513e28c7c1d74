"""What stands before every route: who may ask, how large a request may be, what a browser may do with an answer.

host and site -> token -> size and time of the body -> routes -> headers -> count
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

from unrolled.server.counts import Counts
from unrolled.server.problems import Problem, problem_response
from unrolled.server.start import is_loopback

__all__ = ["Guards", "is_public", "path_of"]

Scope, Message = MutableMapping[str, Any], MutableMapping[str, Any]
Receive, Send = Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TOLD = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(self)",
    "cache-control": "no-cache",
}
_HEADERS = [(name.encode(), value.encode()) for name, value in _TOLD.items()]
#: The pages themselves, which ask for the token and to which other sites may lead, and what else is told to everyone.
_PAGES = ("/", "/docs")
_OPEN = ("/health", "/ready", "/static/")


def path_of(scope: Scope) -> str:
    """What a request asks for, below where the application is mounted."""
    return scope["path"].removeprefix(scope.get("root_path", ""))


def is_public(path: str) -> bool:
    """Return whether a path is answered without the token."""
    return path in _PAGES or path.startswith(_OPEN)


class Guards(NamedTuple):
    """token: what requests have to show, none where nobody has to; loopback: only names of this machine are answered, so
    that no page of another site can ask by a name that points here; body, seconds: of a request at most.
    """

    app: App
    counts: Counts
    token: str | None
    loopback: bool
    body: int
    seconds: float

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status, trouble = time.perf_counter(), 500, list[Problem]()

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                there = {name.lower() for name, _ in message.get("headers", ())}
                own = [header for header in _HEADERS if header[0] not in there]
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        async def told_unless_cut(message: Message) -> None:
            if not trouble:
                await told(message)

        try:
            try:
                self._check(scope)
                await self.app(scope, self._limited(receive, trouble), told_unless_cut)
            except Problem as problem:
                trouble.append(problem)
            if trouble:  # whatever the routes made of a body that was cut off
                await problem_response(trouble[0])(scope, receive, told)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self.counts.requests.labels(route, str(status)).inc()
            self.counts.seconds.labels(route).observe(time.perf_counter() - begun)

    def _check(self, scope: Scope) -> None:
        """Problem for a request that may not be answered."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path, host = path_of(scope), headers.get("host", "")
        if self.loopback and not is_loopback(host):
            raise Problem(421, "this server answers to the names of its own machine only: localhost, 127.0.0.1")
        elsewhere = headers.get("sec-fetch-site") in ("cross-site", "same-site") and path not in _PAGES
        if elsewhere or headers.get("origin", f"//{host}").partition("//")[2].lower() != host.lower():
            raise Problem(403, "pages of other sites may not ask this server")
        if self.token is not None and not is_public(path):
            kind, _, shown = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(shown.encode("latin-1"), self.token.encode()):
                why = "send the server's token: Authorization: Bearer ..."
                raise Problem(401, why, headers={"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.body:
            raise Problem(413, self._too_large)

    @property
    def _too_large(self) -> str:
        return f"a request has at most {self.body / 1e6:g} MB"

    def _limited(self, receive: Receive, trouble: list[Problem]) -> Receive:
        """The body, as long as it is neither too large nor too slow; else that is put into `trouble`."""
        room, until, whole = self.body, time.monotonic() + self.seconds, False

        async def received() -> Message:
            nonlocal room, whole
            if whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, until - time.monotonic()))
            except TimeoutError:
                trouble.append(Problem(408, f"the request did not come within {self.seconds:g} s"))
                raise trouble[0] from None
            room -= len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if room < 0:
                trouble.append(Problem(413, self._too_large))
                raise trouble[0]
            return message

        return received
