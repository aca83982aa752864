"""Answers about one account and its transactions: `account`, `held`, `tip`, `transaction`, and to one that is
submitted.

Law: only the light block of a Tip is proved; all else is the peer's word.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from p2p.wire.answers.fields import Amount, Height, Hex, Hex32, Name, Nonce, Price, Text, Word

MAX_ESCROWS = 256


class Notice(Struct, frozen=True):
    """What became of an earlier inference of the account."""

    inference_id: Hex32
    what: Word  # EXPIRED, INVALIDATED, UNCONFIRMED
    amount_micro: Amount  # refunded
    height: Height


class Tip(Struct, frozen=True):
    """What a client must know before it signs. client/tip_proof.py bounds what is not proved."""

    height: Height
    light: Hex | None  # the newest block's LightBlock; None at height 0
    next_nonce: Nonce
    balance_micro: Amount
    price_micro: Price | None  # of a token of the model asked about; None: not in use
    notices: Annotated[tuple[Notice, ...], Meta(max_length=64)]


class HotKey(Struct, frozen=True):
    """A key that may sign requests of the account."""

    key: Hex32
    expires: Height
    epoch_cap_micro: Amount  # 0: none
    request_cap_micro: Amount  # 0: none
    spent_micro: Amount  # in `epoch`
    epoch: Amount


class Withdrawal(Struct, frozen=True):
    """Collateral that returns at a height."""

    amount_micro: Amount
    height: Height


class AccountNode(Struct, frozen=True):
    """A node that is registered by the account."""

    node: Hex32
    weight: Amount
    models: Annotated[tuple[Name, ...], Meta(max_length=64)]
    stacks: Annotated[tuple[Name, ...], Meta(max_length=64)]
    price_floor_micro: Amount
    metadata: Text
    collateral_micro: Amount
    bond_micro: Amount
    leaving: Amount  # the height at which it leaves; 0: it stays
    withdrawals: Annotated[tuple[Withdrawal, ...], Meta(max_length=1024)]


class AccountAnswer(Struct, frozen=True):
    """`account`: after the newest block, and what this peer has taken since."""

    account: Hex32
    balance_micro: Amount
    next_nonce: Nonce
    height: Height
    beacon: Hex32
    epoch_cap_micro: Amount  # 0: none
    request_cap_micro: Amount  # 0: none
    hot_keys: Annotated[tuple[HotKey, ...], Meta(max_length=256)]
    nodes: Annotated[tuple[AccountNode, ...], Meta(max_length=1024)]
    notices: Annotated[tuple[Notice, ...], Meta(max_length=64)]


class EscrowRow(Struct, frozen=True):
    """What one running inference holds of the account's money."""

    inference_id: Hex32
    model: Name
    amount_micro: Amount
    start_height: Height
    deadline: Height  # at which it returns, if nobody finished by then


class HeldAnswer(Struct, frozen=True):
    """`held`: what of an account's money is bound now, and which of its transactions wait."""

    account: Hex32
    height: Height
    escrow_micro: Amount  # the sum of all that are listed
    escrows: Annotated[tuple[EscrowRow, ...], Meta(max_length=MAX_ESCROWS)]  # the first to return first
    until: Height  # those with later deadlines are not listed
    reserved_micro: Amount  # of requests that this peer took and that are not on chain yet
    pending: Annotated[tuple[Nonce, ...], Meta(max_length=1024)]  # nonces of transactions that wait here for a block


class Taken(Struct, frozen=True):
    """A peer took an account's transaction; it is not on chain yet."""

    op_id: Hex32
    kind: Word
    nonce: Nonce
    height: Height


class TransactionAnswer(Struct, frozen=True):
    """`transaction`: what became of an account's transaction."""

    op_id: Hex32
    # as in chain/transaction_fates.py; 'unknown': this peer has not heard of it, or has forgotten
    state: Annotated[str, Meta(pattern="^(waiting|done|refused|dropped|used|unknown)$")]
    height: Height  # of the block that ended it, or where the peer stands
    code: Name  # code, field and reason: as in the error; empty where there is none
    field: Name
    reason: Text
