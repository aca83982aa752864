"""Who may be drawn, and what each counts for. Law: read only; every draw and every vote asks the same functions."""

from __future__ import annotations

from collections.abc import Iterable

from p2p.base.weighted_draw import WeightedDraw
from p2p.ledger.money.price import price_of
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import counted
from p2p.ledger.rules.models import model_spec
from p2p.ledger.state.records import Participant


def serving(ctx: Context, model: str) -> list[tuple[bytes, int]]:
    """(node, counted weight) of those that serve `model` now, by key: they work for its price and are neither suspended nor barred. Draws are
    made from what this said at the end of a block (serving.py). Checking costs more than it is paid, so who does not check serves nobody
    (decision 019)."""
    spec = model_spec(ctx.view, model)
    price_micro = price_of(ctx.view, spec) if spec else -1
    return counted(ctx, [p for p in able(ctx, model) if p.price_floor_micro <= price_micro])


def able(ctx: Context, model: str) -> list[Participant]:
    """Those that would serve `model` at their price."""
    return [p for p in _working(ctx, ctx.view.participants(), model) if not p.suspended_until and not p.barred_until]


def checking(ctx: Context, model: str) -> list[tuple[bytes, int]]:
    """(node, counted weight) of those who may be drawn to check `model`: they have it and are not barred."""
    return counted(ctx, [p for p in _working(ctx, ctx.view.participants(), model) if not p.barred_until])


def checking_lots(ctx: Context, model: str) -> WeightedDraw:
    return ctx.view.once(f"checking {model}", lambda: WeightedDraw(checking(ctx, model)))


def checking_lots_on(ctx: Context, model: str, stack: str) -> WeightedDraw:
    """Those of them that have reputation with this model on this stack: they are known to have its kernels, for a name alone says nothing."""
    def known() -> WeightedDraw:
        lots = checking_lots(ctx, model).pairs()
        parts = {node: ctx.view.participant(node) for node, _ in lots}
        return WeightedDraw(
            (node, weight) for node, weight in lots
            if (part := parts[node]) is not None and any((row.model, row.stack) == (model, stack) for row in part.reputations)
        )

    return ctx.view.once(f"checking {model} on {stack}", known)


def _working(ctx: Context, everybody: Iterable[Participant], model: str) -> list[Participant]:
    """They have the model, weight and collateral, are not convicted and not leaving."""
    least = ctx.economy.collateral_min_micro
    return [
        p for p in everybody
        if model in p.models and p.weight > 0 and not p.convicted_until and not p.leaving and p.collateral_micro >= least
    ]
