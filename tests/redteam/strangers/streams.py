"""As many streams as the muxer gives, opened on every connection and not used (K-D).

Each took a handler that waited for a first frame.
"""

from __future__ import annotations

from tests.redteam.target import Target, each_tick, quietly

PER_S = 60.0
HELD = 250
PROTOCOLS = ("/folkmoot/query/1", "/folkmoot/infer/1", "/folkmoot/sync/1", "/folkmoot/payload/1")


async def attack(target: Target) -> None:
    async with target.bare("streams") as host:
        held: list[object] = []
        async for number in each_tick(PER_S):
            peers = list(host.get_connected_peers())
            if not peers:
                continue
            stream = await quietly(
                host.new_stream, peers[number % len(peers)], [PROTOCOLS[number % len(PROTOCOLS)]], timeout_s=1.0
            )
            if stream is not None:
                held.append(stream)
            if len(held) > HELD * len(target.addresses):
                await quietly(held.pop(0).reset)  # type: ignore[attr-defined]
