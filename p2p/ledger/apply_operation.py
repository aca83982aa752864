"""Apply one account transaction to the state. Law: network, signature and nonce are checked before anything else, and
the nonce is used only by a transaction that was carried out.

One table says which function carries out which kind. A function takes the context, the account and the message of its
kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from p2p.base.codec import encode, unpack
from p2p.base.errors import InvalidRequest
from p2p.base.genesis import Genesis
from p2p.base.keys import Domain, verify
from p2p.base.types import Record
from p2p.ledger import governance
from p2p.ledger.inferences import appeals
from p2p.ledger.money import accounts, collateral
from p2p.ledger.participants import registry
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.ops import (
    Appeal,
    Cap,
    Delegate,
    Deposit,
    Op,
    OpKind,
    Propose,
    Register,
    Revoke,
    Rotate,
    SignedOp,
    Transfer,
    Unregister,
    Vote,
    Withdraw,
)

Carry = Callable[[Context, bytes, Any], None]  # context, account, message

_HANDLERS: dict[OpKind, tuple[type, Carry]] = {
    OpKind.TRANSFER: (Transfer, accounts.transfer),
    OpKind.REGISTER: (Register, registry.register),
    OpKind.UNREGISTER: (Unregister, registry.unregister),
    OpKind.ROTATE: (Rotate, registry.rotate_key),
    OpKind.DEPOSIT: (Deposit, collateral.deposit),
    OpKind.WITHDRAW: (Withdraw, collateral.withdraw),
    OpKind.DELEGATE: (Delegate, accounts.delegate),
    OpKind.REVOKE: (Revoke, accounts.revoke),
    OpKind.CAP: (Cap, accounts.cap),
    OpKind.PROPOSE: (Propose, governance.propose),
    OpKind.VOTE: (Vote, governance.vote),
    OpKind.APPEAL: (Appeal, appeals.appeal),
}


def apply_op(ctx: Context, sender: bytes, record: Record) -> None:
    """Apply a record OP. Any peer may bring any account's transaction."""
    del sender
    carry_out(ctx, unpack(SignedOp, record.body))


def carry_out(ctx: Context, signed: SignedOp) -> None:
    """Carry out one account transaction. Raises FolkmootError naming the field.

    The CALLER drops the view's changes then, as `View.whole` does: some of them may have been made.
    """
    op = signed.op
    if op.network != ctx.genesis.network:
        raise InvalidRequest(f"this is network {ctx.genesis.network}", field="network")
    if not is_signed(ctx.genesis, signed):
        raise InvalidRequest("not signed by the account's key", field="signature")
    account = ctx.view.account(op.account)
    if not account.nonce_is_free(op.nonce):
        raise InvalidRequest(accounts.why_not(account, op.nonce), field="nonce")
    high, mask = account.with_nonce(op.nonce)
    ctx.view.put_account(op.account, replace(account, nonce_high=high, nonce_mask=mask))
    _, carry = _HANDLERS[op.kind]
    carry(ctx, op.account, body_of(op))


def is_signed(genesis: Genesis, signed: SignedOp) -> bool:
    """Whether the account's own key signed it, for this network."""
    return verify(signed.op.account, Domain.OP, genesis.network, encode(signed.op), signed.signature)


def body_of(op: Op) -> Any:
    """The message of its kind. Raises RemoteProtocolError."""
    return unpack(_HANDLERS[op.kind][0], op.body)
