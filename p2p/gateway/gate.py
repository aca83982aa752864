"""What every request passes: its id, the caller's origin and key, a place among the requests in progress, metrics.

Law: whatever goes wrong behind it becomes an answer in the envelope of the path's API. A fault of this program is
logged with the request's id, and the caller learns the id only.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection

import structlog
import trio
from starlette.exceptions import HTTPException

from p2p.base.errors import FolkmootError, Overloaded
from p2p.base.serving_limits import MAX_HTTP_REQUESTS
from p2p.gateway.core.refusals import Forbidden, MethodNotAllowed, NotFound
from p2p.gateway.exchange import Pairs, headers_of, send_error, speaks_anthropic
from p2p.gateway.http.asgi import App, Message, Receive, Scope, Send
from p2p.gateway.keys import Keys
from p2p.gateway.metrics import LEFT, Metrics

log = structlog.get_logger(__name__)

OPEN = ("/health", "/ready")  # paths that need no key, and have a place always
_SLASHES = re.compile("//+")
_MAX_ID = 128  # characters of a caller's own request id


class Gate:
    """The application around all others."""

    def __init__(
        self, app: App, keys: Keys, metrics: Metrics, origins: Collection[str], apis: dict[str, str],
    ) -> None:
        """origins: of web pages that may ask. apis: the name of each path's API, for metrics."""
        self._app = app
        self._keys = keys
        self._metrics = metrics
        self._origins = frozenset(origins)
        self._apis = apis
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        scope["path"] = _SLASHES.sub("/", scope["path"]).rstrip("/") or "/"  # of addresses that were joined carelessly
        request_id = _request_id(headers.get("x-request-id", ""))
        began = trio.current_time()
        scope["app"] = self  # the router raises its 404 and 405 as exceptions then
        scope["state"] |= {"request_id": request_id, "began": began}
        answer = _Answer(send, request_id)
        api = self._api(scope["path"])
        self._metrics.begin(api)
        try:
            await self._guarded(scope, receive, answer, headers)
        finally:
            self._metrics.end(api, answer.status, trio.current_time() - began)

    async def _guarded(self, scope: Scope, receive: Receive, answer: _Answer, headers: dict[str, str]) -> None:
        path, allow = scope["path"], None
        try:
            await self._admitted(scope, receive, answer, headers)
            return
        except FolkmootError as error:
            found = error
        except HTTPException as error:
            found, allow = self._routing_error(error, path), (error.headers or {}).get("Allow")
        except Exception:  # the edge: a fault of this program
            log.exception("a request failed", request_id=answer.request_id, path=path[:200])
            found = FolkmootError(
                f"a fault of this program; its log has more under {answer.request_id}", code="internal_error",
            )
        if answer.is_started:
            raise RuntimeError("an answer broke off") from found
        more: Pairs = [(b"allow", allow.encode())] if allow else []
        speaks = speaks_anthropic(path, headers)
        await send_error(answer.send, found, answer.request_id, more, anthropic=speaks)

    async def _admitted(self, scope: Scope, receive: Receive, answer: _Answer, headers: dict[str, str]) -> None:
        self._check_origin(headers)
        if scope["path"] in OPEN:
            await self._app(scope, receive, answer.send)
            return
        self._keys.check(headers)
        if self._running >= MAX_HTTP_REQUESTS:
            raise Overloaded(f"{MAX_HTTP_REQUESTS} requests are in progress here; ask again soon", retry_after=1)
        self._running += 1
        try:
            await self._app(scope, receive, answer.send)
        finally:
            self._running -= 1

    def _check_origin(self, headers: dict[str, str]) -> None:
        """A page of this very port may ask: its name is then checked with the key, or as one of this machine's own."""
        origin, host = headers.get("origin"), headers.get("host", "")
        if origin is None or (host and origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")):
            return
        if "*" not in self._origins and origin not in self._origins:
            raise Forbidden(
                f"pages of {origin[:100]} may not use this gateway; start it with --cors {origin[:100]}",
                field="origin",
            )

    def _routing_error(self, error: HTTPException, path: str) -> FolkmootError:
        if error.status_code == 405:
            return MethodNotAllowed(f"{path[:100]} takes another method; see the header Allow")
        advice = _base_address(path, self._apis) or "; see docs/gateway.md for what there is"
        return NotFound(f"there is no {path[:100]}{advice}", code="unknown_url")

    def _api(self, path: str) -> str:
        """The name for metrics; every unknown path is `other`."""
        if path in self._apis:
            return self._apis[path]
        return next((name for prefix, name in self._apis.items() if prefix.endswith("/") and path.startswith(prefix)),
                    "other")


class _Answer:
    """What is sent to one client."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.is_started = False
        self.status = LEFT

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_started = True
            ident = self.request_id.encode()
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", ident), (b"request-id", ident)]
            self.status = str(message["status"])
        await self._send(message)


def _request_id(wanted: str) -> str:
    """The caller's own id where it is plain, else a new one."""
    if wanted and len(wanted) <= _MAX_ID and wanted.isascii() and wanted.replace("-", "").replace("_", "").isalnum():
        return wanted
    return f"req_{secrets.token_hex(16)}"


def _base_address(path: str, known: Collection[str]) -> str:
    """What is wrong with the base address that a caller was given, where a path tells it; "" otherwise."""
    if path.startswith("/v1/v1/"):
        return "; give the base address without /v1"
    return "; give the base address with /v1 at its end" if f"/v1{path}" in known else ""
