"""What the chain says about accounts, models and votes, as plain data for people. Law: read only; bytes are hexadecimal."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict

from p2p.base.genesis import Genesis, ModelSpec
from p2p.ledger.governance import proposals
from p2p.ledger.money.accounts import Limits, limits
from p2p.ledger.participants.registry import nodes_of
from p2p.ledger.rules import parameters
from p2p.ledger.rules.models import models
from p2p.ledger.rules.ops import AddModel, Change, ChangeChecks, ChangeEconomy, ChangeModel
from p2p.ledger.state.records import Participant
from p2p.ledger.state.view import View


def account_view(view: View, public: bytes) -> dict[str, Any]:
    """Caps and hot keys, and the account's nodes."""
    found: Limits = limits(view, public)
    return {
        "epoch_cap_micro": found.own.epoch_cap_micro, "request_cap_micro": found.own.request_cap_micro,
        "hot_keys": [
            {
                "key": hot.key.hex(), "expires": hot.expires, "epoch_cap_micro": hot.spending.epoch_cap_micro,
                "request_cap_micro": hot.spending.request_cap_micro, "spent_micro": hot.spending.spent_micro, "epoch": hot.spending.epoch,
            }
            for hot in found.hot
        ],
        "nodes": [_node(participant) for participant in nodes_of(view, public)],
    }


def _node(participant: Participant) -> dict[str, Any]:
    return {
        "node": participant.node.hex(), "weight": participant.weight, "models": list(participant.models), "stacks": list(participant.stacks),
        "price_floor_micro": participant.price_floor_micro, "metadata": participant.metadata,
        "collateral_micro": participant.collateral_micro, "bond_micro": participant.bond_micro, "leaving": participant.leaving,
        "withdrawals": [{"amount_micro": w.amount_micro, "height": w.height} for w in participant.withdrawals],
    }


def _spec(spec: ModelSpec) -> dict[str, Any]:
    return {name: _plain(value) for name, value in asdict(spec).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return list(value) if isinstance(value, tuple) else value


def governance_view(view: View, genesis: Genesis, height: int) -> dict[str, Any]:
    """Proposals, oldest first, and what is in force: rules and models."""
    return {
        "height": height,
        "proposals": [
            {
                "proposal": key.hex(), "account": found.account.hex(), "change": change_view(found.change), "opened": found.opened,
                "closes": found.closes, "state": found.state, "yes_weight": found.yes_weight,
                "no_weight": sum(cast.weight for cast in found.votes if not cast.yes), "total_weight": found.total_weight,
                "reason": found.reason,
            }
            for key, found in proposals(view)
        ],
        "checks": asdict(parameters.checks(view, genesis)), "economy": asdict(parameters.economy(view, genesis)),
        "models": [_spec(spec) for spec in models(view)],
    }


def change_view(change: Change) -> dict[str, Any]:
    if isinstance(change, ChangeChecks | ChangeEconomy):
        return {"rules": "checks" if isinstance(change, ChangeChecks) else "economy", **_fields(change.fields)}
    if isinstance(change, AddModel):
        return {"add_model": _spec(change.spec)}
    if isinstance(change, ChangeModel):
        return {"change_model": change.model, **_fields(change.fields)}
    return {"retire_model": change.model}


def _fields(fields: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    return {"fields": {name: _plain(value) for name, value in fields}}
