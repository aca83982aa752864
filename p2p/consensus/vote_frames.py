"""Frames between two peers that exchange votes. Law: each is bounded before it is decoded, and has one encoding.

A bundle carries messages as the very bytes that everybody else has of them, so a copy is known by its bytes before
anything is decoded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from p2p.base.codec import Message, encode, unpack
from p2p.base.errors import RemoteProtocolError
from p2p.base.limits import MAX_BUNDLE, MAX_BUNDLE_MESSAGES, MAX_VALIDATORS
from p2p.base.types import U32, U64, Bytes32
from p2p.consensus import wire
from p2p.consensus.machine import PROPOSALS_PER_ROUND
from p2p.consensus.messages import VoteType
from p2p.consensus.validators import ValidatorSet
from p2p.consensus.votes import VoteKeeper

Bits = Annotated[bytes, Meta(max_length=MAX_VALIDATORS // 8)]  # bit i (of the low bits first) is the set's i-th member
BlockIds = Annotated[tuple[Bytes32, ...], Meta(max_length=PROPOSALS_PER_ROUND)]
_ITEMS = MAX_BUNDLE_MESSAGES + 8  # CBOR items of a frame
_UNPACKED = 3  # bytes before a packed message's kind when its retry counter is 0: array, version, counter


class Bundle(Message, frozen=True, tag="bundle"):
    """Messages that the receiver is not known to have."""

    again: U32  # counts bundles on the mesh, so that a repeat passes its filter of duplicates; 0 on a stream
    messages: Annotated[tuple[bytes, ...], Meta(max_length=MAX_BUNDLE_MESSAGES)]


class Want(Message, frozen=True, tag="want"):
    """Where the sender stands, and that it asks for what it lacks there."""

    height: U64
    round: U32
    prevotes: Bits  # whose prevotes of this round it has
    precommits: Bits
    proposals: BlockIds  # the blocks of this round's proposals that it has
    lacking: BlockIds  # blocks that others vote for and that it lacks


class Proposed(Message, frozen=True, tag="proposed"):
    """A proposal, as the receiver's Judge takes it (proposal_relay.py): between peers without its transactions."""

    proposal: Annotated[bytes, Meta(max_length=MAX_BUNDLE)]


PROPOSED_HEAD = 32  # bytes around it, at most
Frame = Bundle | Want | Proposed


def parse_frame(data: bytes) -> Frame:
    """Raises RemoteProtocolError."""
    frame: Frame = unpack(Frame, data, limit=MAX_BUNDLE, items=_ITEMS)  # type: ignore[arg-type]
    return frame


def pack(message: wire.Wire) -> bytes:
    """The bytes of a message in a bundle: without a retry counter, so everybody has the same."""
    return wire.pack(message, 0)


def parse_message(raw: bytes) -> wire.Wire:
    """A message out of a bundle. Raises RemoteProtocolError."""
    if raw[_UNPACKED - 1 : _UNPACKED] != b"\0":
        raise RemoteProtocolError("a message in a bundle has no retry counter", field="retry", code="shape")
    return wire.parse(raw)


def want(
    votes: VoteKeeper, members: ValidatorSet, height: int, round_: int, proposals: Iterable[bytes] = (),
    lacking: Iterable[bytes] = (),
) -> bytes:
    """The packed Want of a peer with these votes and proposals."""
    have = {kind: bits([votes.has(key, round_, kind) for key, _ in members.members]) for kind in VoteType}
    some, none = tuple(proposals)[:PROPOSALS_PER_ROUND], tuple(lacking)[:PROPOSALS_PER_ROUND]
    return encode(Want(height, round_, have[VoteType.PREVOTE], have[VoteType.PRECOMMIT], some, none))


def bits(flags: list[bool]) -> bytes:
    """A bitmap."""
    number = sum(1 << at for at, flag in enumerate(flags) if flag)
    return number.to_bytes((len(flags) + 7) // 8, "little")


def has_bit(bitmap: bytes, at: int) -> bool:
    """Whether a bit is set; what a short bitmap leaves out is not."""
    return at // 8 < len(bitmap) and bool(bitmap[at // 8] >> at % 8 & 1)
