"""The light client: from one trusted header to a later one, without the blocks between. Law: pure; signatures before
trust.

A later header is trusted when, within the trusting period, more than a third of the set trusted last and more than two
thirds of its own set signed it (skipping verification, Tendermint's light client specification). For the very next
height its set must be the one that the trusted header announced.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from p2p.base.codec import Message
from p2p.base.errors import RemoteProtocolError, Unavailable
from p2p.base.genesis import Genesis
from p2p.base.keys import NetworkId
from p2p.base.limits import MAX_VALIDATORS
from p2p.base.types import U64, Bytes32
from p2p.consensus.certificates import commit_votes
from p2p.consensus.messages import CommitCertificate, Header
from p2p.consensus.validators import ValidatorSet

TRUSTING_MS = 14 * 24 * 3600 * 1000  # how long a header may be trusted
MAX_AHEAD_MS = 10_000  # how far a header's time may be ahead of our clock


class LightVerdict(StrEnum):
    """The three answers of the light client's rule; the names are those of the specification."""

    SUCCESS = "SUCCESS"
    NOT_ENOUGH_TRUST = "NOT_ENOUGH_TRUST"
    INVALID = "INVALID"


class LightBlock(Message, frozen=True):
    """A header, the certificate that decided it, and both validator sets that it names by hash."""

    header: Header
    certificate: CommitCertificate
    validators: Annotated[tuple[tuple[Bytes32, U64], ...], Meta(max_length=MAX_VALIDATORS)]
    next_validators: Annotated[tuple[tuple[Bytes32, U64], ...], Meta(max_length=MAX_VALIDATORS)]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rule needs of one header."""

    height: int
    time_ms: int
    validators: ValidatorSet
    next_validators: ValidatorSet
    signers: frozenset[bytes]  # keys with a valid signature
    hashes_match: bool  # whether both sets are those that the header names


def judge(
    trusted: Facts, new: Facts, now_ms: int, trusting_ms: int, *, ahead_ms: int = 0
) -> tuple[LightVerdict, str]:
    """Whether `new` may be trusted because `trusted` is, with the sentence that says why not. ahead_ms: how far its
    time may be ahead of now_ms."""
    invalid = (
        (trusted.time_ms + trusting_ms <= now_ms, "the trusted header is outside its trusting period"),
        (new.time_ms > now_ms + ahead_ms, "the header is from the future"),
        (not new.hashes_match, "a validator set is not the one the header names"),
        (any(who not in new.validators for who in new.signers), "a key outside its set signed"),
        (new.height <= trusted.height, "not a later height"),
        (new.time_ms <= trusted.time_ms, "its time is not after the trusted header's"),
        (
            new.height == trusted.height + 1 and new.validators != trusted.next_validators,
            "its validator set is not the one that was announced",
        ),
    )
    for wrong, sentence in invalid:
        if wrong:
            return LightVerdict.INVALID, sentence
    known = sum(map(trusted.next_validators.weight, sorted(new.signers)))
    if not trusted.next_validators.has_honest(known):
        return LightVerdict.NOT_ENOUGH_TRUST, "too few of the trusted set signed; a header between the two is needed"
    if not new.validators.is_quorum(sum(map(new.validators.weight, sorted(new.signers)))):
        return LightVerdict.INVALID, "not more than two thirds of its own set signed"
    return LightVerdict.SUCCESS, ""


def facts_of(block: LightBlock, network: NetworkId) -> Facts:
    """The facts of a light block, with every signature verified. Raises RemoteProtocolError for one that is wrong."""
    header, certificate = block.header, block.certificate
    if header.network != network or certificate.height != header.height or certificate.block_id != header.block_id:
        raise RemoteProtocolError("the certificate is about another block", field="certificate")
    keys = [key for key, _ in certificate.signatures]
    if keys != sorted(set(keys)) or not all(vote.verify() for vote in commit_votes(certificate, network)):
        raise RemoteProtocolError("a signature of the certificate is wrong", field="certificate")
    validators, following = ValidatorSet.of(block.validators), ValidatorSet.of(block.next_validators)
    match = (validators.hash(), following.hash()) == (header.validators_hash, header.next_validators_hash)
    return Facts(header.height, header.time_ms, validators, following, frozenset(keys), match)


def follow(
    trusted: Facts, target: int, network: NetworkId, now_ms: int, trusting_ms: int = TRUSTING_MS
) -> Generator[int, LightBlock, list[LightBlock]]:
    """Trust header `target`: at once where enough of the trusted set signed it, else by way of a header in the
    middle. Yields each height that it needs and is sent its light block; returns the headers trusted on the way.
    Raises RemoteProtocolError for a header that cannot be trusted, and Unavailable for one that only our slow clock
    keeps from being trusted, because then its sender did nothing wrong."""
    last, way, goals = trusted, list[LightBlock](), [target]
    while goals:
        height = goals[-1]
        if height <= last.height:
            goals.pop()
            continue
        block = yield height
        if block.header.height != height:
            raise RemoteProtocolError(f"asked for header {height}, got {block.header.height}", field="height")
        new = facts_of(block, network)
        ahead_ms = max(new.time_ms - now_ms, 0)
        # all else is judged before the clock is, so that Unavailable is raised for headers that are otherwise right
        verdict, why = judge(last, new, now_ms, trusting_ms, ahead_ms=ahead_ms)
        if verdict is LightVerdict.SUCCESS and ahead_ms > MAX_AHEAD_MS:
            raise Unavailable(
                f"header {height} is {ahead_ms / 1000:.0f} s ahead of this machine's clock: set it (NTP)", field="clock"
            )
        if verdict is LightVerdict.SUCCESS:
            way.append(block)
            last = new
        elif verdict is LightVerdict.INVALID or height == last.height + 1:
            raise RemoteProtocolError(f"header {height} cannot be trusted: {why}", field="header")
        else:
            goals.append((last.height + height) // 2)
    return way


def genesis_facts(genesis: Genesis) -> Facts:
    """The facts of the genesis file, trusted as height 0: its set decides height 1."""
    first = ValidatorSet.of(sorted((peer.node, peer.weight) for peer in genesis.peers))
    return Facts(0, genesis.time_ms, first, first, frozenset(), True)
