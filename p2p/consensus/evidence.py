"""Proof that a validator broke the rules (rule E). Law: two signatures of one key that no honest validator makes,
nothing else.

An honest validator signs one vote per (height, round, type) and one proposal per (height, round). After a precommit
for one block it signs no prevote for another unless that names a later polka. So it cannot be framed, whoever collects
its signatures (decision 010).
"""

from __future__ import annotations

from p2p.base.codec import Message, encode, unpack
from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import Domain, NetworkId, verify
from p2p.base.types import Bytes64
from p2p.consensus.messages import MAX_EVIDENCE_BYTES, Proposal, SignedProposal, SignedVote, Vote
from p2p.consensus.validators import ValidatorSet
from p2p.consensus.votes import Pair, is_amnesia

MAX_EVIDENCE_AGE = 100_000  # heights
# pieces in a block; of under 600 bytes each: with a certificate of 128 signatures they fit the room a block keeps for
# both
PER_BLOCK = 16


class DuplicateVote(Message, frozen=True, tag="duplicate_vote"):
    """Two different votes of one (height, round, type)."""

    first: SignedVote
    second: SignedVote


class Amnesia(Message, frozen=True, tag="amnesia"):
    """A precommit, and a later prevote for another block whose valid round is before that precommit."""

    precommit: SignedVote
    prevote: SignedVote


class DuplicateProposal(Message, frozen=True, tag="duplicate_proposal"):
    """Two different proposals of one (height, round)."""

    first: Proposal
    first_signature: Bytes64
    second: Proposal
    second_signature: Bytes64


Evidence = DuplicateVote | DuplicateProposal | Amnesia


def evidence_of_votes(pair: Pair) -> bytes:
    """The evidence of two conflicting votes: the same bytes whichever was seen first."""
    one, two = pair
    if is_amnesia(one.vote, two.vote):
        return encode(Amnesia(one, two))
    first, second = sorted(pair, key=encode)
    return encode(DuplicateVote(first, second))


def evidence_of_proposals(pair: tuple[SignedProposal, SignedProposal]) -> bytes:
    one, two = pair
    return evidence_of_claims((one.proposal, one.signature), (two.proposal, two.signature))


def evidence_of_claims(*pair: tuple[Proposal, bytes]) -> bytes:
    """The evidence of two (proposal, signature) for one round. Their blocks are not needed."""
    first, second = sorted(pair, key=lambda p: encode(p[0]))
    return encode(DuplicateProposal(*first, *second))


def check_evidence(raw: bytes, network: NetworkId, validators: ValidatorSet, height: int) -> bytes | None:
    """The offender's key, or None when `raw` proves nothing against a validator of this set. height: of the block
    that is to carry it."""
    found = accused(raw)
    if found is None:
        return None
    who, about = found
    timely = height - MAX_EVIDENCE_AGE < about <= height
    return who if timely and who in validators and proves(raw, network) else None


def accused(raw: bytes) -> tuple[bytes, int] | None:
    """(the accused key, at which height), without verifying any signature. None: these bytes are no evidence."""
    try:
        evidence: Evidence = unpack(Evidence, raw, limit=MAX_EVIDENCE_BYTES)  # type: ignore[arg-type]
    except RemoteProtocolError:
        return None
    one, _ = _parts(evidence)
    return (one.proposer if isinstance(one, Proposal) else one.validator), one.height


def proves(raw: bytes, network: NetworkId) -> bool:
    """Whether evidence convicts a key on this network: every peer finds the same, whatever set and height it knows."""
    evidence: Evidence = unpack(Evidence, raw, limit=MAX_EVIDENCE_BYTES)  # type: ignore[arg-type]
    one, two = _parts(evidence)
    return one.network == two.network == network and one.height == two.height and _proves(evidence)


def offender(raw: bytes) -> bytes:
    """The key that checked evidence is against."""
    found = accused(raw)
    assert found is not None
    return found[0]


def _parts(evidence: Evidence) -> tuple[Vote, Vote] | tuple[Proposal, Proposal]:
    if isinstance(evidence, DuplicateProposal):
        return evidence.first, evidence.second
    if isinstance(evidence, Amnesia):
        return evidence.precommit.vote, evidence.prevote.vote
    return evidence.first.vote, evidence.second.vote


def _proves(evidence: Evidence) -> bool:
    if isinstance(evidence, DuplicateProposal):
        p, q = evidence.first, evidence.second
        same = (p.round, p.proposer) == (q.round, q.proposer)
        return same and p != q and _signed(p, evidence.first_signature) and _signed(q, evidence.second_signature)
    if isinstance(evidence, Amnesia):
        a, b = evidence.precommit, evidence.prevote
        return a.vote.validator == b.vote.validator and is_amnesia(a.vote, b.vote) and a.verify() and b.verify()
    a, b = evidence.first, evidence.second
    same = (a.vote.type, a.vote.round, a.vote.validator) == (b.vote.type, b.vote.round, b.vote.validator)
    return same and a.vote != b.vote and a.verify() and b.verify()


def _signed(proposal: Proposal, signature: bytes) -> bool:
    return verify(proposal.proposer, Domain.PROPOSAL, proposal.network, encode(proposal), signature)


class EvidencePool:
    """Evidence that no block has carried yet: one piece per offender, which is enough, so the set bounds it."""

    def __init__(self, network: NetworkId) -> None:
        self._network = network
        self._found: dict[bytes, bytes] = {}  # by the offender's key

    def __len__(self) -> int:
        return len(self._found)

    def offenders(self) -> frozenset[bytes]:
        return frozenset(self._found)

    def add(self, raw: bytes, validators: ValidatorSet, height: int) -> bool:
        """True when it convicts somebody who was not convicted. No signature is verified for those who already are."""
        found = accused(raw)
        if found is None or found[0] in self._found:
            return False
        who = check_evidence(raw, self._network, validators, height)
        if who is None:
            return False
        self._found[who] = raw
        return True

    def pending(
        self, validators: ValidatorSet, punished: frozenset[bytes], limit: int = PER_BLOCK
    ) -> tuple[bytes, ...]:
        """What a block may carry now, in the order of the offenders' keys. Evidence against keys that have left the
        set or are punished is forgotten."""
        self._found = {
            who: raw for who, raw in sorted(self._found.items()) if who in validators and who not in punished
        }
        return tuple(self._found.values())[:limit]
