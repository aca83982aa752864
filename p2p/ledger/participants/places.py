"""The places among the participants. Law: a place costs a fee that is burnt and a bond that returns; when all are
taken, the participant that has been of no use for longest is evicted, so a newcomer that pays always comes in.

Eviction happens at the end of the block. A participant that sends something in the block that takes its place is one
to the end of it, because a block is judged by the state below it. What the evicted node held returns to its owner
after the same wait as after UNREGISTER.

Never evicted: a participant that has weight, is in the genesis file, or has an open dispute or duty. An attacker that
fills the network with keys loses a fee for each place, and pushes a newcomer out only by as many fees as there are
places, before the next sprint gives the newcomer weight. An agent without weight keeps its place by what clients pay
through it.
"""

from __future__ import annotations

from itertools import islice

from msgspec.structs import replace

from p2p.base.errors import InvalidRequest, Overloaded
from p2p.ledger.conduct.convictions import convicted_this_epoch
from p2p.ledger.money.accounts import debit
from p2p.ledger.money.outcomes import burn
from p2p.ledger.participants.sprint import committed_nodes
from p2p.ledger.rules.context import Context
from p2p.ledger.state import keys
from p2p.ledger.state.open_disputes import open_disputes
from p2p.ledger.state.records import Participant

MAX_PARTICIPANTS = 1024
MAX_NEW = 64  # registrations in one block; for each of them somebody may have to go
_COUNT_BYTES = 4  # of keys.NEWCOMERS, behind the height


def pay(ctx: Context, account: bytes) -> None:
    """Pay for a new place (M19). The CALLER gives the bond to the participant; it is counted with the collateral.

    Raises InvalidRequest(field='balance').
    """
    bond, fee = ctx.economy.registration_bond_micro, ctx.economy.registration_fee_micro
    has = ctx.view.account(account).balance_micro
    if has < bond + fee:
        costs = f"to register costs {fee} micro-credits and holds {bond} more until the node leaves"
        raise InvalidRequest(f"{costs}; the account has {has}", field="balance")
    debit(ctx.view, account, bond + fee)
    burn(ctx, fee)
    totals = ctx.view.totals()
    ctx.view.put_totals(replace(totals, collateral_micro=totals.collateral_micro + bond))


def pay_for_key(ctx: Context, account: bytes) -> None:
    """Pay for another node key (M19): the key that is given up stays in the state for ever. Raises
    InvalidRequest(field='balance').
    """
    fee, has = ctx.economy.registration_fee_micro, ctx.view.account(account).balance_micro
    if has < fee:
        raise InvalidRequest(f"another node key costs {fee} micro-credits; the account has {has}", field="balance")
    debit(ctx.view, account, fee)
    burn(ctx, fee)


def count_new(ctx: Context) -> None:
    """Count one more registration in this block. Raises Overloaded(field='node')."""
    raw = ctx.view.get(keys.NEWCOMERS) or bytes(keys.HEIGHT_BYTES + _COUNT_BYTES)
    height, count = (int.from_bytes(part, "big") for part in (raw[: keys.HEIGHT_BYTES], raw[keys.HEIGHT_BYTES :]))
    now = count + 1 if height == ctx.height else 1
    if now > MAX_NEW:
        raise Overloaded(f"{MAX_NEW} participants were registered in this block; try again in the next", field="node")
    ctx.view.put(keys.NEWCOMERS, keys.of_number(ctx.height) + now.to_bytes(_COUNT_BYTES, "big"))


def check_room(ctx: Context) -> None:
    """Check that one more participant can come in this block. Raises InvalidRequest or Overloaded (field='node')."""
    over = len(ctx.view.ids(keys.PARTICIPANTS)) + 1 - MAX_PARTICIPANTS
    if over > MAX_NEW:  # those that had to go for earlier newcomers all had a duty by the end of their block
        raise Overloaded("too many participants; try again in the next block", field="node")
    if len(first_to_go(ctx, over)) < over:
        most = f"a network has at most {MAX_PARTICIPANTS} participants, and none of them can be evicted now"
        raise InvalidRequest(f"{most}; try again later", field="node")


def too_many(ctx: Context) -> list[Participant]:
    """At the end of a block: the participants that have to go."""
    return first_to_go(ctx, len(ctx.view.ids(keys.PARTICIPANTS)) - MAX_PARTICIPANTS)


def first_to_go(ctx: Context, count: int) -> list[Participant]:
    """The first `count` participants that can be evicted; all of them, where they are fewer.

    In this order: those that are leaving anyway, those in no sprint, those that were of use longest ago.
    """
    if count <= 0:
        return []
    named = {peer.node for peer in ctx.genesis.peers} | {change.node for change in ctx.genesis.changes}
    committed = {ctx.view.node_now(node) for node in committed_nodes(ctx.view)}

    def may_go(one: Participant) -> bool:
        return not (
            one.weight or one.node in named or one.origin in named or convicted_this_epoch(ctx, one)
            or open_disputes(ctx.view, one.node) or ctx.view.ids(keys.duties(one.node))
        )

    def rank(one: Participant) -> tuple[bool, bool, int, bytes]:
        return not one.leaving, one.node in committed, one.active, one.node

    return list(islice(filter(may_go, sorted(ctx.view.participants(), key=rank)), count))
