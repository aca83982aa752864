"""What peers answer to queries, as typed values. Law: a client believes no shape: each answer is read here, and one that is odd is a sentence
that names the peer, never a traceback.

Unknown keys are ignored, so that a newer peer may say more.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from p2p.base.errors import RemoteProtocolError
from p2p.ledger.money.price import MAX_PRICE
from p2p.machine.foreign_text import line

MAX_HEIGHT = (1 << 32) - 1
MAX_HEX = 1 << 23  # digits: as many as a frame has room for
Amount = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Height = Annotated[int, Meta(ge=0, le=MAX_HEIGHT)]
Nonce = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Hex = Annotated[str, Meta(pattern="^(?:[0-9a-f]{2})*$", max_length=MAX_HEX)]
Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Word = Annotated[str, Meta(pattern="^[A-Za-z_-]{1,40}$")]

T = TypeVar("T", bound=Struct)


class Notice(Struct, frozen=True):
    """What became of an earlier inference of the account."""

    inference_id: Hex32
    what: Word
    amount_micro: Amount
    height: Height


class Tip(Struct, frozen=True):
    """What a client must know before it signs. light: the newest block's LightBlock, None at height 0. price_micro: of a token of the model
    asked about, None: not served here. Only the light block is proved; the rest is the peer's word (p2p/client/tip_proof.py bounds it)."""

    height: Height
    light: Hex | None
    next_nonce: Nonce
    balance_micro: Amount
    price_micro: Annotated[int, Meta(ge=1, le=MAX_PRICE)] | None
    notices: Annotated[tuple[Notice, ...], Meta(max_length=64)]


class Proved(Struct, frozen=True):
    """A value of the state after `height` and its place in the tree."""

    height: Height
    value: Hex | None
    proof: Hex
    left: Hex | None = None


class ServingAnswer(Struct, frozen=True):
    height: Height
    proof: Hex


class Light(Struct, frozen=True):
    height: Height
    light: Hex


class Taken(Struct, frozen=True):
    """A peer took an order."""

    kind: Word
    nonce: Nonce
    op_id: Hex32


class BlockAnswer(Struct, frozen=True):
    height: Height
    beacon: Hex32


class PayloadAnswer(Struct, frozen=True):
    """What the own peer has of one answer."""

    payload: Hex
    request: Hex
    finish: Hex
    beacon: Hex32
    candidates: Annotated[tuple[Hex32, ...], Meta(max_length=64)]


class HotKey(Struct, frozen=True):
    key: Hex32
    expires: Height
    epoch_cap_micro: Amount
    request_cap_micro: Amount
    spent_micro: Amount
    epoch: Amount


class NodeOfAccount(Struct, frozen=True):
    node: Hex32
    weight: Amount
    models: Annotated[tuple[str, ...], Meta(max_length=64)]
    collateral_micro: Amount
    price_floor_micro: Amount
    leaving: Amount


class AccountAnswer(Struct, frozen=True):
    account: Hex32
    balance_micro: Amount
    next_nonce: Nonce
    height: Height
    epoch_cap_micro: Amount
    request_cap_micro: Amount
    hot_keys: Annotated[tuple[HotKey, ...], Meta(max_length=256)]
    nodes: Annotated[tuple[NodeOfAccount, ...], Meta(max_length=1024)]


Kind = Literal["tip", "account", "prove", "serving", "light", "transaction", "block", "payload"]


def read(kind: type[T], answer: Any, op: Kind, peer: str) -> T:
    """`answer` to the operation `op`. Raises RemoteProtocolError naming the peer and what is wrong."""
    try:
        return msgspec.convert(answer, kind, strict=True)
    except (msgspec.ValidationError, RecursionError) as error:
        what = line(str(error), 200) if isinstance(error, msgspec.ValidationError) else "it is nested too deeply"
        raise RemoteProtocolError(
            f"peer {line(peer, 80)} gave an odd answer to {op!r}: {what}; ask another peer", field=op, code="odd_answer",
        ) from error
