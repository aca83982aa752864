"""Peers that join like any other and lie whenever they are asked (K-E).

They claim a chain of a million heights, send blocks that are none and one block in fourteen seconds, and show accounts
with nonces beyond all bounds. A peer that catches up must not lose time on them, and a client must not sign what they
say.
"""

from __future__ import annotations

import trio

from p2p.base.codec import encode
from p2p.base.keys import Key
from p2p.gossip.connections.streams import Stream
from p2p.gossip.host import NetworkConfig, open_network
from p2p.wire.frames import Answer, SyncTop, pack_frame
from tests.redteam.target import TOPICS, Target, network_of, quietly

LIARS = 4
SLOW_S = 14.0
NONSENSE = {
    "height": 2**62, "balance_micro": -1, "next_nonce": 2**63 - 1, "beacon": "\x1b[2J", "notices": [{"height": "x"}]
}


async def _query(stream: Stream) -> None:
    await stream.receive()
    await stream.send(pack_frame(Answer(encode(NONSENSE))))


async def _sync(stream: Stream) -> None:
    """Every question gets the top that does not exist, the later ones late."""
    first = True
    while True:
        await stream.receive()
        if not first:
            await trio.sleep(SLOW_S)
        first = False
        await stream.send(pack_frame(SyncTop(1, 10**6, 10**6 - 1)))


async def attack(target: Target) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(LIARS):
            nursery.start_soon(_liar, target)


async def _liar(target: Target) -> None:
    config = NetworkConfig(
        Key.generate(), network_of(target.genesis), ("/ip4/127.0.0.1/tcp/0",), target.addresses, topics=TOPICS,
        expected_size=10, min_connections=8,
    )
    handlers = {"query": _query, "sync": _sync, "payload": _query, "body": _query, "infer": _query}
    async with open_network(config, topic_handlers={}, stream_handlers=handlers) as network:
        while True:
            for address in target.addresses:
                await quietly(network.connect, address)
            await trio.sleep(2.0)
