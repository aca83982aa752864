"""Who can be drawn to serve or to check a model, with what counted weight. Law: read only, and every draw and vote
asks these functions.
"""

from __future__ import annotations

from collections.abc import Iterable

from p2p.base.weighted_draw import WeightedDraw
from p2p.ledger.money.price import price_of
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import counted
from p2p.ledger.rules.models import model_spec
from p2p.ledger.state.records import Participant


def serving(ctx: Context, model: str) -> list[tuple[bytes, int]]:
    """(node, counted weight) of the participants that serve `model` at its current price, by key.

    Draws are made from what this said at the end of a block (serving.py).
    """
    spec = model_spec(ctx.view, model)
    price_micro = price_of(ctx.view, spec) if spec else -1
    return counted(ctx, [p for p in able(ctx, model) if p.price_floor_micro <= price_micro])


def able(ctx: Context, model: str) -> list[Participant]:
    """Those that would serve `model` at a price of their own: they are neither suspended nor barred.

    Checking costs more than it is paid, so a barred validator serves nobody (decision 019).
    """
    return [p for p in _working(ctx, ctx.view.participants(), model) if not p.suspended_until and not p.barred_until]


def checking(ctx: Context, model: str) -> list[tuple[bytes, int]]:
    """(node, counted weight) of the participants that can be drawn to check `model`: they have it and are not barred.
    """
    return counted(ctx, [p for p in _working(ctx, ctx.view.participants(), model) if not p.barred_until])


def checking_lots(ctx: Context, model: str) -> WeightedDraw:
    """`checking`, ready to be drawn from; made once until a participant, a rule or a model changes."""
    return ctx.view.once(f"checking {model}", lambda: WeightedDraw(checking(ctx, model)))


def checking_lots_on(ctx: Context, model: str, stack: str) -> WeightedDraw:
    """Of these, the ones known to have a stack's kernels: they have reputation with this model on it. A name alone
    proves nothing.
    """
    def has_reputation(node: bytes) -> bool:
        part = ctx.view.participant(node)
        return part is not None and any((row.model, row.stack) == (model, stack) for row in part.reputations)

    def known() -> WeightedDraw:
        lots = checking_lots(ctx, model).pairs()
        return WeightedDraw((node, weight) for node, weight in lots if has_reputation(node))

    return ctx.view.once(f"checking {model} on {stack}", known)


def _working(ctx: Context, everybody: Iterable[Participant], model: str) -> list[Participant]:
    """Those that have the model, weight and enough collateral, are not convicted and not leaving."""
    least = ctx.economy.collateral_min_micro
    return [
        p for p in everybody
        if model in p.models and p.weight > 0 and not p.convicted_until and not p.leaving
        and p.collateral_micro >= least
    ]
