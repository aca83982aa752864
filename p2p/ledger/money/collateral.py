"""What a participant can lose. Law: collateral is its owner's money, counted in Totals.collateral_micro until it is
back on the owner's account.

What is on its way back can still be slashed. A participant that was convicted in an epoch, or has a dispute open, has
nothing back before that epoch is over.
"""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.codec import Message, encode
from p2p.base.errors import InvalidRequest
from p2p.base.types import U64, Bytes32
from p2p.ledger.conduct.convictions import convicted_this_epoch
from p2p.ledger.money.accounts import credit, debit
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.ops import Deposit, Withdraw
from p2p.ledger.state import keys
from p2p.ledger.state.open_disputes import open_disputes
from p2p.ledger.state.records import Participant, Withdrawal
from p2p.ledger.state.view import View

MAX_WITHDRAWALS = 8  # of one participant, waiting


class Held(Message, frozen=True):
    """What an evicted participant had at stake, on its way back to the owner."""

    owner: Bytes32
    amount_micro: U64
    until: U64  # paid back at the end of this height


def own_node(view: View, account: bytes, node: bytes) -> Participant:
    """The account's participant whose current key is `node`. Raises InvalidRequest(field='node')."""
    participant = view.participant(node)
    if participant is None or participant.node != node:
        raise InvalidRequest("no participant has this node key", field="node")
    if participant.owner != account:
        raise InvalidRequest("the node belongs to another account", field="node")
    if participant.leaving:
        raise InvalidRequest(f"the node is leaving; it is released at height {participant.leaving}", field="node")
    return participant


def deposit(ctx: Context, account: bytes, body: Deposit) -> None:
    """Carry out a DEPOSIT. Raises InvalidRequest(field='node' or 'amount_micro')."""
    participant = own_node(ctx.view, account, body.node)
    debit(ctx.view, account, body.amount_micro)
    ctx.view.put_participant(replace(participant, collateral_micro=participant.collateral_micro + body.amount_micro))
    _count(ctx.view, body.amount_micro)


def withdraw(ctx: Context, account: bytes, body: Withdraw) -> None:
    """Carry out a WITHDRAW: the money returns `withdraw_wait` heights later. Raises InvalidRequest(field='node' or
    'amount_micro').
    """
    participant = own_node(ctx.view, account, body.node)
    if participant.collateral_micro < body.amount_micro:
        has = f"the node's collateral is {participant.collateral_micro} micro-credits; withdraw at most that"
        raise InvalidRequest(has, field="amount_micro")
    if len(participant.withdrawals) >= MAX_WITHDRAWALS:
        raise InvalidRequest(f"at most {MAX_WITHDRAWALS} withdrawals wait at a time", field="node")
    at = ctx.height + ctx.economy.withdraw_wait
    ctx.view.put_participant(replace(
        participant, collateral_micro=participant.collateral_micro - body.amount_micro,
        withdrawals=(*participant.withdrawals, Withdrawal(body.amount_micro, at)),
    ))
    ctx.view.add_due(at, keys.DUE_WITHDRAWAL + body.node)


def pay_back(ctx: Context, node: bytes) -> None:
    """At the end of a block: withdrawals that have waited long enough return to the owner."""
    _pay_back_held(ctx, node)
    participant = ctx.view.participant(node)
    if participant is None:
        return  # it left meanwhile; what it had is its owner's, or held
    later = after_slashing(ctx, participant)
    if later:
        ctx.view.add_due(later, keys.DUE_WITHDRAWAL + node)
        return
    ready = sum(w.amount_micro for w in participant.withdrawals if w.height <= ctx.height)
    left = tuple(w for w in participant.withdrawals if w.height > ctx.height)
    ctx.view.put_participant(replace(participant, withdrawals=left))
    credit(ctx.view, participant.owner, ready)
    _count(ctx.view, -ready)


def after_slashing(ctx: Context, participant: Participant) -> int:
    """The first height of the next epoch, where the participant will be slashed at this one's end or might be; else 0.

    It will be where it was convicted in this epoch, and might be where it has a lost dispute open.
    """
    waits = convicted_this_epoch(ctx, participant) or open_disputes(ctx.view, participant.node)
    return (ctx.epoch + 1) * ctx.genesis.epoch_blocks + 1 if waits else 0


def release(view: View, participant: Participant) -> None:
    """Pay everything back to the owner of a participant that has left."""
    amount = at_stake(participant)
    credit(view, participant.owner, amount)
    _count(view, -amount)


def hold(ctx: Context, participant: Participant) -> None:
    """Keep everything of a participant that is evicted; its owner gets it after the wait that UNREGISTER has.

    Until then it can be slashed (`take`). One that was leaving already waits no longer than it would have.
    """
    until = participant.leaving or ctx.height + ctx.economy.withdraw_wait
    before = held(ctx.view, participant.node)
    amount = at_stake(participant) + (before.amount_micro if before else 0)
    if not amount:
        return
    until = max(until, before.until if before else 0)
    ctx.view.put(keys.held(participant.node), encode(Held(participant.owner, amount, until)))
    ctx.view.add_due(until, keys.DUE_WITHDRAWAL + participant.node)


def held(view: View, node: bytes) -> Held | None:
    return view.record(Held, keys.held(node))


def _pay_back_held(ctx: Context, node: bytes) -> None:
    found = held(ctx.view, node)
    if found is None or found.until > ctx.height:
        return
    ctx.view.put(keys.held(node), None)
    credit(ctx.view, found.owner, found.amount_micro)
    _count(ctx.view, -found.amount_micro)


def at_stake(participant: Participant) -> int:
    """Micro-credits that can be slashed: collateral, waiting withdrawals, and the bond of its place."""
    waiting = sum(w.amount_micro for w in participant.withdrawals)
    return participant.collateral_micro + waiting + participant.bond_micro


def take(view: View, node: bytes, amount: int) -> int:
    """Slash up to `amount` micro-credits; returns what was taken.

    It is no longer in Totals.collateral_micro, and the CALLER must put it elsewhere (burnt, or on accounts) in the
    same block. First the collateral is taken, then withdrawals, the latest first, then the bond; of an evicted node,
    what is held.
    """
    participant = view.participant(node)
    if participant is None:
        return _take_held(view, node, amount)
    taken = min(participant.collateral_micro, amount)
    collateral, waiting = participant.collateral_micro - taken, list(participant.withdrawals)
    while waiting and taken < amount:
        last = waiting.pop()
        piece = min(last.amount_micro, amount - taken)
        taken += piece
        if piece < last.amount_micro:
            waiting.append(replace(last, amount_micro=last.amount_micro - piece))
    bond = min(participant.bond_micro, amount - taken)
    taken += bond
    view.put_participant(replace(
        participant, collateral_micro=collateral, withdrawals=tuple(waiting), bond_micro=participant.bond_micro - bond,
    ))
    _count(view, -taken)
    return taken


def _take_held(view: View, node: bytes, amount: int) -> int:
    found = held(view, node)
    if found is None:
        return 0
    taken = min(found.amount_micro, amount)
    view.put(keys.held(node), encode(replace(found, amount_micro=found.amount_micro - taken)))
    _count(view, -taken)
    return taken


def _count(view: View, amount: int) -> None:
    totals = view.totals()
    view.put_totals(replace(totals, collateral_micro=totals.collateral_micro + amount))
