"""The validators' own old messages, as they were signed, again and again (K-B).

Each repeat counted as its author's, so a validator's fresh votes found its rate used up.
"""

from __future__ import annotations

from typing import Any

from p2p.gossip.connections.topics import topic_name
from tests.gossip.attacks import MESHSUB, rpc
from tests.redteam.target import Overheard, Target, each_tick, network_of, quietly

PER_S, AT_ONCE = 20.0, 20
MOST = 48  # different ones


async def attack(target: Target) -> None:
    topic = topic_name(network_of(target.genesis), "votes")
    async with target.overhearing(("votes",)) as heard, target.bare("replays") as host:
        streams: dict[Any, Any] = {}
        async for number in each_tick(PER_S):
            messages = _old(heard, topic)
            peers = list(host.get_connected_peers())
            if not (messages and peers):
                continue
            peer = peers[number % len(peers)]
            if streams.get(peer) is None:
                streams[peer] = await quietly(host.new_stream, peer, [MESHSUB])
            chosen = [messages[(number * AT_ONCE + at) % len(messages)] for at in range(AT_ONCE)]
            if streams[peer] is None or await quietly(streams[peer].write, rpc(publish=chosen)) is None:
                streams.pop(peer, None)


def _old(heard: Overheard, topic: str) -> list[Any]:
    """The oldest that are known, a few of each author."""
    return [message for message in heard.messages() if topic in message.topicIDs][:MOST]
