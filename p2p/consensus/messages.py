"""What validators sign and send to each other. Law: every signed message names network, height and round; bytes are
canonical.

A vote carries no timestamp: a block's time is its proposer's (rule Y). So all precommits for one block at one round
differ only in their validator, and a commit certificate needs only (validator, signature) of each.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from msgspec import Meta

from p2p.base.codec import Message, encode
from p2p.base.keys import Domain, Key, digest, verify
from p2p.base.limits import MAX_TXS_PER_BLOCK, MAX_VALIDATORS
from p2p.base.types import U32, U64, Bytes32, Bytes64, NetworkField
from p2p.base.vrf import PROOF_BYTES

MAX_EVIDENCE_BYTES = 4096  # of one piece
MAX_EVIDENCE_DECODED = 32  # pieces that a block may be decoded with; a valid one carries at most evidence.PER_BLOCK
NIL_ROUND = -1  # no round: of a proposal or vote without a valid round
RoundOrNil = Annotated[int, Meta(ge=-1, lt=2**31)]


class VoteType(IntEnum):
    PREVOTE = 1
    PRECOMMIT = 2


VOTE_DOMAIN = {VoteType.PREVOTE: Domain.PREVOTE, VoteType.PRECOMMIT: Domain.PRECOMMIT}


class Vote(Message, frozen=True):
    """A prevote or precommit, as it is signed."""

    network: NetworkField
    type: VoteType
    height: U64
    round: U32
    block_id: Bytes32 | None  # None: nil
    valid_round: RoundOrNil  # of a prevote: its proposal's pol_round, which makes amnesia provable; of a precommit -1
    validator: Bytes32

    def is_well_formed(self) -> bool:
        """Rule V: only a prevote for a block names a valid round, and an earlier one. Commit certificates rebuild
        precommits without one."""
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
    """Precommits of more than 2/3 of the weight for one block: it is decided."""

    height: U64
    round: U32
    block_id: Bytes32
    # (validator, signature), ascending by validator
    signatures: Annotated[tuple[tuple[Bytes32, Bytes64], ...], Meta(max_length=MAX_VALIDATORS)]


class PolkaCertificate(Message, frozen=True):
    """Prevotes of more than 2/3 of the weight for one block at one round: a polka."""

    height: U64
    round: U32
    block_id: Bytes32 | None
    votes: Annotated[tuple[SignedVote, ...], Meta(max_length=MAX_VALIDATORS)]  # ascending by validator


class RoundCertificate(Message, frozen=True):
    """Votes that justify entering `round`: of more than 1/3 of the weight in it, or precommits of more than 2/3 in
    the round before."""

    height: U64
    round: U32
    votes: Annotated[tuple[SignedVote, ...], Meta(max_length=MAX_VALIDATORS)]  # ascending by validator


class Header(Message, frozen=True):
    """What is signed of a block; its hash is the block id."""

    version: U32
    network: NetworkField
    height: U64
    round: U32  # in which this block was first proposed
    time_ms: U64  # since 1970, by the proposer's clock
    last_block_id: Bytes32  # zeros at height 1
    validators_hash: Bytes32  # of the set that decides this height
    next_validators_hash: Bytes32  # of the set that decides the next
    app_hash: Bytes32  # of the state after height - 1
    tx_root: Bytes32  # over transactions, last commit and evidence (header.body_root)
    beacon: Bytes32
    beacon_proof: Annotated[bytes, Meta(max_length=PROOF_BYTES)]  # VRF over (previous beacon, height, round)
    proposer: Bytes32  # in `round`

    @property
    def block_id(self) -> bytes:
        return digest(b"block", encode(self))


class Block(Message, frozen=True):
    """A header and its body. What transactions mean is the application's business."""

    header: Header
    txs: Annotated[tuple[bytes, ...], Meta(max_length=MAX_TXS_PER_BLOCK)]  # canonical bytes
    last_commit: CommitCertificate | None  # of height - 1; None at height 1
    evidence: Annotated[tuple[bytes, ...], Meta(max_length=MAX_EVIDENCE_DECODED)] = ()  # canonical bytes of Evidence

    @property
    def block_id(self) -> bytes:
        return self.header.block_id


class Proposal(Message, frozen=True):
    """A proposal, as it is signed. Without a pol_round it is fresh; with one it is a re-proposal."""

    network: NetworkField
    height: U64
    round: U32
    block_id: Bytes32
    pol_round: RoundOrNil  # the round of the polka it names (the paper's validRound), -1 for none
    proposer: Bytes32


class SignedProposal(Message, frozen=True):
    """A proposal with its block, and a re-proposal with the polka it names, so that no lock stays hidden."""

    proposal: Proposal
    signature: Bytes64
    block: Block
    polka: PolkaCertificate | None = None

    def verify(self) -> bool:
        p = self.proposal
        return verify(p.proposer, Domain.PROPOSAL, p.network, encode(p), self.signature)


def sign_vote(key: Key, vote: Vote) -> SignedVote:
    return SignedVote(vote, key.sign(VOTE_DOMAIN[vote.type], vote.network, encode(vote)))
