"""G-20 to G-22: frames that leave together, streams that are told at once, and a multiplexer that works as before."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from libp2p.io.trio import TrioTCPStream
from libp2p.network.swarm import Swarm
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamReset
from libp2p.stream_muxer.yamux.yamux import FLAG_ACK, FLAG_FIN, FLAG_RST, FLAG_SYN, Yamux

from p2p.gossip.connections import guards

PATIENCE_S = 180.0
DATA, UPDATE = 0, 1
HEADER = struct.Struct("!BBHII")


@pytest.fixture(autouse=True)
def patched() -> None:
    guards.install()


class Secured:
    """One end of a secured connection. writes: each is one message, with its own encryption and system call."""

    def __init__(self, end: Any, *, is_initiator: bool) -> None:
        self.end, self.is_initiator, self.writes = end, is_initiator, list[bytes]()

    async def write(self, data: bytes) -> None:
        self.writes.append(bytes(data))
        await self.end.send_all(data)

    async def read(self, n: int) -> bytes:
        return bytes(await self.end.receive_some(n))

    async def close(self) -> None:
        await self.end.aclose()

    def frames(self) -> list[list[tuple[int, int, int, bytes]]]:
        """Of each message: its frames as (kind, flags, stream, body). Pings are left out."""
        out = []
        for message in self.writes:
            frames, at = [], 0
            while at < len(message):
                _, kind, flags, stream, length = HEADER.unpack_from(message, at)
                at += HEADER.size
                body = message[at : at + length] if kind == DATA else b""
                at += len(body)
                frames += [(kind, flags, stream, body)] if kind in (DATA, UPDATE) else []
            out += [frames] if frames else []
        return out


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Yamux, Secured, Yamux, Secured]]:
    """Two multiplexers that are connected."""
    ends = trio.testing.memory_stream_pair()
    left, right = Secured(ends[0], is_initiator=True), Secured(ends[1], is_initiator=False)
    one, other = Yamux(left, "peer", True), Yamux(right, "peer", False)  # type: ignore[arg-type]
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            for each in (one, other):
                nursery.start_soon(each.start)
                await each.event_started.wait()
            yield one, left, other, right
            nursery.cancel_scope.cancel()


async def test_a_stream_begins_with_its_first_bytes() -> None:
    async with pair() as (one, left, other, right):
        stream = await one.open_stream()
        await trio.testing.wait_all_tasks_blocked()
        assert left.frames() == []
        await stream.write(b"hello")
        taken: Any = await other.accept_stream()
        assert await taken.read(100) == b"hello"
        await stream.write(b"more")
        assert await taken.read(100) == b"more"
        assert left.frames() == [[(DATA, FLAG_SYN, 1, b"hello")], [(DATA, 0, 1, b"more")]]
        assert right.frames() == [], "the acceptance waits for a frame to go with"
        await taken.write(b"hi")
        assert await stream.read(100) == b"hi"
        assert right.frames() == [[(UPDATE, FLAG_ACK, 1, b""), (DATA, 0, 1, b"hi")]]


async def test_an_end_is_heard_with_an_acceptance_before_it() -> None:
    """As a frame of its own: the library takes no end out of the frame that accepts."""
    async with pair() as (one, _, other, right):
        stream = await one.open_stream()
        await stream.write(b"hello")
        taken: Any = await other.accept_stream()
        await taken.close()
        with pytest.raises(MuxedStreamEOF):
            await stream.read(1)
        assert right.frames() == [[(UPDATE, FLAG_ACK, 1, b""), (UPDATE, FLAG_FIN, 1, b"")]]


async def test_what_ends_before_it_began_is_not_mentioned() -> None:
    async with pair() as (one, left, other, _):
        stream = await one.open_stream()
        await stream.reset()
        assert left.frames() == []
        again = await one.open_stream()
        await again.write(b"hello")
        taken: Any = await other.accept_stream()
        assert (taken.stream_id, await taken.read(100)) == (3, b"hello")
        assert not any(frames[0][2] == 1 for frames in left.frames())
        assert not one.__dict__["_folkmoot_unsaid"].begun


async def test_one_that_is_reset_later_is_reset_there() -> None:
    async with pair() as (one, left, other, _):
        stream = await one.open_stream()
        await stream.write(b"hello")
        taken: Any = await other.accept_stream()
        await stream.reset()
        assert await taken.read(100) == b"hello"
        with pytest.raises((MuxedStreamReset, MuxedStreamEOF)):
            await taken.read(100)
        assert left.frames()[-1] == [(UPDATE, FLAG_RST, 1, b"")]


async def test_a_write_that_is_cancelled_has_sent_nothing_and_spoils_nothing() -> None:
    """Whatever was encrypted must leave, or the other side can read nothing more."""
    async with pair() as (one, left, other, _):
        stream = await one.open_stream()
        for _ in range(40):  # whether or not a lock takes a turn
            with trio.CancelScope() as scope:
                scope.cancel()
                await stream.write(b"never")
            assert scope.cancelled_caught
        assert left.frames() == []
        await stream.write(b"hello")
        taken: Any = await other.accept_stream()
        assert await taken.read(100) == b"hello"
        for _ in range(40):
            with trio.CancelScope() as scope:
                scope.cancel()
                await stream.write(b"never")
        assert left.frames() == [[(DATA, FLAG_SYN, 1, b"hello")]]


async def test_no_lock_between_encryption_and_the_socket_takes_a_turn() -> None:
    class Socket:
        sent = 0

        async def send_all(self, data: bytes) -> None:
            self.sent += 1

    socket, turns = Socket(), list[float]()

    class Turns(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            turns.append(timeout)

    stream: Any = TrioTCPStream(socket)  # type: ignore[arg-type]
    watch = Turns()
    trio.lowlevel.add_instrument(watch)
    for _ in range(100):
        await stream.write(b"x")
    trio.lowlevel.remove_instrument(watch)
    assert (socket.sent, turns) == (100, [])


async def test_writers_of_one_stream_begin_it_once() -> None:
    async with pair() as (one, left, other, _):
        stream = await one.open_stream()
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(stream.write, b"%d" % number)
        taken: Any = await other.accept_stream()
        got = b""
        while len(got) < 5:
            got += await taken.read(100)
        assert sorted(got) == sorted(b"01234")
        assert [frames[0][1] for frames in left.frames()] == [FLAG_SYN, 0, 0, 0, 0]


async def test_many_streams_at_once_keep_their_bytes_apart() -> None:
    async with pair() as (one, _, other, _right):
        async def say(number: int) -> None:
            stream = await one.open_stream()
            for _ in range(20):
                await stream.write(b"%02d" % number)
            await stream.close()

        got: dict[int, bytes] = {}

        async def hear(stream: Any) -> None:
            said = b""
            try:
                while True:
                    said += await stream.read(100)
            except MuxedStreamEOF:
                got[int(said[:2])] = said

        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(say, number)
            for _ in range(30):
                nursery.start_soon(hear, await other.accept_stream())
        assert got == {number: b"%02d" % number * 20 for number in range(30)}


async def test_a_listener_that_raises_does_not_end_the_stream() -> None:
    told: list[str] = []

    class Listener:
        def __init__(self, name: str, error: Exception | None = None) -> None:
            self.name, self.error = name, error

        async def opened_stream(self, network: Any, stream: Any) -> None:
            told.append(f"{self.name} {stream}")
            if self.error is not None:
                raise self.error

    class Listened:
        notifees = (Listener("a", KeyError("a bug")), Listener("b"))

    await Swarm._notify(Listened(), "opened_stream", "stream")  # type: ignore[arg-type]
    assert told == ["a stream", "b stream"]
