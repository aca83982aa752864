"""Certificates: bundles of votes that prove something alone. Law: processed whole; one bad signature refuses all of it."""

from __future__ import annotations

from collections.abc import Sequence

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


def commit_certificate(votes: Sequence[SignedVote], height: int, round_: int, block_id: bytes) -> CommitCertificate:
    """From the precommits for block_id at round_."""
    pairs = sorted((v.vote.validator, v.signature) for v in votes if v.vote.block_id == block_id)
    return CommitCertificate(height, round_, block_id, tuple(pairs))


def verify_commit(certificate: CommitCertificate, network: str, validators: ValidatorSet) -> bool:
    """Distinct known validators, right signatures, more than 2/3 of the weight."""
    keys = [key for key, _ in certificate.signatures]
    if keys != sorted(set(keys)) or not validators.is_quorum(sum(map(validators.weight, keys))):
        return False
    return all(vote.verify() for vote in commit_votes(certificate, network))


def commit_votes(certificate: CommitCertificate, network: str) -> list[SignedVote]:
    """The precommits a certificate stands for."""
    return [
        SignedVote(
            Vote(network, VoteType.PRECOMMIT, certificate.height, certificate.round, certificate.block_id, NIL_ROUND, key), signature
        )
        for key, signature in certificate.signatures
    ]


def votes_of(certificate: PolkaCertificate | RoundCertificate, network: str, validators: ValidatorSet) -> tuple[SignedVote, ...] | None:
    """All votes of a polka or round certificate, or None when any of them is wrong."""
    for signed in certificate.votes:
        vote = signed.vote
        right = vote.network == network and vote.height == certificate.height and vote.validator in validators
        if not right or (isinstance(certificate, PolkaCertificate) and vote.round != certificate.round) or not signed.verify():
            return None
    return certificate.votes
