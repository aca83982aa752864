"""Streams between a peer of ours and py-libp2p as shipped, in real processes, and what they cost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from libp2p.stream_muxer.yamux.yamux import Yamux

from p2p.base.errors import Unavailable
from p2p.base.keys import Key
from p2p.gossip.connections.streams import Stream
from p2p.gossip.discovery.book import bare_address
from p2p.gossip.host import Network, NetworkConfig, open_network

from .lab import PATIENCE_S, Peer, peers, seed

pytestmark = pytest.mark.network
ECHO, MISSING = "/folkmoot/echo/1", "/folkmoot/missing/1"
LONG = bytes(range(256)) * 1000  # several writes


@asynccontextmanager
async def client() -> AsyncIterator[Network]:
    config = NetworkConfig(Key(seed("client")), "lab", (), (), min_connections=0)
    async with open_network(config, topic_handlers={}, stream_handlers={}) as net:
        yield net


@asynccontextmanager
async def stock() -> AsyncIterator[tuple[Network, Peer]]:
    """A network of ours that is connected to the library as shipped."""
    async with peers({"seed": seed("stock").hex()}, kind="stock") as (their,), client() as net:
        await net._discovery.dialler.connect(their.id, (bare_address(their.address, their.id) or "",))
        yield net, their


async def echoed(net: Network, peer: str, data: bytes) -> None:
    stream = await net._discovery.open_raw(peer, ECHO)
    await stream.send(data)
    with trio.fail_after(PATIENCE_S):
        assert await stream.receive() == data
    await stream.close()


def spoken(stream: Stream) -> dict[str, bool]:
    found: dict[str, bool] = stream.connection.__dict__["_folkmoot_spoken"]
    return found


async def test_we_open_streams_to_the_library_waiting_or_not() -> None:
    async with stock() as (net, their):
        for data in (b"the first one may wait", b"the second does not", LONG):
            await echoed(net, their.id, data)
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(echoed, net, their.id, b"%d" % number * 500)
        stream = await net._discovery.open_raw(their.id, ECHO)
        assert spoken(stream)[ECHO]
        await stream.close()


async def test_a_protocol_that_the_library_does_not_speak() -> None:
    """Whether we wait or believe that it does: the same error, and the connection stays."""
    async with stock() as (net, their):
        with pytest.raises(Unavailable) as refused:
            await net._discovery.open_raw(their.id, MISSING)
        await echoed(net, their.id, b"still there")
        one = await net._discovery.open_raw(their.id, ECHO)
        spoken(one)[MISSING] = True
        wrong = await net._discovery.open_raw(their.id, MISSING)
        await wrong.send(b"/folkmoot/echo/1\n")  # which is read as a question after another protocol
        with pytest.raises(Unavailable) as later:
            await wrong.receive()
        assert (later.value.code, later.value.field) == (refused.value.code, refused.value.field) == ("stream",) * 2
        assert MISSING in later.value.message
        assert MISSING in refused.value.message
        assert not spoken(one)[MISSING]
        await wrong.reset()
        await echoed(net, their.id, b"and still")


async def test_the_library_opens_streams_to_us() -> None:
    async with peers({"seed": seed("ours").hex()}) as (our,):
        async with peers({"seed": seed("stock").hex()}, kind="stock") as (their,):
            for data in (b"hello", b"hello again"):
                framed = bytes((len(data),)) + data
                said = await their.tell("ask", address=our.address, protocol=ECHO, data=framed.hex())
                assert bytes.fromhex(said["echoed"]) == framed
        assert not (await our.tell("state"))["status"]["banned"]


async def test_a_stream_to_who_speaks_it_costs_one_write_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[bytes] = []
    write = Yamux._write_frame

    async def counted(self: Any, data: bytes) -> None:
        if data[1] in (0, 1) and len(data) > 12:  # that carry something
            frames.append(data)
        await write(self, data)

    async with peers({"seed": seed("ours").hex()}) as (our,), client() as net:
        await net.connect(our.address)
        await echoed(net, our.id, b"x")
        monkeypatch.setattr(Yamux, "_write_frame", counted)
        stream = await net._discovery.open_raw(our.id, ECHO)
        assert frames == []
        await stream.send(b"hello")
        assert await stream.receive() == b"hello"
        assert len([frame for frame in frames if b"hello" in frame]) == 1
        assert all(word in frames[0] for word in (b"/multistream/1.0.0", ECHO.encode(), b"hello"))
        await stream.close()
