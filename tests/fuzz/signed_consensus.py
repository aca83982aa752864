"""Kinds of votes, certificates, evidence and proposals.

Law: a validator sends its own messages in its turn, at a height at which it has sent none yet. Where a quorum is
needed, the peer's own key signs too, in rounds in which the peer has not voted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from p2p.base.codec import Message, encode
from p2p.base.keys import Domain, Key
from p2p.base.merkle import leaf_hash
from p2p.base.outcome import Outcome
from p2p.base.types import VERSION
from p2p.consensus import vote_frames, wire
from p2p.consensus.compact import CompactProposal, parse
from p2p.consensus.evidence import Amnesia, DuplicateProposal, DuplicateVote
from p2p.consensus.header import make_block, tx_root
from p2p.consensus.messages import (
    NIL_ROUND,
    VOTE_DOMAIN,
    Block,
    CommitCertificate,
    Header,
    PolkaCertificate,
    Proposal,
    RoundCertificate,
    SignedProposal,
    SignedVote,
    Vote,
    VoteType,
    sign_vote,
)
from p2p.consensus.round import Step
from tests.fuzz.kind import Kind, Make
from tests.fuzz.world import ME, NETWORK, VALIDATOR, Spent, World

Sent = tuple[bytes, Callable[[], Outcome]]
BLOCK_ID = b"\x77" * 32
AHEAD = 3  # a round that the peer does not reach by itself, so it has not voted there
ANYBODY = ("validator", "participant", "stranger")
TURNS = 40  # heights within which each proposer has its turn
_VALIDATORS = (ME.public, VALIDATOR.public)


def _sound(world: World) -> None:
    """Raises Spent when a validator that has to vote is convicted, or about to be, because of an earlier variant."""
    driver = world.driver
    out = {*world.chain.punished(), *driver.evidence.offenders()}
    if any(key in out or key not in driver.validators for key in _VALIDATORS):
        raise Spent("a validator is convicted")


def _silent(world: World, key: Key) -> None:
    """Grow to a height at which `key` has not voted."""
    _sound(world)
    machine = world.driver.machine
    if machine.step is not Step.NEW or any(machine.votes.has(key.public, 0, kind) for kind in VoteType):
        world.grow()


def _turn(world: World, key: Key) -> None:
    """Grow to a height at which the sender proposes the first round, and nothing is proposed yet."""
    _sound(world)
    for _ in range(TURNS):
        machine = world.driver.machine
        empty = machine.round <= 0 and not machine.proposals
        if key is not VALIDATOR or (machine.proposer_of(0) == key.public and empty):
            return
        world.grow()
    raise Spent("the sender was no proposer in 40 heights")


# -- votes and certificates ----------------------------------------------------------------------------------


def _vote(kind: VoteType) -> Make:
    def make(world: World, key: Key) -> Vote:
        _silent(world, key)
        return Vote(NETWORK, kind, world.driver.height, 0, BLOCK_ID, NIL_ROUND, key.public)

    return make


def _signed(key: Key, vote: Vote) -> SignedVote:
    """Sign a vote of any type, also of one that does not exist."""
    domain = VOTE_DOMAIN.get(vote.type, Domain.PREVOTE)
    return SignedVote(vote, key.sign(domain, vote.network, encode(vote)))


def _votes(world: World, message: wire.Wire) -> Sent:
    data = vote_frames.pack(message)
    return data, lambda: world.vote(data)


def _is_heard(kind: VoteType, round_: int, of: Key | None = None) -> Callable[[World, Key], bool]:
    """The vote of the sender, or of `of`, counts in this height or, when that was decided meanwhile, in the last."""
    def effect(world: World, key: Key) -> bool:
        before, now, who = world.driver.previous, world.driver.machine, (of or key).public
        return any(one is not None and one.votes.has(who, round_, kind) for one in (before, now))

    return effect


def _all_of(
    world: World, keys: tuple[Key, ...], kind: VoteType, round_: int, block_id: bytes | None
) -> tuple[SignedVote, ...]:
    """One vote of each key, sorted by validator as in a certificate."""
    ordered, height = sorted({key.public: key for key in keys}.items()), world.driver.height
    return tuple(
        sign_vote(key, Vote(NETWORK, kind, height, round_, block_id, NIL_ROUND, public)) for public, key in ordered
    )


def _polka(*, alone: bool = False) -> Make:
    def make(world: World, key: Key) -> PolkaCertificate:
        _silent(world, key)
        votes = _all_of(world, (ME,) if alone else (ME, key), VoteType.PREVOTE, AHEAD, BLOCK_ID)
        return PolkaCertificate(world.driver.height, AHEAD, BLOCK_ID, votes)

    return make


def _round(*, timed_out: bool, alone: bool = False) -> Make:
    """Proof that round AHEAD has begun: precommits of the round before, or votes of that round."""
    def make(world: World, key: Key) -> RoundCertificate:
        _silent(world, key)
        keys = (ME,) if alone else (ME, key)
        kind, round_ = (VoteType.PRECOMMIT, AHEAD - 1) if timed_out else (VoteType.PREVOTE, AHEAD)
        return RoundCertificate(world.driver.height, AHEAD, _all_of(world, keys, kind, round_, None))

    return make


# -- evidence ------------------------------------------------------------------------------------------------


def _is_accused(world: World, key: Key) -> bool:
    """The peer holds the evidence, and two blocks later the chain has convicted the sender."""
    held = key.public in world.driver.evidence.offenders()
    world.grow(2)
    return held and key.public in world.chain.punished()


def _note(world: World, evidence: Message) -> Sent:
    return _votes(world, wire.EvidenceNote(world.driver.height, encode(evidence)))


def _late_vote(kind: VoteType, block_id: bytes | None) -> Make:
    def make(world: World, key: Key) -> Vote:
        _sound(world)
        return Vote(NETWORK, kind, world.driver.height - 1, 0, block_id, NIL_ROUND, key.public)

    return make


def _double(world: World, key: Key, vote: Vote) -> Sent:
    """Evidence whose second vote varies."""
    first = sign_vote(key, Vote(NETWORK, VoteType.PRECOMMIT, world.driver.height - 1, 0, None, NIL_ROUND, key.public))
    return _note(world, DuplicateVote(first, _signed(key, vote)))


def _forgot(world: World, key: Key, vote: Vote) -> Sent:
    height = world.driver.height - 1
    later = sign_vote(key, Vote(NETWORK, VoteType.PREVOTE, height, 3, b"\x78" * 32, NIL_ROUND, key.public))
    return _note(world, Amnesia(_signed(key, vote), later))


def _twice(world: World, key: Key, body: Proposal) -> Sent:
    first = _late_proposal(world, key)
    of_first, of_second = (key.sign(Domain.PROPOSAL, one.network, encode(one)) for one in (first, body))
    return _note(world, DuplicateProposal(first, of_first, body, of_second))


def _late_proposal(world: World, key: Key, block_id: bytes = b"\x79" * 32) -> Proposal:
    _sound(world)
    return Proposal(NETWORK, world.driver.height - 1, 0, block_id, NIL_ROUND, key.public)


def _evidence_note(world: World, key: Key) -> wire.EvidenceNote:
    vote = _late_vote(VoteType.PRECOMMIT, BLOCK_ID)(world, key)
    assert isinstance(vote, Vote)
    first = sign_vote(key, replace(vote, block_id=None))
    return wire.EvidenceNote(world.driver.height, encode(DuplicateVote(first, _signed(key, vote))))


# -- proposals -----------------------------------------------------------------------------------------------


def _is_decided(world: World, key: Key) -> bool:
    """The sender's block is on the chain."""
    header = world.chain.blocks.header(world.chain.height())
    return world.chain.height() == world.mark + 1 and header is not None and header.proposer == key.public


def _block(world: World, key: Key) -> Block:
    return make_block(world.chain, key, NETWORK, 0, world.now_ms, ())


def _proposed(world: World, key: Key, body: Proposal, block: Block) -> Sent:
    """As `shrink` makes it. `shrink` cannot read a block that the decoder refuses, so the bytes are written here."""
    bare = replace(block, txs=())
    signed = SignedProposal(body, key.sign(Domain.PROPOSAL, body.network, encode(body)), bare)
    data = encode(CompactProposal(VERSION, 1, signed, tuple(map(leaf_hash, block.txs))))
    return data, lambda: world.proposal(data)


def _proposal(world: World, key: Key) -> Proposal:
    _turn(world, key)
    return Proposal(NETWORK, world.driver.height, 0, _block(world, key).block_id, NIL_ROUND, key.public)


def _of_header(world: World, key: Key, header: Header) -> Sent:
    block = replace(_block(world, key), header=header)
    body = Proposal(NETWORK, header.height, header.round, block.block_id, NIL_ROUND, key.public)
    return _proposed(world, key, body, block)


def _of_commit(world: World, key: Key, commit: CommitCertificate) -> Sent:
    block = _block(world, key)
    header = replace(block.header, tx_root=tx_root(block.txs, commit, ()))
    block = replace(block, header=header, last_commit=commit)
    body = Proposal(NETWORK, header.height, 0, block.block_id, NIL_ROUND, key.public)
    return _proposed(world, key, body, block)


def _header(world: World, key: Key) -> Header:
    _turn(world, key)
    return _block(world, key).header


def _last_commit(world: World, key: Key) -> CommitCertificate:
    _turn(world, key)
    found = world.chain.last_commit()
    assert found is not None
    return found


def _compact(world: World, key: Key) -> Message:
    data, _ = _proposed(world, key, _proposal(world, key), _block(world, key))
    return parse(data)


def _plain_compact(world: World, key: Key, message: Any) -> Sent:
    del key
    data = encode(message)
    return data, lambda: world.proposal(data)


def _plain(world: World, key: Key, message: Any) -> Sent:
    del key
    return _votes(world, message)


CONSENSUS = (
    *(
        Kind(
            f"vote {kind.name.lower()}", _vote(kind), lambda w, k, m: _votes(w, _signed(k, m)),
            effect=_is_heard(kind, 0),
        )
        for kind in VoteType
    ),
    Kind("polka certificate", _polka(), _plain, effect=_is_heard(VoteType.PREVOTE, AHEAD)),
    Kind("polka certificate, replayed", _polka(alone=True), _plain, by=ANYBODY,
         effect=_is_heard(VoteType.PREVOTE, AHEAD, ME)),
    Kind("round certificate", _round(timed_out=True), _plain, effect=_is_heard(VoteType.PRECOMMIT, AHEAD - 1)),
    Kind("round certificate, skip", _round(timed_out=False), _plain, effect=_is_heard(VoteType.PREVOTE, AHEAD)),
    Kind("round certificate, replayed", _round(timed_out=True, alone=True), _plain, by=ANYBODY,
         effect=_is_heard(VoteType.PRECOMMIT, AHEAD - 1, ME)),
    Kind("evidence: two votes", _late_vote(VoteType.PRECOMMIT, BLOCK_ID), _double, effect=_is_accused),
    Kind("evidence: a forgotten lock", _late_vote(VoteType.PRECOMMIT, BLOCK_ID), _forgot, effect=_is_accused),
    Kind("evidence: two proposals", lambda w, k: _late_proposal(w, k, BLOCK_ID), _twice, effect=_is_accused),
    Kind("evidence note", _evidence_note, _plain, effect=_is_accused),
    Kind("proposal", _proposal, lambda w, k, m: _proposed(w, k, m, _block(w, k)), effect=_is_decided),
    Kind("header", _header, _of_header, effect=_is_decided),
    Kind("last commit", _last_commit, _of_commit, effect=_is_decided),
    Kind("compact proposal", _compact, _plain_compact, effect=_is_decided),
)
