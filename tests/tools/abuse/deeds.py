"""What a client may do besides asking. Law: a deed says what it got, or raises AssertionError where that is wrong."""

from __future__ import annotations

import os
import re
import socket
from collections import Counter
from collections.abc import Awaitable, Callable

import trio

from p2p.base.serving_limits import MAX_HTTP_HEAD, MAX_JSON_DEPTH
from tests.tools.abuse.scene import CONTEXT, PATIENCE_S, Scene, chat

Deed = Callable[[Scene], Awaitable[str]]
IDLE, HALF, SLOW = 1000, 200, 20  # connections
MIB = 1 << 20
ERROR = b'"error"'


async def received(stream: trio.SocketStream) -> bytes:
    """All that comes until the gateway closes."""
    found = bytearray()
    with trio.fail_after(PATIENCE_S):
        try:
            while data := await stream.receive_some(65_536):
                found += data
        except trio.BrokenResourceError:
            pass
    return bytes(found)


def statuses(raw: bytes) -> list[int]:
    """The status of each answer in what came."""
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3})[ \r]", raw)]


def head(scene: Scene, *lines: str, path: str = "/v1/chat/completions", method: str = "POST") -> bytes:
    base = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json",
            f"Authorization: Bearer {scene.key}", *lines]
    return ("\r\n".join(base) + "\r\n\r\n").encode()


async def exchange(scene: Scene, raw: bytes, *, ends: bool = True) -> bytes:
    """What comes for these bytes, up to the gateway's end. ends: this side says that no more comes."""
    stream = await scene.connect()
    async with stream:
        try:
            await stream.send_all(raw)
            if ends:
                await stream.send_eof()
        except trio.BrokenResourceError:
            pass  # it was refused before all was sent
        return await received(stream)


async def slow_readers(scene: Scene) -> str:
    """Each asks for the list of models over and over, and reads nothing."""
    asked = head(scene, path="/v1/models", method="GET") * 2000
    ended = 0

    async def one() -> None:
        nonlocal ended
        host, port = scene.url.removeprefix("http://").split(":")
        plain = trio.socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await plain.connect((host, int(port)))
        with trio.fail_after(PATIENCE_S), plain:
            try:
                for _ in range(1000):
                    await plain.send(asked)
            except OSError:
                ended += 1

    async with trio.open_nursery() as nursery:
        for _ in range(SLOW):
            nursery.start_soon(one)
        await scene.after()  # the others are answered meanwhile
    assert ended == SLOW
    return f"{ended} of {SLOW} closed, as they took nothing for 30 s; others were answered meanwhile"


async def half_open(scene: Scene) -> str:
    """Half a head, and then silence; half a body, and then silence."""
    heads, bodies = Counter[str](), Counter[str]()

    async def one(raw: bytes, found: Counter[str]) -> None:
        got = statuses(await exchange(scene, raw, ends=False))
        found[str(got[0]) if got else "closed"] += 1

    async with trio.open_nursery() as nursery:
        for _ in range(HALF):
            nursery.start_soon(one, head(scene)[:60], heads)
        for _ in range(HALF // 2):
            nursery.start_soon(one, head(scene, "Content-Length: 5000") + b'{"model"', bodies)
        await scene.after()
    assert sum(heads.values()) == HALF
    assert set(heads) == {"closed"}, heads
    assert set(bodies) <= {"400", "429"}, bodies
    return f"half a head: {shown(heads)} after 10 s; half a body: {shown(bodies)} after 30 s"


async def idle(scene: Scene, count: int = IDLE) -> str:
    streams = [await scene.connect() for _ in range(count)]
    try:
        grown = await scene.after()
    finally:
        for stream in streams:
            await stream.aclose()
    return f"{count} connections stay open; the next client: {grown}"


async def slow_head(scene: Scene) -> str:
    """A byte of the head every half second."""
    stream, sent = await scene.connect(), 0
    async with stream:
        with trio.fail_after(PATIENCE_S):
            try:
                for letter in head(scene) * 100:
                    await stream.send_all(bytes([letter]))
                    sent += 1
                    await trio.sleep(0.5)
            except (trio.BrokenResourceError, OSError):
                pass
    assert sent < 60
    return f"closed after {sent} bytes"


async def long_prompt(scene: Scene) -> str:
    """32,000 tokens where they fit, and more than the context."""
    text = "a" * 32_000
    good = await scene.post("/v1/chat/completions", chat(2) | {"messages": [{"role": "user", "content": text}]})
    assert good.status_code == 200, good.text
    used = good.json()["usage"]["prompt_tokens"]
    assert used >= 32_000
    more = await scene.post("/v1/chat/completions", chat(2) | {"messages": [{"role": "user", "content": text * 2}]})
    assert more.status_code == 400, more.text
    said = more.json()["error"]
    assert str(CONTEXT) in said["message"]
    return f"{used} tokens: 200; twice as many: 400, {said['message']!r}"


async def large_body(scene: Scene) -> str:
    size = 100 * 1000 * 1000
    said = statuses(await exchange(scene, head(scene, f"Content-Length: {size}") + b" " * (8 * MIB)))
    chunk = b"%x\r\n" % MIB + b" " * MIB + b"\r\n"
    chunked = statuses(await exchange(scene, head(scene, "Transfer-Encoding: chunked") + chunk * 100))
    assert said == chunked == [413], (said, chunked)
    return "413, announced or in chunks"


async def wrong_text(scene: Scene) -> str:
    """Bytes that are no UTF-8, and JSON that is too deep."""
    found: list[int] = []
    for raw in (
        b"\xff\xfe\x00", b'{"model":"\xc3\x28"}', b'{"model":"\xed\xa0\x80"}', b"[" * 1_000_000,
        b'{"a":' * 500_000, b'{"model":' + b"[" * (MAX_JSON_DEPTH + 1) + b"]" * (MAX_JSON_DEPTH + 1) + b"}",
        b'{"n":' + b"9" * 100_000 + b"}", b'{"a":1,"a":2}', b"\x00" * 1000, os.urandom(50_000),
    ):
        answer = await scene.post("/v1/chat/completions", content=raw)
        found.append(answer.status_code)
        assert answer.status_code == 400, (raw[:40], answer.text)
        assert answer.json()["error"]["message"]
    return f"400 with a sentence, {len(found)} of {len(found)}"


GOOD = b'{"model":"none","messages":[]}'  # answered with 4xx by the application, so it is seen that it came through
SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
FRAMINGS: tuple[tuple[str, tuple[str, ...], bytes], ...] = (
    ("both lengths", ("Content-Length: 4", "Transfer-Encoding: chunked"), b"0\r\n\r\n"),
    ("two lengths", ("Content-Length: 0", "Content-Length: 44"), b""),
    ("a list of lengths", ("Content-Length: 0, 44",), b""),
    ("a length with a sign", ("Content-Length: +0",), b""),
    ("a negative length", ("Content-Length: -1",), b""),
    ("a hexadecimal length", ("Content-Length: 0x0",), b""),
    ("a length of 400 digits", ("Content-Length: " + "9" * 400,), b""),
    ("another coding", ("Transfer-Encoding: xchunked",), b"0\r\n\r\n"),
    ("chunked twice", ("Transfer-Encoding: chunked, chunked",), b"0\r\n\r\n"),
    ("chunked, not last", ("Transfer-Encoding: chunked, identity",), b"0\r\n\r\n"),
    ("two codings", ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"), b"0\r\n\r\n"),
    ("a tab in the coding", ("Transfer-Encoding:\tchunked\x0b",), b"0\r\n\r\n"),
    ("a blank before the colon", ("Content-Length : 0",), b""),
    ("a name of two lines", ("X-A\n: 1",), b""),
    ("a zero byte", ("X-A: \x00",), b""),
    ("no chunk size", ("Transfer-Encoding: chunked",), b"zz\r\n\r\n"),
    ("a negative chunk", ("Transfer-Encoding: chunked",), b"-1\r\n\r\n"),
    ("a huge chunk", ("Transfer-Encoding: chunked",), b"f" * 40 + b"\r\n\r\n"),
    ("a chunk longer than said", ("Transfer-Encoding: chunked",), b"1\r\nabc\r\n0\r\n\r\n"),
    ("an endless chunk extension", ("Transfer-Encoding: chunked",), b"1;" + b"a" * 100_000),
    ("a second Host", ("Host: other",), b""),
)
# A line that begins with a blank belongs to the one before (RFC 9112, 5.2): the request has no body, and the next one
# is a request.
FOLDED = (" Content-Length: 44", "\tTransfer-Encoding: chunked")
LINES = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/3.0\r\n\r\n", b"GET /\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET http://[ HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
    b"POST /v1/models HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED.encode(),
    b"\r\n" * 50_000, b"\x00" * 100_000, b"GET " + b"/" * 200_000 + b" HTTP/1.1\r\n\r\n",
)


async def framing(scene: Scene) -> str:
    """Requests whose end can be read in two ways, each with another one behind: that must never be a request of its
    own where the first was refused."""
    found = Counter[str]()
    for name, lines, body in FRAMINGS:
        got = statuses(await exchange(scene, head(scene, *lines) + body + SMUGGLED.encode()))
        assert len(got) == 1, (name, got)
        assert 400 <= got[0] <= 501, (name, got)
        found[f"{got[0]} and closed"] += 1
    for line in FOLDED:
        got = statuses(await exchange(scene, head(scene, "X-A: 1", line) + SMUGGLED.encode()))
        assert len(got) == 2, (line, got)
    for line in LINES:
        got = statuses(await exchange(scene, line))
        assert all(400 <= one < 600 for one in got), (line[:30], got)
        assert len(got) <= 1, (line[:30], got)
        found[str(got[0]) if got else "closed"] += 1
    return f"{len(FRAMINGS)} framings, {len(LINES)} lines: {shown(found)}; nothing smuggled"


async def pipelined(scene: Scene) -> str:
    """Requests that come together are answered one after the other; what comes after a wrong one is not read."""
    one = head(scene, f"Content-Length: {len(GOOD)}") + GOOD
    got = statuses(await answers(scene, one * 50, 50))
    assert got == [404] * 50 or got == [400] * 50, got
    mixed = statuses(await exchange(scene, one * 3 + head(scene, "Content-Length: x") + one * 3))
    assert mixed == [*got[:3], 400], mixed
    return f"50 together: 50 answers in order; a wrong one as the fourth: {len(mixed)} answers, then closed"


async def answers(scene: Scene, raw: bytes, count: int) -> bytes:
    """What comes until there are `count` answers."""
    stream, found = await scene.connect(), b""
    async with stream:
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, raw)
                while len(statuses(found)) < count:
                    data = await stream.receive_some(65_536)
                    if not data:
                        break
                    found += data
                nursery.cancel_scope.cancel()
    return found


async def large_head(scene: Scene) -> str:
    found = Counter[str]()
    for raw in (
        head(scene, "X-A: " + "a" * (2 * MAX_HTTP_HEAD)), head(scene, *(f"X-{at}: b" for at in range(20_000))),
        head(scene, "Cookie: " + "c" * 5 * MIB),
    ):
        got = statuses(await exchange(scene, raw))
        assert got in ([431], [400], []), got
        found[str(got[0]) if got else "closed"] += 1
    return shown(found)


def shown(found: Counter[str]) -> str:
    return ", ".join(f"{name} x {times}" for name, times in sorted(found.items()))
