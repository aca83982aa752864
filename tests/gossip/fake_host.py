"""A stand-in for the library's host: connections and streams in memory, for one gossip router."""

from __future__ import annotations

from random import Random
from typing import Any

import trio
from libp2p.exceptions import BaseLibp2pError

from p2p.base.keys import Key
from p2p.base.outcome import Outcome
from p2p.gossip.connections.budget import Budgets
from p2p.gossip.connections.door import Door
from p2p.gossip.neighbours import Neighbours
from p2p.gossip.rpc_codec import decode
from p2p.gossip.rpc_reader import RpcReader
from p2p.gossipsub.params import Priority, params_for
from p2p.gossipsub.router import Router
from p2p.gossipsub.rpc import Message, Rpc, Subscription

TOPIC = "/folkmoot/lab/t/1"


def name(number: int) -> str:
    return Key(number.to_bytes(32, "big")).peer_id


class Connection:
    """One connection, as both the library's connection and its multiplexer."""

    direction = "inbound"
    is_closed = False

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.stream_buffers: dict[int, bytes] = {}
        self.muxed_conn, self._host = self, host

    def get_remote_address(self) -> tuple[str, int]:
        return self._host, 4001


class OutStream:
    """A stream that we write to. It takes what is written unless it is `stuck`."""

    def __init__(self, protocol: str) -> None:
        self.written = bytearray()
        self.writes = 0
        self.stuck = False
        self.ended = trio.Event()
        self._protocol = protocol

    def get_protocol(self) -> str:
        return self._protocol

    async def write(self, data: bytes) -> None:
        if self.stuck:
            await self.ended.wait()
        if self.ended.is_set():
            raise BaseLibp2pError("the stream ended")
        self.writes += 1
        self.written += data
        await trio.lowlevel.checkpoint()

    async def reset(self) -> None:
        self.ended.set()

    async def rpcs(self) -> list[Rpc]:
        """What was written so far."""
        out, reader = [], RpcReader(InStream(bytes(self.written)), NoLimit())
        while reader._stream.left or reader._buffer:
            out.append(decode(await reader.next()))
        return out


class InStream:
    """A stream that we read from: `data`, some bytes at a time."""

    def __init__(self, data: bytes, step: int = 65536, peer: str = name(1)) -> None:
        self.left, self._step, self.was_reset = data, step, False
        self.muxed_conn: Any = Connection()
        self.muxed_conn.peer_id = peer

    async def read(self, most: int) -> bytes:
        await trio.lowlevel.checkpoint()
        part, self.left = self.left[: min(most, self._step)], self.left[min(most, self._step) :]
        return part

    async def reset(self) -> None:
        self.was_reset = True


class NoLimit:
    """Room for whatever comes."""

    def reserve(self, amount: int, *, ours: bool) -> bool:
        return True

    def release(self, amount: int) -> None: ...


class Host:
    """The library's host and network, with what neighbours use of them."""

    def __init__(self) -> None:
        self.connections: dict[str, list[Connection]] = {}
        self.streams: dict[str, list[OutStream]] = {}
        self.refusing: set[str] = set()  # peers that speak no gossip
        self.protocol = "/meshsub/1.2.0"

    def get_network(self) -> Host:
        return self

    def register_notifee(self, notifee: Any) -> None: ...

    async def new_stream(self, peer: Any, protocols: list[str]) -> OutStream:
        await trio.lowlevel.checkpoint()
        if str(peer) in self.refusing:
            raise BaseLibp2pError("it speaks no such protocol")
        stream = OutStream(self.protocol)
        self.streams.setdefault(str(peer), []).append(stream)
        return stream


class Lab:
    """A router, its neighbours and a host in memory."""

    def __init__(self, topics: tuple[str, ...] = (TOPIC,), size: int = 100) -> None:
        self.host, self.door = Host(), Door(Budgets())
        priorities = dict.fromkeys(topics, Priority.TRANSACTIONS)
        self.router = Router(params_for(8, priorities=priorities), Random(1), me=name(0))
        for topic in topics:
            self.router.join(topic, 0.0)
        self.neighbours = Neighbours(self.host, self.router, self.door, topics, size=size)

    def connect(self, number: int, host: str = "127.0.0.1") -> str:
        peer = name(number)
        self.host.connections[peer] = [Connection(host)]
        self.neighbours.look()
        return peer

    def subscribed(self, peer: str) -> None:
        """`peer` says that it is on the topic."""
        rpc = Rpc(subscriptions=(Subscription(TOPIC, True),))
        self.router.receive(peer, rpc, trio.current_time())

    def meshed(self, *numbers: int) -> list[str]:
        """Neighbours in the topic's mesh."""
        found = [self.connect(number) for number in numbers]
        for peer in found:
            self.subscribed(peer)
        self.router.heartbeat(trio.current_time())
        return found

    def forward(self, source: str, data: bytes) -> None:
        """`source` brings a message, which is accepted and goes on."""
        for delivery in self.router.receive(source, Rpc(messages=(Message(TOPIC, data),)), trio.current_time()):
            self.router.judge(delivery.id, Outcome.ACCEPT, trio.current_time())
        self.neighbours.stir(soon=True)

    def publish(self, data: bytes) -> None:
        self.router.publish(TOPIC, data, trio.current_time())
        self.neighbours.stir()
