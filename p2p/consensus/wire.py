"""Consensus messages as they travel on topics. Law: [version, retry, kind, payload], one encoding for each message.

The retry counter differs in each repeat, so that a repeat passes gossip's duplicate filter.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Annotated

from msgspec import Meta

from p2p.base.codec import Message, convert, decode, encode
from p2p.base.errors import RemoteProtocolError, unsupported_version
from p2p.base.limits import MAX_PROPOSAL
from p2p.base.types import U64, VERSION
from p2p.consensus.evidence import accused
from p2p.consensus.messages import MAX_EVIDENCE_BYTES, PolkaCertificate, RoundCertificate, SignedProposal, SignedVote


class EvidenceNote(Message, frozen=True):
    """Evidence on its way to the next proposer."""

    height: U64  # of the sender, so that old notes are dropped without a look at any signature
    evidence: Annotated[bytes, Meta(max_length=MAX_EVIDENCE_BYTES)]


Wire = SignedVote | SignedProposal | PolkaCertificate | RoundCertificate | EvidenceNote
KINDS: dict[int, type[Wire]] = {
    1: SignedVote, 2: SignedProposal, 3: PolkaCertificate, 4: RoundCertificate, 5: EvidenceNote
}
NUMBERS = {kind: number for number, kind in KINDS.items()}


def pack(message: Wire, retry: int) -> bytes:
    return encode([VERSION, retry, NUMBERS[type(message)], message])


def parse(data: bytes) -> Wire:
    """Raises RemoteProtocolError naming the field."""
    plain = decode(data, limit=MAX_PROPOSAL)
    if not isinstance(plain, list) or len(plain) != 4 or not isinstance(plain[1], int):
        raise RemoteProtocolError(
            "a consensus message has version, retry, kind and payload", field="envelope", code="shape"
        )
    if plain[0] != VERSION:
        raise RemoteProtocolError(unsupported_version("protocol", plain[0], VERSION), field="version", code="version")
    kind = KINDS.get(plain[2]) if isinstance(plain[2], int) else None
    if kind is None:
        raise RemoteProtocolError(
            f"unknown kind of message; kinds go from {min(KINDS)} to {max(KINDS)}", field="kind", code="shape"
        )
    message = convert(kind, plain[3])
    # without a field that has a default, two byte strings would mean the same
    if encode([*plain[:3], message]) != data:
        raise RemoteProtocolError(
            "a field is missing: the bytes are not the encoding of the message", field="envelope", code="cbor"
        )
    return message


def height_of(message: Wire) -> int:
    if isinstance(message, SignedVote):
        return message.vote.height
    return message.proposal.height if isinstance(message, SignedProposal) else message.height


def content(message: Wire) -> Hashable:
    """What a message says, whoever sends it and whatever its retry counter. Two certificates for the same thing
    have the same content, whatever votes prove it."""
    match message:
        case SignedVote():
            return 1, message.vote
        case SignedProposal():
            return 2, message.proposal, message.polka is not None
        case PolkaCertificate():
            return 3, message.height, message.round, message.block_id
        case RoundCertificate():
            return 4, message.height, message.round
        case EvidenceNote():
            return 5, accused(message.evidence)
