"""What validators say to each other. Law: every signed message names network, height and round; bytes are canonical.

Sign bytes of a vote carry no timestamp, so all precommits for one block share them (proposer-based time).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from msgspec import Meta

from p2p.base.codec import Message, encode
from p2p.base.keys import Domain, Key, digest, verify
from p2p.base.types import U32, U64, Bytes32, Bytes64, NetworkField

NIL_ROUND = -1
RoundOrNil = Annotated[int, Meta(ge=-1, lt=2**31)]


class VoteType(IntEnum):
    PREVOTE = 1
    PRECOMMIT = 2


VOTE_DOMAIN = {VoteType.PREVOTE: Domain.PREVOTE, VoteType.PRECOMMIT: Domain.PRECOMMIT}


class Vote(Message, frozen=True):
    """block_id None = nil. valid_round: the `vr` of the proposal a prevote answers (-1 if none), so that amnesia is provable."""

    network: NetworkField
    type: VoteType
    height: U64
    round: U32
    block_id: Bytes32 | None
    valid_round: RoundOrNil
    validator: Bytes32

    def is_well_formed(self) -> bool:
        """V: only a prevote for a block names a valid round, and an earlier one: certificates rebuild precommits without any."""
        if self.type is VoteType.PREVOTE and self.block_id is not None:
            return self.valid_round < self.round
        return self.valid_round == NIL_ROUND


class SignedVote(Message, frozen=True):
    vote: Vote
    signature: Bytes64

    def verify(self) -> bool:
        v = self.vote
        return v.is_well_formed() and verify(v.validator, VOTE_DOMAIN[v.type], v.network, encode(v), self.signature)


class CommitCertificate(Message, frozen=True):
    """Precommits of more than 2/3 of the weight for one block: (validator, signature) in ascending order of validator."""

    height: U64
    round: U32
    block_id: Bytes32
    signatures: Annotated[tuple[tuple[Bytes32, Bytes64], ...], Meta(max_length=128)]


class PolkaCertificate(Message, frozen=True):
    """Prevotes of more than 2/3 for (block_id, valid_round) at one round; whole signed votes."""

    height: U64
    round: U32
    block_id: Bytes32 | None
    votes: Annotated[tuple[SignedVote, ...], Meta(max_length=128)]


class RoundCertificate(Message, frozen=True):
    """Votes of more than 1/3 (skip) or any precommits of more than 2/3 (timeout) that justify entering `round`."""

    height: U64
    round: U32
    votes: Annotated[tuple[SignedVote, ...], Meta(max_length=128)]


class Header(Message, frozen=True):
    """round: the round in which this block was first proposed; the beacon proof is over (previous beacon, height, round).
    app_hash: state after height-1. last_block_id: 32 zero bytes at height 1."""

    version: U32
    network: NetworkField
    height: U64
    round: U32
    time_ms: U64
    last_block_id: Bytes32
    validators_hash: Bytes32
    next_validators_hash: Bytes32
    app_hash: Bytes32
    tx_root: Bytes32
    beacon: Bytes32
    beacon_proof: Annotated[bytes, Meta(max_length=80)]
    proposer: Bytes32

    @property
    def block_id(self) -> bytes:
        return digest(b"block", encode(self))


class Block(Message, frozen=True):
    """txs: canonical bytes of SignedBatch. last_commit: certificate of height-1 (None at height 1). evidence: canonical Evidence bytes."""

    header: Header
    txs: Annotated[tuple[bytes, ...], Meta(max_length=512)]
    last_commit: CommitCertificate | None
    evidence: Annotated[tuple[bytes, ...], Meta(max_length=32)] = ()

    @property
    def block_id(self) -> bytes:
        return self.header.block_id


class Proposal(Message, frozen=True):
    """pol_round: the proposer's validRound (-1 if none)."""

    network: NetworkField
    height: U64
    round: U32
    block_id: Bytes32
    pol_round: RoundOrNil
    proposer: Bytes32


class SignedProposal(Message, frozen=True):
    """With its block, and from pol_round >= 0 with the polka that proves it (against hidden locks)."""

    proposal: Proposal
    signature: Bytes64
    block: Block
    polka: PolkaCertificate | None = None

    def verify(self) -> bool:
        p = self.proposal
        return verify(p.proposer, Domain.PROPOSAL, p.network, encode(p), self.signature)


def sign_vote(key: Key, vote: Vote) -> SignedVote:
    return SignedVote(vote, key.sign(VOTE_DOMAIN[vote.type], vote.network, encode(vote)))
