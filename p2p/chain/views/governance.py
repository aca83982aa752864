"""What the chain says about rules, models, prices and votes. Law: read only; bytes are hexadecimal."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict

from p2p.base.genesis import ModelSpec
from p2p.ledger.governance import proposals
from p2p.ledger.money.price import price_of, utilisation_milli
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.models import models
from p2p.ledger.rules.ops import AddModel, Change, ChangeChecks, ChangeEconomy, ChangeModel
from p2p.wire.answers.network import ChangeRow, GovernanceAnswer, PriceRow, ProposalRow, Rules


def governance_answer(ctx: Context) -> GovernanceAnswer:
    """Proposals, oldest first, and what is in force: rules and models."""
    return GovernanceAnswer(
        height=ctx.height - 1,
        proposals=tuple(
            ProposalRow(
                proposal=key.hex(), account=found.account.hex(), change=change_row(found.change), opened=found.opened,
                closes=found.closes, state=found.state, yes_weight=found.yes_weight,
                no_weight=sum(cast.weight for cast in found.votes if not cast.yes), total_weight=found.total_weight,
                reason=found.reason,
            )
            for key, found in proposals(ctx.view)
        ),
        checks=asdict(ctx.checks), economy=asdict(ctx.economy), models=tuple(_spec(spec) for spec in models(ctx.view)),
    )


def change_row(change: Change) -> ChangeRow:
    """What a proposal would change."""
    if isinstance(change, ChangeChecks | ChangeEconomy):
        rules = "checks" if isinstance(change, ChangeChecks) else "economy"
        return ChangeRow(rules=rules, fields=_fields(change.fields))
    if isinstance(change, AddModel):
        return ChangeRow(add_model=_spec(change.spec))
    if isinstance(change, ChangeModel):
        return ChangeRow(change_model=change.model, fields=_fields(change.fields))
    return ChangeRow(retire_model=change.model)


def price_rows(ctx: Context) -> tuple[PriceRow, ...]:
    """What a token of each model in use costs in the next block, and how much of the capacity the last window used."""
    found = []
    for spec in models(ctx.view):
        if not spec.retired:
            used = utilisation_milli(ctx, spec)
            found.append(PriceRow(spec.model, price_of(ctx.view, spec), -1 if used is None else used))
    return tuple(found)


def _spec(spec: ModelSpec) -> Rules:
    return {name: _plain(value) for name, value in asdict(spec).items()}


def _fields(fields: tuple[tuple[str, Any], ...]) -> Rules:
    return {name: _plain(value) for name, value in fields}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return list(value) if isinstance(value, tuple) else value
