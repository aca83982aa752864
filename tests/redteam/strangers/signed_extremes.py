"""Correctly signed consensus messages with every field at its borders, by a validator whose key the attacker holds
(K-A).

One proposal of round 2**31 - 1 froze every peer.
"""

from __future__ import annotations

from p2p.base.codec import encode
from p2p.base.keys import Domain
from p2p.base.merkle import leaf_hash, root_of
from p2p.base.types import VERSION
from p2p.consensus import wire
from p2p.consensus.compact import CompactProposal
from p2p.consensus.messages import (
    NIL_ROUND,
    VOTE_DOMAIN,
    Block,
    Header,
    Proposal,
    SignedProposal,
    SignedVote,
    Vote,
    VoteType,
)
from tests.fuzz.extremes import variants
from tests.redteam.target import Target, each_tick, height, network_of, quietly

PER_S = 30.0


def _votes(target: Target, at: int) -> list[bytes]:
    key, network = target.validator, network_of(target.genesis)
    found = []
    for kind in VoteType:
        original = Vote(network, kind, at, 0, b"\x77" * 32, NIL_ROUND, key.public)
        for name, vote in variants(original):
            if "type" not in name:
                found.append(wire.pack(SignedVote(vote, key.sign(VOTE_DOMAIN[kind], vote.network, encode(vote))), 0))
    return found


def _proposals(target: Target, at: int) -> list[bytes]:
    key, network = target.validator, network_of(target.genesis)
    root = root_of([leaf_hash(encode(None))])
    header = Header(
        VERSION, network, at, 0, 1, bytes(32), bytes(32), bytes(32), bytes(32), root, bytes(32), bytes(80), key.public,
    )
    found = []
    for _, changed in variants(header):
        body = Proposal(network, changed.height, changed.round, changed.block_id, NIL_ROUND, key.public)
        signed = SignedProposal(body, key.sign(Domain.PROPOSAL, network, encode(body)), Block(changed, (), None))
        found.append(encode(CompactProposal(VERSION, 0, signed, ())))
    return found


def _encodable(target: Target, at: int) -> list[tuple[str, bytes]]:
    return [("votes", data) for data in _votes(target, at)] + [("proposals", data) for data in _proposals(target, at)]


async def attack(target: Target) -> None:
    async with target.joined() as network:
        messages: list[tuple[str, bytes]] = []
        async for _ in each_tick(PER_S):
            if not messages:
                messages = _encodable(target, await height(target, network) + 1)
                await target.connect(network)  # again, when we were thrown out
            await quietly(network.publish, *messages.pop())
