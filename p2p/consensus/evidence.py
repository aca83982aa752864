"""Proof that a validator broke the rules. Law: only two signatures by one key over two different answers to one question count.

An honest validator signs one vote per (height, round, type) and one proposal per (height, round), so it cannot be framed.
"""

from __future__ import annotations

from p2p.codec import Message, encode, unpack
from p2p.consensus.messages import Proposal, SignedProposal, SignedVote
from p2p.consensus.validators import ValidatorSet
from p2p.errors import RemoteProtocolError
from p2p.keys import Domain, verify
from p2p.types import Bytes64


class DuplicateVote(Message, frozen=True, tag="duplicate_vote"):
    first: SignedVote
    second: SignedVote


class DuplicateProposal(Message, frozen=True, tag="duplicate_proposal"):
    first: Proposal
    first_signature: Bytes64
    second: Proposal
    second_signature: Bytes64


Evidence = DuplicateVote | DuplicateProposal


def duplicate_proposal(first: SignedProposal, second: SignedProposal) -> DuplicateProposal:
    return DuplicateProposal(first.proposal, first.signature, second.proposal, second.signature)


def check_evidence(raw: bytes, network: str, validators: ValidatorSet) -> bytes | None:
    """The offender's key, or None when `raw` proves nothing."""
    try:
        evidence: Evidence = unpack(Evidence, raw)  # type: ignore[arg-type]
    except RemoteProtocolError:
        return None
    if isinstance(evidence, DuplicateVote):
        a, b = evidence.first.vote, evidence.second.vote
        same = (a.network, a.type, a.height, a.round, a.validator) == (b.network, b.type, b.height, b.round, b.validator)
        good = same and a != b and a.network == network and evidence.first.verify() and evidence.second.verify()
        return a.validator if good and a.validator in validators else None
    p, q = evidence.first, evidence.second
    same = (p.network, p.height, p.round, p.proposer) == (q.network, q.height, q.round, q.proposer)
    good = same and p != q and p.network == network and _signed(p, evidence.first_signature) and _signed(q, evidence.second_signature)
    return p.proposer if good and p.proposer in validators else None


def _signed(proposal: Proposal, signature: bytes) -> bool:
    return verify(proposal.proposer, Domain.PROPOSAL, proposal.network, encode(proposal), signature)
