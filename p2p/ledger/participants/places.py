"""Who has a place among the participants. Law: a place costs a fee that is burnt and a bond that returns; when all are taken the one that has
been of use to nobody for longest goes with its bond, so that a newcomer who pays always comes in. It goes at the end of the block: who sends
something in the block that takes its place is a participant to the end of it, for a block is judged by the state below it.

Never evicted: who has weight, who is of the genesis file, whose case or duty is open. Who fills the network with keys of its own loses a fee for
each place, and pushes a newcomer out only by as many fees as there are places, before the next race gives the newcomer weight. An agent
without weight keeps its place by what clients pay through it.
"""

from __future__ import annotations

from itertools import islice

from msgspec.structs import replace

from p2p.base.errors import InvalidRequest, Overloaded
from p2p.base.genesis import EconomyRules
from p2p.ledger.conduct.convictions import convicted_this_epoch
from p2p.ledger.money.accounts import debit
from p2p.ledger.money.outcomes import burn
from p2p.ledger.participants.sprint import racers
from p2p.ledger.rules.context import Context
from p2p.ledger.state import keys
from p2p.ledger.state.open_disputes import open_disputes
from p2p.ledger.state.records import Participant

MAX_PARTICIPANTS = 1024
MAX_NEW = 64  # participants of one block; each is looked for a place for


def pay(ctx: Context, account: bytes, rules: EconomyRules) -> None:
    """What a new place costs. The CALLER gives the bond to the participant; it is counted with the collateral."""
    bond, fee = rules.registration_bond_micro, rules.registration_fee_micro
    if (has := ctx.view.account(account).balance_micro) < bond + fee:
        raise InvalidRequest(
            f"to register holds {bond} micro-credits until the node leaves and costs {fee}; the account has {has}", field="balance",
        )
    debit(ctx.view, account, bond + fee)
    burn(ctx, fee)
    totals = ctx.view.totals()
    ctx.view.put_totals(replace(totals, collateral_micro=totals.collateral_micro + bond))


def count_new(ctx: Context) -> None:
    """One more in this block. Raises Overloaded."""
    raw = ctx.view.get(keys.NEWCOMERS) or bytes(12)
    count = int.from_bytes(raw[8:], "big") if int.from_bytes(raw[:8], "big") == ctx.height else 0
    if count >= MAX_NEW:
        raise Overloaded(f"{MAX_NEW} participants were registered in this block; try again in the next", field="node")
    ctx.view.put(keys.NEWCOMERS, ctx.height.to_bytes(8, "big") + (count + 1).to_bytes(4, "big"))


def check_room(ctx: Context) -> None:
    """May one more come in this block? Raises InvalidRequest or Overloaded."""
    over = len(ctx.view.ids(keys.PARTICIPANTS)) + 1 - MAX_PARTICIPANTS
    if over > MAX_NEW:  # the last ones for whom somebody should have gone are here still: all of these had a duty by the end of their block
        raise Overloaded("too many participants; try again in the next block", field="node")
    if len(first_to_go(ctx, over)) < over:
        raise InvalidRequest(f"a network has at most {MAX_PARTICIPANTS} participants, and all have weight", field="node")


def too_many(ctx: Context) -> list[Participant]:
    """At the end of block `height`: those who have to go."""
    return first_to_go(ctx, len(ctx.view.ids(keys.PARTICIPANTS)) - MAX_PARTICIPANTS)


def first_to_go(ctx: Context, count: int) -> list[Participant]:
    """Of those that may be evicted `count` (all, where they are fewer): who is leaving anyway, then who takes part in no race, then who was of
    use longest ago."""
    if count <= 0:
        return []
    named = {peer.node for peer in ctx.genesis.peers} | {change.node for change in ctx.genesis.changes}
    racing = {ctx.view.node_now(node) for node in racers(ctx.view)}

    def may_go(one: Participant) -> bool:
        return not (
            one.weight or one.node in named or one.origin in named or convicted_this_epoch(ctx, one)
            or open_disputes(ctx.view, one.node) or ctx.view.ids(keys.duties(one.node))
        )

    order = sorted(ctx.view.participants(), key=lambda one: (not one.leaving, one.node in racing, one.active, one.node))
    return list(islice(filter(may_go, order), count))
