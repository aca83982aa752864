"""Connections that come and go, each with a key of its own (K-D): a handshake costs the victim more than the caller."""

from __future__ import annotations

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair

from p2p.base.keys import Key
from tests.gossip.lab import info
from tests.redteam.target import Target, each_tick, quietly

PER_S = 8.0


async def attack(target: Target) -> None:
    async with trio.open_nursery() as nursery:
        async for number in each_tick(PER_S):
            nursery.start_soon(_visit, target.addresses[number % len(target.addresses)])


async def _visit(address: str) -> None:
    host = new_host(key_pair=create_new_key_pair(Key.generate().seed))

    async def visit() -> None:
        async with host.run(listen_addrs=[]):
            await quietly(host.connect, info(address), timeout_s=4.0)

    await quietly(visit, timeout_s=6.0)
