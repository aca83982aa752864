"""One account transaction that costs nothing, handed in again and again (K-D).

A validator published it each time under its own key, and so used up what its neighbours accept from it per second, its
votes and proposals included.
"""

from __future__ import annotations

import trio

from p2p.base.types import VERSION
from p2p.client.connection import query
from p2p.gossip.host import Network
from p2p.ledger.rules.ops import Cap, sign_op
from p2p.wire.frames import SubmitTransaction, pack_frame
from tests.redteam.target import Target, each_tick, network_of, quietly

KEYS = 3
PER_S = 150.0  # of each; a peer takes 200 from one
AFTER = 150  # handed in so often, the chain has it and another is signed
NO_CAP = 1 << 60


async def attack(target: Target) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(KEYS):
            nursery.start_soon(_key, target, number)


async def _key(target: Target, number: int) -> None:
    account, frame = target.rich[number % len(target.rich)], b""
    async with target.joined() as network:
        async for tick in each_tick(PER_S):
            if tick % AFTER == 0:
                found = await quietly(
                    query, network, target.peers()[0], {"op": "account", "account": account.public.hex()}
                )
                nonce = int(found["next_nonce"]) if found else 1
                signed = sign_op(account, network_of(target.genesis), nonce, Cap(NO_CAP, NO_CAP - tick))
                frame = pack_frame(SubmitTransaction(VERSION, signed))
            await _hand_in(network, target.peers()[0], frame)


async def _hand_in(network: Network, peer: str, frame: bytes) -> None:
    stream = await quietly(network.open_stream, peer, "query", timeout_s=2.0)
    if stream is not None:
        await quietly(stream.send, frame, timeout_s=1.0)
        await quietly(stream.receive, timeout_s=1.0)
        await quietly(stream.reset)
