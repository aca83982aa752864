"""Certificates: bundles of votes that prove something by themselves. Law: one wrong vote refuses all; weight is counted
before any signature is verified.

Senders stand in ascending order, each once. So a certificate has one form, and the set bounds what there is to verify.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from p2p.base.keys import NetworkId
from p2p.consensus.messages import (
    NIL_ROUND,
    CommitCertificate,
    PolkaCertificate,
    RoundCertificate,
    SignedVote,
    Vote,
    VoteType,
)
from p2p.consensus.validators import ValidatorSet
from p2p.consensus.votes import VoteKeeper

IsVerified = Callable[[SignedVote], bool]  # whether a vote was verified before


def none_verified(signed: SignedVote) -> bool:
    """The IsVerified of a peer that has verified nothing yet."""
    del signed
    return False


def commit_certificate(votes: Sequence[SignedVote], height: int, round_: int, block_id: bytes) -> CommitCertificate:
    """A certificate of the precommits at round_ for block_id; votes for anything else are left out."""
    pairs = sorted((v.vote.validator, v.signature) for v in votes if v.vote.block_id == block_id)
    return CommitCertificate(height, round_, block_id, tuple(pairs))


def verify_commit(
    certificate: CommitCertificate, network: NetworkId, validators: ValidatorSet,
    is_verified: IsVerified = none_verified,
) -> bool:
    """Whether more than 2/3 of the weight signed, each a known validator and once, ascending, with right signatures."""
    keys = [key for key, _ in certificate.signatures]
    if keys != sorted(set(keys)) or not validators.is_quorum(sum(map(validators.weight, keys))):
        return False
    return all(key in validators for key in keys) and all(
        is_verified(vote) or vote.verify() for vote in commit_votes(certificate, network)
    )


def commit_votes(certificate: CommitCertificate, network: NetworkId) -> list[SignedVote]:
    """The precommits that a certificate stands for."""
    about = certificate.height, certificate.round, certificate.block_id
    return [
        SignedVote(Vote(network, VoteType.PRECOMMIT, *about, NIL_ROUND, key), signature)
        for key, signature in certificate.signatures
    ]


def verify_polka(
    certificate: PolkaCertificate, network: NetworkId, validators: ValidatorSet, is_verified: IsVerified = none_verified
) -> bool:
    """Whether it holds prevotes of more than 2/3 of the weight, all for its block at its round."""
    senders = _senders(certificate.votes, validators)
    right = all(
        (v.network, v.type, v.height, v.round, v.block_id)
        == (network, VoteType.PREVOTE, certificate.height, certificate.round, certificate.block_id)
        for v in (signed.vote for signed in certificate.votes)
    )
    return right and validators.is_quorum(sum(map(validators.weight, senders))) and all(
        is_verified(signed) or signed.verify() for signed in certificate.votes
    )


def verify_round(
    certificate: RoundCertificate, network: NetworkId, validators: ValidatorSet, is_verified: IsVerified = none_verified
) -> bool:
    """Whether it justifies entering its round: any precommits of more than 2/3 at round - 1 (their timer ended), or
    any votes of more than 1/3 at round (skip)."""
    weight = sum(map(validators.weight, _senders(certificate.votes, validators)))
    votes = [signed.vote for signed in certificate.votes]
    if not all(v.network == network and v.height == certificate.height for v in votes):
        return False
    timed_out = all((v.type, v.round) == (VoteType.PRECOMMIT, certificate.round - 1) for v in votes)
    skipped = all(v.round == certificate.round for v in votes)
    enough = (timed_out and validators.is_quorum(weight)) or (skipped and validators.has_honest(weight))
    return enough and all(is_verified(signed) or signed.verify() for signed in certificate.votes)


def round_certificate(
    keeper: VoteKeeper, validators: ValidatorSet, height: int, round_: int
) -> RoundCertificate | None:
    """The certificate that justifies entering a round, from the votes kept; None when they do not justify it."""
    before = keeper.votes(round_ - 1, VoteType.PRECOMMIT)
    if validators.is_quorum(keeper.weight_any(round_ - 1, VoteType.PRECOMMIT)):
        return RoundCertificate(height, round_, before)
    each = {v.vote.validator: v for kind in VoteType for v in keeper.votes(round_, kind)}
    here = tuple(vote for _, vote in sorted(each.items()))
    return RoundCertificate(height, round_, here) if validators.has_honest(keeper.weight_in_round(round_)) else None


def polka_certificate(keeper: VoteKeeper, height: int, round_: int, block_id: bytes) -> PolkaCertificate:
    """A certificate of the prevotes at `round_` for block_id."""
    return PolkaCertificate(height, round_, block_id, keeper.votes_for(round_, VoteType.PREVOTE, block_id))


def _senders(votes: Sequence[SignedVote], validators: ValidatorSet) -> list[bytes]:
    """Validators that voted; none at all where a sender is no validator, or comes twice or out of order."""
    senders = [signed.vote.validator for signed in votes]
    ascending = all(a < b for a, b in pairwise(senders))
    return senders if ascending and all(sender in validators for sender in senders) else []
