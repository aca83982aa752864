"""The rules in force. Law: the genesis file's until a vote has changed them; everybody asks here, nobody the genesis file."""

from __future__ import annotations

from p2p.codec import encode, load
from p2p.ledger.view import View
from p2p.types import CheckRules, EconomyRules, Genesis


def checks(view: View, genesis: Genesis) -> CheckRules:
    raw = view.get(b"rules/checks")
    return load(CheckRules, raw) if raw else genesis.checks


def economy(view: View, genesis: Genesis) -> EconomyRules:
    raw = view.get(b"rules/economy")
    return load(EconomyRules, raw) if raw else genesis.economy


def put_checks(view: View, rules: CheckRules) -> None:
    view.put(b"rules/checks", encode(rules))


def put_economy(view: View, rules: EconomyRules) -> None:
    view.put(b"rules/economy", encode(rules))
