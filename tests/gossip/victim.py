"""One real peer in its own process, which takes JSON lines on stdin. First argument `stock`: the library unpatched."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio
from libp2p.exceptions import BaseLibp2pError
from msgspec import to_builtins

from p2p.base.keys import Key
from p2p.base.limits import BUDGETS
from p2p.base.outcome import Outcome
from p2p.gossip.connections import guards, score
from p2p.gossip.connections.streams import Stream
from p2p.gossip.connections.topics import topic_name
from p2p.gossip.discovery import keeping
from p2p.gossip.host import NetworkConfig, open_network
from p2p.gossip.relays import service
from p2p.gossip.relays.messages import Limit
from p2p.gossip.relays.reachability import Verdict


def emit(**words: Any) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


async def lines() -> AsyncIterator[dict[str, Any]]:
    """The commands on stdin."""
    buffer = b""
    async for chunk in trio.lowlevel.FdStream(os.dup(0)):
        buffer += chunk
        while b"\n" in buffer:
            line, buffer = buffer.split(b"\n", 1)
            yield json.loads(line)


async def echo(stream: Stream) -> None:
    while True:
        await stream.send(await stream.receive(limit=1 << 20))


async def raises(stream: Stream) -> None:
    raise ValueError("a bug in a handler")


async def loses_key(stream: Stream) -> None:
    raise KeyError("connection closed")


async def reads(stream: Stream) -> None:
    for _ in range(3):
        await stream.receive(limit=1000)


def explode(forwarder: str, data: bytes) -> Outcome:
    raise ZeroDivisionError("a bug in a validator")


async def peer(settings: dict[str, Any]) -> None:
    got: list[str] = []

    def note(forwarder: str, data: bytes) -> Outcome:
        got.append(data[:100].hex())
        return Outcome.REJECT if data.startswith(b"bad") else Outcome.ACCEPT

    score.BAN_S = settings.get("ban_s", score.BAN_S)
    if "work_ms" in settings:  # a peer's share of CPU in a second, and what it may owe
        BUDGETS["work ms"] = BUDGETS["work ms"]._replace(peer=settings["work_ms"])
        keeping.MAX_OWED_MS = settings["work_ms"]
    if "inbound" in settings:  # makes the library's limit of inbound connections smaller, for one life
        guards.MAX_CONNECTIONS = settings["inbound"]
    if "places" in settings:
        BUDGETS["connections"] = BUDGETS["connections"]._replace(total=settings["places"])
    if "circuit" in settings:  # seconds and bytes that a circuit through this peer may take
        service.OURS = Limit(*settings["circuit"])
        service.CIRCUIT_S = settings["circuit"][0]
    config = NetworkConfig(
        Key(bytes.fromhex(settings["seed"])),
        settings.get("network", "lab"),
        (settings.get("listen", "/ip4/127.0.0.1/tcp/0"),),
        tuple(settings.get("bootstrap", ())),
        expected_size=settings.get("size", 4),
        min_connections=settings.get("min", 4),
        book=Path(settings["book"]) if "book" in settings else None,
        reachable=Verdict(settings["reachable"]) if "reachable" in settings else None,
    )
    handlers = {"echo": echo, "raises": raises, "keyerror": loses_key, "reads": reads}
    async with open_network(config, topic_handlers={"t": note, "boom": explode}, stream_handlers=handlers) as net:
        if settings.get("deaf"):  # every socket is closed at once, as if a router had dropped it
            net._discovery.host.get_network()._inbound_limiter = trio.CapacityLimiter(0)
        emit(ready=net.addresses()[0], peer=net.peer_id)
        async for command in lines():
            if command["op"] == "publish":
                await net.publish("t", bytes.fromhex(command["data"]))
            elif command["op"] == "drop":
                await net.disconnect(command["peer"])
            elif command["op"] == "points":
                net._discovery.scores._points.pop(command["peer"], None)
                for _ in range(command["faults"]):
                    net._discovery.scores.penalise(command["peer"], 25, trio.current_time())
            meshed = net._exchange._router.mesh(topic_name("lab", "t"))
            table = net._discovery.dht.get_routing_table_size()
            emit(connected=net.connected(), got=got, table=table, meshed=meshed, status=to_builtins(net.status()))


async def stock(settings: dict[str, Any]) -> None:
    """The library as shipped, to show that the same bytes end it, and that it opens streams to us and we to it."""
    from libp2p import new_host
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.network.config import ConnectionConfig
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from multiaddr import Multiaddr

    listen = [Multiaddr("/ip4/127.0.0.1/tcp/0")]
    quiet = ConnectionConfig(min_connections=0, low_watermark=0)
    host = new_host(
        key_pair=create_new_key_pair(bytes.fromhex(settings["seed"])), listen_addrs=listen, connection_config=quiet
    )

    async def bad(stream: Any) -> None:
        raise ValueError("a bug in a handler")

    async def send_back(stream: Any) -> None:
        with suppress(BaseLibp2pError):  # the other side ends it
            while part := await stream.read(65536):
                await stream.write(part)

    host.set_stream_handler("/folkmoot/raises/1", bad)
    host.set_stream_handler("/folkmoot/echo/1", send_back)
    async with host.run(listen_addrs=listen):
        emit(ready=str(host.get_addrs()[0]), peer=str(host.get_id()))
        async for line in lines():  # {"address", "protocol", "data"}: sent there on a new stream
            target = info_from_p2p_addr(Multiaddr(line["address"]))
            await host.connect(target)
            stream, data = await host.new_stream(target.peer_id, [line["protocol"]]), bytes.fromhex(line["data"])
            await stream.write(data)
            got = b""
            while len(got) < len(data):
                got += await stream.read(len(data) - len(got))
            await stream.close()
            emit(echoed=got.hex())


if __name__ == "__main__":
    trio.run(stock if sys.argv[1] == "stock" else peer, json.loads(sys.argv[2]))
