"""Gossip with wrong signatures, from authors that do not exist (K-B).

Each message cost a verification, and nobody a point. Now a message with an author or a signature is refused.
"""

from __future__ import annotations

import os
from typing import Any

from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2

from p2p.gossip.connections.topics import topic_name
from tests.gossip.attacks import MESHSUB, rpc
from tests.redteam.target import Target, each_tick, network_of, quietly

PER_S, AT_ONCE = 10.0, 20


def _message(topic: str) -> Any:
    author = create_new_key_pair(os.urandom(32))
    message = rpc_pb2.Message(
        data=os.urandom(300), topicIDs=[topic], from_id=ID.from_pubkey(author.public_key).to_bytes(),
        seqno=os.urandom(8)
    )
    message.signature = os.urandom(64)
    return message


async def attack(target: Target) -> None:
    topic = topic_name(network_of(target.genesis), "votes")
    async with target.bare("wrong signatures") as host:
        streams: dict[Any, Any] = {}
        async for number in each_tick(PER_S * len(target.addresses)):
            peers = list(host.get_connected_peers())
            if not peers:
                continue
            peer = peers[number % len(peers)]
            if peer not in streams:
                streams[peer] = await quietly(host.new_stream, peer, [MESHSUB])
            forged = rpc(publish=[_message(topic) for _ in range(AT_ONCE)])
            if streams[peer] is None or await quietly(streams[peer].write, forged) is None:
                streams.pop(peer, None)
