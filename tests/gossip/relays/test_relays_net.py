"""Relays between real processes on this machine. Each is told who can dial it; peer/test_behind_nat.py finds out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from libp2p.peer.id import ID

from p2p.base.errors import Unavailable
from p2p.base.keys import Key
from p2p.gossip.connections.budget import relay_of
from p2p.gossip.connections.guards import group_at
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.gossip.relays.messages import (
    HOP,
    STOP,
    Hop,
    HopType,
    Status,
    Stop,
    StopType,
    decode_hop,
    decode_stop,
    encode_hop,
    encode_stop,
)
from tests.gossip.lab import Peer, peers, seed

pytestmark = pytest.mark.network
OPEN, CLOSED = "reachable", "not reachable"


def relay(name: str, **words: Any) -> dict[str, Any]:
    return {"seed": seed(name).hex(), "reachable": OPEN, "min": 0, **words}


def hidden(name: str, *relays: Peer, **words: Any) -> dict[str, Any]:
    known = {"bootstrap": [one.address for one in relays], "min": len(relays)}
    return {"seed": seed(name).hex(), "reachable": CLOSED, "deaf": True, **known, **words}


async def ways(host: Peer, number: int = 1) -> list[str]:
    """The addresses through relays of a peer that has at least `number` places."""
    state = await host.until(lambda state: len(state["status"]["reach"]["places"]) >= number)
    return [f"{place['address']}/p2p/{host.id}" for place in state["status"]["reach"]["places"]]


@asynccontextmanager
async def visitor(name: str = "visitor") -> AsyncIterator[Network]:
    config = NetworkConfig(Key(seed(name)), "lab", (), (), min_connections=0)
    async with open_network(config, topic_handlers={}, stream_handlers={}) as net:
        yield net


async def echoes(net: Network, peer: str, data: bytes = b"through a relay") -> bool:
    stream = await net.open_stream(peer, "echo")
    await stream.send(data)
    came = await stream.receive(limit=1 << 20)
    await stream.close()
    return came == data


async def test_a_visitor_reaches_a_hidden_peer_and_knows_that_it_is_the_right_one() -> None:
    async with peers(relay("relay")) as (way,), peers(hidden("hidden", way)) as (host,):
        address = (await ways(host))[0]
        assert address.startswith(way.address + "/p2p-circuit/p2p/")
        async with visitor() as net:
            await net.connect(address)
            assert host.id in net.connected()
            assert await echoes(net, host.id)
            assert await echoes(net, host.id, bytes(500_000))
            (connection,) = (one for peer, one in net._discovery.table() if peer == host.id)
            assert relay_of(group_at(connection.muxed_conn)) == way.id, "it is counted as the relay's (GROUP-3)"
            assert way.id in net.connected()
            assert net._discovery.wants(way.id), "while it leads somewhere its connection stays"
            state = await way.until(lambda state: state["status"]["reach"]["circuits"] == 1)
            assert state["status"]["reach"]["carried_bytes"] > 1_000_000
            assert (state["status"]["reach"]["lodgers"], state["status"]["reach"]["relaying"]) == (1, True)
            state = await host.tell("state")
            assert net.peer_id in state["connected"]
            assert (state["status"]["reach"]["relayed"], net.status().reach.relayed) == (1, 1)
            await net.disconnect(host.id)
        await way.until(lambda state: state["status"]["reach"]["circuits"] == 0)
        wrong = f"{address.rpartition('/')[0]}/{Key(seed('nobody')).peer_id}"
        async with visitor() as net:
            with pytest.raises(Unavailable) as none:
                await net.connect(wrong)
            assert "no place there" in none.value.message


async def test_two_hidden_peers_meet_through_greetings_alone_and_gossip() -> None:
    """Each knows only the relay; what the relay's greeting says of the other leads there."""
    async with peers(relay("relay")) as (way,):
        async with peers(hidden("one", way, min=4), hidden("two", way, min=4)) as (one, two):
            await one.until(lambda state: two.id in state["connected"])
            await two.until(lambda state: one.id in state["connected"])
            await one.until(lambda state: two.id in state["meshed"])
            await one.tell("publish", data=b"hello".hex())
            await two.until(lambda state: b"hello".hex() in state["got"])


async def test_a_relay_that_dies_is_replaced_and_others_are_told() -> None:
    async with peers(relay("a"), relay("b"), relay("c")) as relays, peers(hidden("hidden", *relays)) as (host,):
        first = await ways(host, 2)
        dead = next(one for one in relays if one.address in first[0])
        left = [one for one in relays if one is not dead]
        dead.process.kill()
        gone = await host.until(lambda state: dead.id not in str(state["status"]["reach"]["places"]))
        assert len(gone["status"]["reach"]["places"]) >= 1
        now = await ways(host, 2)
        assert all(any(one.address in way for one in left) for way in now)
        async with visitor() as net:
            for way in now:
                await net.connect(way)
                assert await echoes(net, host.id)
                await net.disconnect(host.id)


async def test_a_circuit_ends_at_its_limits_on_both_sides() -> None:
    async with peers(relay("relay", circuit=[3600, 400_000])) as (way,), peers(hidden("hidden", way)) as (host,):
        address = (await ways(host))[0]
        async with visitor() as net:
            await net.connect(address)
            assert await echoes(net, host.id, bytes(100_000))
            with pytest.raises(Unavailable):
                await echoes(net, host.id, bytes(300_000))
            await host.until(lambda state: state["status"]["ended"].get("lost"))
            await way.until(lambda state: state["status"]["reach"]["circuits_made"] == 2)
            assert await echoes(net, host.id), "whoever wants it makes it anew"
    async with peers(relay("relay", circuit=[3, 1 << 30])) as (way,), peers(hidden("hidden", way)) as (host,):
        address = (await ways(host))[0]
        async with visitor() as net:
            await net.connect(address)
            await host.until(lambda state: state["status"]["ended"].get("lost"))
            await way.until(lambda state: state["status"]["reach"]["circuits_made"] >= 2)


async def test_who_is_hidden_itself_relays_for_nobody_and_no_circuit_leads_over_a_circuit() -> None:
    async with peers(relay("relay")) as (way,), peers(hidden("hidden", way)) as (host,):
        address = (await ways(host))[0]
        async with visitor() as net:
            await net.connect(address)
            for wanted in (Hop(HopType.RESERVE), Hop(HopType.CONNECT, peer=ID.from_string(way.id).to_bytes())):
                stream = await net._discovery.open_raw(host.id, HOP)
                await stream.send(encode_hop(wanted))
                assert decode_hop(await stream.receive()).status == Status.PERMISSION_DENIED
            stream = await net._discovery.open_raw(way.id, HOP)
            await stream.send(encode_hop(Hop(HopType.RESERVE)))
            assert decode_hop(await stream.receive()).status == Status.OK, "the relay itself gives places"
    async with peers({**relay("closed"), "reachable": CLOSED}) as (way,):
        async with visitor() as net:
            await net.connect(way.address)
            stream = await net._discovery.open_raw(way.id, HOP)
            await stream.send(encode_hop(Hop(HopType.RESERVE)))
            assert decode_hop(await stream.receive()).status == Status.RESERVATION_REFUSED


async def test_a_circuit_from_somebody_who_is_no_relay_of_ours_is_refused() -> None:
    """CIRCUIT-1: else anybody could bring any number of identities under its own address group."""
    async with peers(relay("relay")) as (way,), peers(hidden("hidden", way, deaf=False)) as (host,):
        await ways(host)
        async with visitor() as net:
            await net.connect(host.address)
            stream = await net._discovery.open_raw(host.id, STOP)
            await stream.send(encode_stop(Stop(StopType.CONNECT, peer=ID.from_string(net.peer_id).to_bytes())))
            assert decode_stop(await stream.receive()).status == Status.PERMISSION_DENIED


async def test_garbage_for_a_relay_costs_its_sender_and_nobody_else() -> None:
    async with peers(relay("relay")) as (way,), peers(hidden("hidden", way)) as (host,):
        address = (await ways(host))[0]
        async with visitor("bad") as net:
            await net.connect(way.address)
            for _ in range(3):
                stream = await net._discovery.open_raw(way.id, HOP)
                await stream.send(b"\xff" * 100)
                with suppress(Unavailable):  # the stream's end may come before its last word
                    assert decode_hop(await stream.receive()).status == Status.MALFORMED_MESSAGE
                await stream.reset()
            await way.until(lambda state: state["status"]["budgets"]["streams"]["used"] <= 2)
        async with visitor() as net:
            await net.connect(address)
            assert await echoes(net, host.id)
