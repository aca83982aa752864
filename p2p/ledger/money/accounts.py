"""Money between accounts, hot keys, and caps on spending. Law: an account's own key can do everything; a hot key signs
requests only, within its caps and until it expires.

What a Start holds in escrow counts as spent, also when part of it returns. A cap that forgot what returns could be
exceeded by many requests at once; this one bounds what can be lost before the owner looks.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from p2p.base.codec import Message, encode
from p2p.base.errors import InvalidRequest
from p2p.base.serving_limits import MAX_NONCE_AHEAD
from p2p.base.types import U64, Bytes32, Request
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.ops import Cap, Delegate, Revoke, Transfer
from p2p.ledger.state import keys
from p2p.ledger.state.records import Account
from p2p.ledger.state.view import View

MAX_HOT_KEYS = 8
MAX_PROVEN = 1 << 62  # micro-credits; a larger number does not fit the wire's 63 bits


class Spending(Message, frozen=True):
    """Caps on what requests may hold in escrow, and what they have held. Micro-credits; a cap of 0 is no cap."""

    epoch_cap_micro: U64 = 0
    request_cap_micro: U64 = 0
    epoch: U64 = 0  # that spent_micro is about; in any other epoch it counts as nothing
    spent_micro: U64 = 0

    def spent_in(self, epoch: int) -> int:
        return self.spent_micro if self.epoch == epoch else 0

    def plus(self, epoch: int, escrow_micro: int) -> Spending:
        return replace(self, epoch=epoch, spent_micro=self.spent_in(epoch) + escrow_micro)


class HotKey(Message, frozen=True):
    """A key that may sign the account's requests."""

    key: Bytes32
    expires: U64  # the last height at which it may
    spending: Spending


class Limits(Message, frozen=True):
    """An account's caps: its own, which hold for every signer, and those of its hot keys."""

    own: Spending = Spending()
    hot: Annotated[tuple[HotKey, ...], Meta(max_length=MAX_HOT_KEYS)] = ()


_NO_LIMITS = Limits()


def limits(view: View, account: bytes) -> Limits:
    return view.record(Limits, keys.limits(account)) or _NO_LIMITS


def why_not(account: Account, nonce: int) -> str:
    """Why `nonce` is not free, as a sentence.

    A nonce far ahead is never free: otherwise one signature under the highest number there is, which a lying peer can
    ask for, would end the account.
    """
    what = f"is more than {MAX_NONCE_AHEAD} ahead" if nonce > account.nonce_high else "was used"
    return f"nonce {nonce} {what}; the next is {account.nonce_high + 1}"


def _put(view: View, account: bytes, found: Limits) -> None:
    plain = not found.hot and not found.own.epoch_cap_micro and not found.own.request_cap_micro
    view.put(keys.limits(account), None if plain else encode(found))


# -- account transactions: each is called by apply_operation, and raises InvalidRequest --------------------------------


def transfer(ctx: Context, account: bytes, body: Transfer) -> None:
    debit(ctx.view, account, body.amount_micro)
    credit(ctx.view, body.to, body.amount_micro)


def delegate(ctx: Context, account: bytes, body: Delegate) -> None:
    """Add a hot key, or change the caps of one; what it spent in this epoch stays spent."""
    if body.key == account:
        raise InvalidRequest("the account's own key needs no delegation", field="key")
    if body.expires <= ctx.height:
        raise InvalidRequest(f"height {body.expires} is past; it is {ctx.height}", field="expires")
    found = limits(ctx.view, account)
    before = next((hot.spending for hot in found.hot if hot.key == body.key), Spending())
    others = tuple(hot for hot in found.hot if hot.key != body.key and hot.expires >= ctx.height)
    if len(others) >= MAX_HOT_KEYS:
        raise InvalidRequest(f"an account has at most {MAX_HOT_KEYS} hot keys; revoke one", field="key")
    spending = replace(before, epoch_cap_micro=body.epoch_cap_micro, request_cap_micro=body.request_cap_micro)
    _put(ctx.view, account, replace(found, hot=(*others, HotKey(body.key, body.expires, spending))))


def revoke(ctx: Context, account: bytes, body: Revoke) -> None:
    found = limits(ctx.view, account)
    left = tuple(hot for hot in found.hot if hot.key != body.key)
    if left == found.hot:
        raise InvalidRequest("the account has no such hot key", field="key")
    _put(ctx.view, account, replace(found, hot=left))


def cap(ctx: Context, account: bytes, body: Cap) -> None:
    """Set the account's own caps. What was spent before the first cap was not counted."""
    found = limits(ctx.view, account)
    own = replace(found.own, epoch_cap_micro=body.epoch_cap_micro, request_cap_micro=body.request_cap_micro)
    _put(ctx.view, account, replace(found, own=own))


# -- requests ----------------------------------------------------------------------------------------------------------


def check_spending(
    ctx: Context, request: Request, escrow_micro: int, *, reserved_micro: int = 0, signer_reserved_micro: int = 0
) -> None:
    """Check that the signer and the caps allow `request` in this block.

    reserved_micro, signer_reserved_micro: escrow of requests that this peer took and that are not on chain yet, of the
    account and of the same signer. Raises InvalidRequest(field='signer', 'request_cap_micro' or 'epoch_cap_micro').
    """
    found = limits(ctx.view, request.account)
    bounds = [("the account", found.own, reserved_micro)]
    if request.signer != request.account:
        hot = next((hot for hot in found.hot if hot.key == request.signer), None)
        if hot is None:
            raise InvalidRequest("this key is no hot key of the account", field="signer")
        if ctx.height > hot.expires:
            raise InvalidRequest(f"this hot key expired at height {hot.expires}", field="signer")
        bounds.append(("this hot key", hot.spending, signer_reserved_micro))
    for whose, spending, reserved in bounds:
        needs = f"the request needs {escrow_micro} micro-credits in escrow, {whose}"
        if spending.request_cap_micro and escrow_micro > spending.request_cap_micro:
            allows = f"{needs} allows {spending.request_cap_micro} in a request"
            raise InvalidRequest(allows, field="request_cap_micro")
        spent = spending.spent_in(ctx.epoch) + reserved
        if spending.epoch_cap_micro and spent + escrow_micro > spending.epoch_cap_micro:
            left = max(spending.epoch_cap_micro - spent, 0)
            raise InvalidRequest(f"{needs} has {left} left in this epoch", field="epoch_cap_micro")


def count_spending(ctx: Context, request: Request, escrow_micro: int) -> None:
    """A Start of `request` was applied: count its escrow where there are caps."""
    found = limits(ctx.view, request.account)
    if found is _NO_LIMITS:
        return
    hot = tuple(
        replace(hot, spending=hot.spending.plus(ctx.epoch, escrow_micro)) if hot.key == request.signer else hot
        for hot in found.hot
    )
    _put(ctx.view, request.account, Limits(found.own.plus(ctx.epoch, escrow_micro), hot))


# -- balances ----------------------------------------------------------------------------------------------------------


def credit(view: View, public: bytes, amount: int) -> None:
    account = view.account(public)
    view.put_account(public, replace(account, balance_micro=account.balance_micro + amount))


def debit(view: View, public: bytes, amount: int) -> None:
    """Take `amount` micro-credits from an account. Raises InvalidRequest(field='amount_micro')."""
    account = view.account(public)
    if account.balance_micro < amount:
        has = f"{amount} micro-credits are needed, the account has {account.balance_micro}"
        raise InvalidRequest(has, field="amount_micro")
    view.put_account(public, replace(
        account, balance_micro=account.balance_micro - amount, proven_micro=max(account.proven_micro - amount, 0),
    ))


def prove(view: View, public: bytes, amount: int) -> None:
    """A fee of this account was booked for another owner's executor; `amount` is the part of it that no executor gets.
    """
    account = view.account(public)
    view.put_account(public, replace(account, proven_micro=min(account.proven_micro + amount, MAX_PROVEN)))
