"""One connection: its requests one after the other.

Law: every wait has a limit (Timing). The socket has one reader at a time: whoever reads a body, and after it a watch
that notices when the client leaves. What a client sends ahead is bounded and waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from http.client import responses
from typing import NoReturn

import h11
import structlog
import trio

from p2p.base import serving_limits as limits
from p2p.gateway.http.asgi import App, Message, scope_of

log = structlog.get_logger(__name__)

_READ = 65_536  # bytes at a time
_WRITE = 65_536
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long each wait may last, and how much is read."""

    idle_s: float = limits.HTTP_IDLE_S
    head_s: float = limits.HTTP_HEAD_S
    send_s: float = limits.HTTP_SEND_S  # for _WRITE bytes
    linger_s: float = limits.HTTP_LINGER_S
    linger: int = limits.HTTP_LINGER
    head: int = limits.MAX_HTTP_HEAD


Wait = Callable[["Connection", Callable[[], Awaitable[bytes]]], Awaitable[bytes]]


class Connection:
    """One client."""

    def __init__(
        self, stream: trio.abc.HalfCloseableStream, app: App, timing: Timing, wait: Wait,
        is_stopping: Callable[[], bool],
    ) -> None:
        """wait: waits for the first bytes of a request, in the server's way."""
        self._stream = stream
        self._app = app
        self._timing = timing
        self._wait = wait
        self._is_stopping = is_stopping
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=timing.head)
        self._ahead = b""  # what came after the request in progress
        self._is_gone = False  # the client left, or takes nothing more

    async def run(self) -> None:
        """Serve it to its end."""
        try:
            while await self._one_request():
                pass
            if not self._is_gone:
                await self._leave()
        except _BROKEN:
            pass
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _one_request(self) -> bool:
        """Whether another one may follow."""
        try:
            request = await self._request()
        except h11.RemoteProtocolError as error:
            await self.refuse(error.error_status_hint)
            return False
        if request is None:
            return False
        await _Exchange(self, request).run()
        http = self._http
        if self._is_gone or http.our_state is not h11.DONE or http.their_state is not h11.DONE:
            return False
        http.start_next_cycle()
        if self._ahead:
            http.receive_data(self._ahead)
            self._ahead = b""
        return True

    async def _request(self) -> h11.Request | None:
        """The next request; None where none comes. Raises h11.RemoteProtocolError."""
        event = self._http.next_event()
        if event is h11.NEED_DATA and not self._http.trailing_data[0]:
            self._http.receive_data(await self._wait(self, self._read))
            event = self._http.next_event()
        with trio.move_on_after(self._timing.head_s):
            while event is h11.NEED_DATA:
                self._http.receive_data(await self._read())
                event = self._http.next_event()
        if isinstance(event, h11.Request) and event.http_version not in (b"1.0", b"1.1"):
            raise h11.RemoteProtocolError("another version of HTTP", error_status_hint=505)
        if isinstance(event, h11.Request) and _ends_in_two_ways(event):
            raise h11.RemoteProtocolError("two ways to tell its end", error_status_hint=400)
        return event if isinstance(event, h11.Request) else None

    async def _read(self) -> bytes:
        return bytes(await self._stream.receive_some(_READ))

    async def next_event(self) -> object:
        """The next part of the request's body. Raises h11.RemoteProtocolError."""
        http = self._http
        if http.they_are_waiting_for_100_continue:
            await self.write(http.send(h11.InformationalResponse(status_code=100, headers=[])))
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(await self._read())
        return event

    async def watch(self, left: Callable[[], None]) -> None:
        """Wait until the client leaves. Only while nobody reads."""
        while len(self._ahead) <= self._timing.head:
            try:
                data = await self._read()
            except _BROKEN:
                data = b""
            if not data:
                self._is_gone = True
                left()
                return
            self._ahead += data

    async def write(self, data: bytes | None) -> None:
        """Send to the client. Raises BrokenResourceError where it left, or takes nothing."""
        for at in range(0, len(data or b""), _WRITE):
            with trio.move_on_after(self._timing.send_s) as scope:
                await self._stream.send_all((data or b"")[at : at + _WRITE])
            if scope.cancelled_caught:
                self._is_gone = True
                raise trio.BrokenResourceError("the client does not read")

    def gone(self) -> None:
        """Nothing more can be sent."""
        self._is_gone = True

    @property
    def http(self) -> h11.Connection:
        return self._http

    @property
    def app(self) -> App:
        return self._app

    @property
    def is_last(self) -> bool:
        """Whether no request follows this one."""
        return self._is_stopping()

    async def refuse(self, status: int) -> None:
        """Answer what is no request."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        what = "the headers are too large" if status == 431 else "this is not an HTTP/1.1 request"
        body = b'{"error":{"message":"%s","type":"invalid_request_error","param":null,"code":"bad_request"}}'
        body %= what.encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        sent = self._http.send(h11.Response(status_code=status, headers=headers, reason=_reason(status)))
        await self.write((sent or b"") + (self._http.send(h11.Data(data=body)) or b""))

    async def _leave(self) -> None:
        """Close so that a client that still sends can read its answer: what it sends is thrown away for a while."""
        with trio.move_on_after(self._timing.linger_s), suppress(*_BROKEN):
            await self._stream.send_eof()
            left = self._timing.linger
            while left > 0 and (data := await self._read()):
                left -= len(data)


def _ends_in_two_ways(request: h11.Request) -> bool:
    """Whether a proxy in front could see another end of this request than h11: then what follows would be a request of
    somebody else (RFC 9112, 6.1)."""
    said = {name for name, _ in request.headers}
    return b"transfer-encoding" in said and (b"content-length" in said or request.http_version == b"1.0")


def _reason(status: int) -> bytes:
    return responses.get(status, "").encode()


def _has_body(request: h11.Request) -> bool:
    said = dict(request.headers)
    return b"transfer-encoding" in said or said.get(b"content-length", b"0") != b"0"


class _Exchange:
    """One request and its answer."""

    def __init__(self, connection: Connection, request: h11.Request) -> None:
        self._connection = connection
        self._request = request
        self._scope = trio.CancelScope()
        self._body_read = trio.Event()
        self._head = b""  # of the answer, until its first body comes
        self._is_started = False
        self._is_complete = False
        self._is_end_told = False

    async def run(self) -> None:
        """Run the application, and complete its answer."""
        if not _has_body(self._request):
            self._connection.http.next_event()  # the end of the request
            self._body_read.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            with self._scope:
                try:
                    await self._connection.app(scope_of(self._request), self._receive, self._send)
                except Exception:  # the edge of the application
                    log.exception("a request failed", path=self._request.target[:200].decode("latin-1"))
            nursery.cancel_scope.cancel()
        if self._is_complete or self._scope.cancelled_caught:
            return
        if self._is_started:
            self._connection.gone()  # the client must not take the answer for complete
            return
        with suppress(*_BROKEN):
            await self._answer(500, [(b"content-length", b"0")])
            await self._body(b"", is_last=True)

    async def _watch(self) -> None:
        await self._body_read.wait()
        await self._connection.watch(self._scope.cancel)

    async def _receive(self) -> Message:
        if self._body_read.is_set():
            if self._is_end_told:
                await trio.sleep_forever()  # a client that leaves cancels the application
            self._is_end_told = True
            return {"type": "http.request", "body": b"", "more_body": False}
        try:
            event = await self._connection.next_event()
        except h11.RemoteProtocolError as error:
            await self._break_off(error.error_status_hint)
        except _BROKEN:
            await self._break_off(0)
        if isinstance(event, h11.Data):
            return {"type": "http.request", "body": bytes(event.data), "more_body": True}
        self._is_end_told = True
        self._body_read.set()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _break_off(self, status: int) -> NoReturn:
        """The body has no end that can be found. status: to say so, where nothing was said yet."""
        if status and not self._is_started:
            with suppress(*_BROKEN):
                await self._connection.refuse(status)
        else:
            self._connection.gone()
        self._scope.cancel()
        await trio.sleep_forever()
        raise AssertionError

    async def _send(self, message: Message) -> None:
        try:
            if message["type"] == "http.response.start":
                await self._answer(message["status"], list(message.get("headers", ())))
            elif message["type"] == "http.response.body":
                await self._body(bytes(message.get("body", b"")), is_last=not message.get("more_body", False))
        except _BROKEN:
            self._connection.gone()
            self._scope.cancel()
            await trio.sleep_forever()

    async def _answer(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        headers.append((b"date", formatdate(usegmt=True).encode()))
        if self._connection.is_last or not self._body_read.is_set():  # a body that nobody reads is not skipped
            headers.append((b"connection", b"close"))
        self._is_started = True
        head = h11.Response(status_code=status, headers=headers, reason=_reason(status))
        self._head = self._connection.http.send(head) or b""

    async def _body(self, data: bytes, *, is_last: bool) -> None:
        http, out = self._connection.http, self._head
        self._head = b""
        if data and self._request.method != b"HEAD":
            out += http.send(h11.Data(data=data)) or b""
        if is_last:
            self._is_complete = True
            out += http.send(h11.EndOfMessage()) or b""
        await self._connection.write(out)
