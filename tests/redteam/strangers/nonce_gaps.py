"""Batches of a participant of little weight that no block can take yet, because one nonce is missing (K-D).

They filled every mempool.
"""

from __future__ import annotations

from p2p.base.codec import encode
from p2p.base.types import PlantCommit, Record, RecordKind
from tests.fuzz.signing import batch
from tests.redteam.target import Target, each_tick, network_of, quietly

PER_S = 90.0
ROOM = 4096


async def attack(target: Target) -> None:
    key, network = target.validator, network_of(target.genesis)
    async with target.joined() as loud:
        async for number in each_tick(PER_S):
            body = encode(PlantCommit(key.public, number.to_bytes(32, "big")))
            raw = encode(batch(key, network, 2 + number % ROOM, (Record(RecordKind.PLANT_COMMIT, body),) * 8))
            await quietly(loud.publish, "transactions", encode([number, raw]))
