"""The HTTP server: whatever a client does or leaves undone ends within a limit, and other clients notice nothing.

Time is trio's own here: it jumps to the next deadline when nothing else can happen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from p2p.base.serving_limits import HTTP_HEAD_S, HTTP_IDLE_S, HTTP_LINGER_S, HTTP_SEND_S, MAX_HTTP_BODY
from p2p.gateway.app import new_app
from p2p.gateway.http.asgi import App, Receive, Scope, Send
from p2p.gateway.http.server import HttpServer, Limits
from tests.gateway.scripted import Answer, ScriptedBackend

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHAT = b'{"model":"tiny","messages":[{"role":"user","content":"hi"}]%s}'


def post(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    """A request to /v1/chat/completions."""
    head = [
        b"POST /v1/chat/completions HTTP/1.1", b"Host: localhost", b"Content-Type: application/json",
        b"Content-Length: %d" % (len(body) if length is None else length), *headers,
    ]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


class Client:
    """The other end of one connection."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.got = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def read(self, until: bytes = b"\r\n\r\n") -> bytes:
        """What comes up to `until`."""
        while until not in self.got:
            data = await self.stream.receive_some()
            assert data, f"closed after {self.got!r}"
            self.got += data
        found, _, self.got = self.got.partition(until)
        return found

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        while data := await self._some():
            self.got += data
        found, self.got = self.got, b""
        return found

    async def _some(self) -> bytes:
        try:
            return bytes(await self.stream.receive_some())
        except trio.BrokenResourceError:
            return b""


@asynccontextmanager
async def serving(app: App | ScriptedBackend, limits: Limits | None = None) -> AsyncIterator[tuple[HttpServer, Any]]:
    """(server, a function that opens a connection)."""
    server = HttpServer(new_app(app) if isinstance(app, ScriptedBackend) else app, limits)
    async with trio.open_nursery() as nursery:

        def connect() -> Client:
            ours, theirs = memory_stream_pair()
            nursery.start_soon(server.handle, theirs)
            return Client(ours)

        yield server, connect
        nursery.cancel_scope.cancel()


async def test_one_connection_serves_many_requests_also_when_they_come_together() -> None:
    async with serving(ScriptedBackend()) as (_, connect):
        client = connect()
        await client.send(GET + GET + post(CHAT % b""))
        for _ in range(2):
            assert (await client.read()).startswith(b"HTTP/1.1 200")
            assert await client.read(b"}") == b'{"status":"ok"'
        assert (await client.read()).startswith(b"HTTP/1.1 200")
        await client.read(b"}}}")
        await client.send(GET)
        assert (await client.read()).startswith(b"HTTP/1.1 200")


async def test_a_stream_is_sent_in_chunks_and_the_connection_stays() -> None:
    async with serving(ScriptedBackend()) as (_, connect):
        client = connect()
        await client.send(post(CHAT % b',"stream":true'))
        head = await client.read()
        assert b"transfer-encoding: chunked" in head.lower()
        assert b"data: [DONE]" in await client.read(b"\r\n0\r\n\r\n")
        await client.send(GET)
        assert (await client.read()).startswith(b"HTTP/1.1 200")


async def test_a_hundred_megabytes_are_refused_without_being_read() -> None:
    async with serving(ScriptedBackend()) as (_, connect):
        client = connect()
        await client.send(post(b"", length=100_000_000))  # and not one byte of it
        head = await client.read()
        assert head.startswith(b"HTTP/1.1 413")
        assert b"connection: close" in head
        assert b"request_too_large" in await client.read(b"}}")


async def test_a_body_in_chunks_is_refused_when_it_is_too_large() -> None:
    async with serving(ScriptedBackend()) as (_, connect):
        client = connect()
        await client.send(post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
        async with trio.open_nursery() as nursery:
            part = b"x" * 65_536

            async def send_all() -> None:
                for _ in range(2 * MAX_HTTP_BODY // len(part)):
                    await client.send(b"%x\r\n%s\r\n" % (len(part), part))

            nursery.start_soon(send_all)
            assert (await client.read()).startswith(b"HTTP/1.1 413")
            nursery.cancel_scope.cancel()


async def test_who_waits_for_100_is_told_to_go_on_or_that_it_is_too_much() -> None:
    async with serving(ScriptedBackend()) as (_, connect):
        client, body = connect(), CHAT % b""
        await client.send(post(b"", b"Expect: 100-continue", length=len(body)))
        assert (await client.read()).startswith(b"HTTP/1.1 100")
        await client.send(body)
        assert (await client.read()).startswith(b"HTTP/1.1 200")
        other = connect()
        await other.send(post(b"", b"Expect: 100-continue", length=10**9))
        assert (await other.read()).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(("raw", "status"), [
    (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"400"), (b"GET /\r\n\r\n", b"400"),
    (b"GET / HTTP/1.1\r\n\r\n", b"400"), (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", b"400"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 200_000 + b"\r\n\r\n", b"431"),
])
async def test_what_is_no_request_is_answered_and_closed(raw: bytes, status: bytes) -> None:
    async with serving(ScriptedBackend()) as (_, connect):
        client = connect()
        await client.send(raw)
        assert (await client.rest()).split(b" ")[1] == status


@pytest.mark.parametrize("raw", [
    post(b"", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",  # beside a Content-Length
    post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0")
    + b"0\r\n\r\n",
    post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"zz\r\n",
    post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"1\r\nabc\r\n0\r\n\r\n",
])
async def test_what_could_end_at_two_places_is_refused_and_nothing_after_it_is_read(raw: bytes) -> None:
    """A proxy in front may see another end: what follows would be somebody else's request."""
    async with serving(ScriptedBackend()) as (_, connect):
        client = connect()
        await client.send(raw + GET)
        assert (await client.read()).startswith(b"HTTP/1.1 400")
        assert b"HTTP/1.1 2" not in await client.rest()


async def test_a_silent_connection_ends(autojump_clock: MockClock) -> None:
    async with serving(ScriptedBackend()) as (server, connect):
        client, begun = connect(), trio.current_time()
        assert await client.rest() == b""
        assert trio.current_time() - begun == pytest.approx(HTTP_IDLE_S + HTTP_LINGER_S, abs=HTTP_LINGER_S)
        assert server.connections <= 1


async def test_half_a_request_ends_sooner(autojump_clock: MockClock) -> None:
    async with serving(ScriptedBackend()) as (_, connect):
        client, begun = connect(), trio.current_time()
        await client.send(GET[:20])
        assert await client.rest() == b""
        assert trio.current_time() - begun <= HTTP_HEAD_S + HTTP_LINGER_S


async def test_headers_that_come_byte_by_byte_end_as_soon(autojump_clock: MockClock) -> None:
    async with serving(ScriptedBackend()) as (_, connect):
        client, begun = connect(), trio.current_time()

        async def drip() -> None:
            for byte in GET * 100:
                await client.send(bytes([byte]))
                await trio.sleep(1)  # trio's own seconds, which pass at once

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip)
            assert await client.rest() == b""
            nursery.cancel_scope.cancel()
        assert trio.current_time() - begun <= HTTP_HEAD_S + HTTP_LINGER_S + 1


async def test_a_body_that_does_not_come_is_answered(autojump_clock: MockClock) -> None:
    async with serving(ScriptedBackend()) as (_, connect):
        client = connect()
        await client.send(post(b"{", length=100))
        assert (await client.read()).startswith(b"HTTP/1.1 400")
        assert b'"timeout"' in await client.rest()


async def test_who_takes_nothing_loses_its_answer_and_the_answer_ends(autojump_clock: MockClock) -> None:
    from p2p.gateway.http.asgi import Message

    over = trio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {"type": "http.response.start", "status": 200, "headers": []}
        await send(start)
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        finally:
            over.set()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        stop = trio.Event()
        server = HttpServer(endless)
        await nursery.start(server.serve, listeners, stop)
        stream = await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1])
        await stream.send_all(GET)
        begun = trio.current_time()
        await over.wait()
        assert HTTP_SEND_S <= trio.current_time() - begun < 2 * HTTP_SEND_S
        stop.set()


@pytest.mark.parametrize("form", [b',"stream":true', b""], ids=["streamed", "in one piece"])
async def test_a_client_that_leaves_ends_its_answer(form: bytes) -> None:
    begun = trio.Event()

    def pause() -> Any:
        begun.set()
        return trio.sleep_forever()

    backend = ScriptedBackend(lambda asked: Answer("Hello", pause=pause))
    async with serving(backend) as (_, connect):
        client = connect()
        await client.send(post(CHAT % form))
        await begun.wait()
        await client.stream.aclose()
        while not backend.left:
            await trio.lowlevel.checkpoint()
    assert [asked.model for asked in backend.left] == ["tiny"]


async def test_a_fault_of_the_application_is_500_before_its_answer_and_a_break_in_it() -> None:
    async def early(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("a fault")

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"beginning", "more_body": True})
        raise ValueError("a fault")

    async with serving(early) as (_, connect):
        client = connect()
        await client.send(GET)
        assert (await client.read()).startswith(b"HTTP/1.1 500")
    async with serving(late) as (_, connect):
        client = connect()
        await client.send(GET)
        assert not (await client.rest()).endswith(b"0\r\n\r\n"), "the client does not take it for complete"


async def test_where_there_is_no_place_who_was_idle_longest_gives_way() -> None:
    async with serving(ScriptedBackend(), Limits(connections=2)) as (server, connect):
        first = connect()
        await trio.testing.wait_all_tasks_blocked()
        second = connect()
        await trio.testing.wait_all_tasks_blocked()
        third = connect()
        await third.send(GET)
        assert (await third.read()).startswith(b"HTTP/1.1 200")
        assert await first.rest() == b""
        await second.send(GET)
        assert (await second.read()).startswith(b"HTTP/1.1 200")
        assert server.connections == 2


async def test_a_thousand_idle_clients_leave_room_for_the_next_one() -> None:
    async with serving(ScriptedBackend()) as (server, connect):
        idle = [connect() for _ in range(1000)]
        await trio.testing.wait_all_tasks_blocked()
        assert server.connections == 1000
        client = connect()
        await client.send(post(CHAT % b""))
        assert (await client.read()).startswith(b"HTTP/1.1 200")
        assert len(idle) == 1000


async def test_told_to_end_it_finishes_what_runs_and_closes_what_is_idle() -> None:
    go_on = trio.Event()
    backend = ScriptedBackend(lambda asked: Answer("Hello", chunk=5, pause=go_on.wait))
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        stop, server = trio.Event(), HttpServer(new_app(backend))
        await nursery.start(server.serve, listeners, stop)
        port = listeners[0].socket.getsockname()[1]
        busy, idle = [Client(await trio.open_tcp_stream("127.0.0.1", port)) for _ in range(2)]
        await busy.send(post(CHAT % b""))
        await idle.send(GET)
        await idle.read(b'"ok"}')
        while not backend.running:
            await trio.lowlevel.checkpoint()
        stop.set()
        assert await idle.rest() == b""
        go_on.set()
        head = await busy.read()
        assert head.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in head
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream("127.0.0.1", port)


async def test_a_target_as_for_a_proxy_is_the_path_in_it_and_its_host_counts() -> None:
    async with serving(ScriptedBackend()) as (_, connect):
        client = connect()
        await client.send(b"GET http://localhost:1/health HTTP/1.1\r\nHost: other.example\r\n\r\n")
        assert (await client.read(b"\r\n")) == b"HTTP/1.1 200 OK"
        await client.read(b"}")
        await client.send(b"GET HTTP://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"403 Forbidden" in await client.read(b"\r\n")
