"""The rules in force. Law: the genesis file's until a vote has changed them; everybody asks here, nobody the genesis file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from msgspec.structs import asdict, astuple, replace

from p2p.base.codec import convert, encode
from p2p.base.errors import InvalidRequest, RemoteProtocolError
from p2p.base.genesis import CheckRules, EconomyRules, Genesis, ModelSpec
from p2p.ledger.state import keys
from p2p.ledger.state.view import View

Fields = tuple[tuple[str, object], ...]
Rules = TypeVar("Rules", CheckRules, EconomyRules, ModelSpec)


def checks(view: View, genesis: Genesis) -> CheckRules:
    return view.record(CheckRules, keys.CHECK_RULES) or genesis.checks


def economy(view: View, genesis: Genesis) -> EconomyRules:
    return view.record(EconomyRules, keys.ECONOMY_RULES) or genesis.economy


def put_checks(view: View, rules: CheckRules) -> None:
    view.put(keys.CHECK_RULES, encode(rules))


def put_economy(view: View, rules: EconomyRules) -> None:
    view.put(keys.ECONOMY_RULES, encode(rules))


def changed(rules: Rules, fields: Fields) -> Rules:
    """`rules` with the fields named so; a hash as hexadecimal text. Raises InvalidRequest naming the field: unknown,
    named twice, of another type, out of bounds."""
    known, names = asdict(rules), [name for name, _ in fields]
    for name in names:
        if name not in known or names.count(name) > 1:
            raise InvalidRequest(f"named twice, or there is no such field; there are: {', '.join(known)}", field=name)
    for name, value in fields:  # one at a time, so that the error can name it
        try:
            plain = bytes.fromhex(value) if isinstance(known[name], bytes) and isinstance(value, str) else value
            rules = convert(type(rules), list(astuple(replace(rules, **{name: plain}))))
        except (RemoteProtocolError, ValueError) as error:
            raise InvalidRequest(str(error), field=name) from error
    sound(rules)
    return rules


MAX_AMOUNT = 10**12  # micro-credits of one payment, price or bond: a million credits
MAX_WAIT = 10_000_000  # heights; at one a second a third of a year
_BOUNDS: Mapping[str, tuple[int, int]] = MappingProxyType({
    # waits: the sum of a height and all of them stays within a record's 63 bits
    "reveal_window": (1, MAX_WAIT), "plant_window": (1, MAX_WAIT), "appeal_window": (0, MAX_WAIT), "withdraw_wait": (1, MAX_WAIT),
    "output_window": (1, MAX_WAIT), "gov_window": (1, MAX_WAIT), "keep_epochs": (1, 100_000), "exclusion_clean_epochs": (1, 1_000_000),
    # amounts: products with tokens, shares and participants do too
    "saving_micro": (0, MAX_AMOUNT), "reward_micro": (0, MAX_AMOUNT), "slashable_micro": (0, MAX_AMOUNT), "emission_micro": (0, MAX_AMOUNT),
    "collateral_min_micro": (0, MAX_AMOUNT), "accuse_penalty_micro": (0, MAX_AMOUNT), "appeal_bond_micro": (0, MAX_AMOUNT),
    "price_micro": (0, MAX_AMOUNT), "price_floor_micro": (0, MAX_AMOUNT), "price_ceiling_micro": (0, MAX_AMOUNT),
    "tokens_per_weight": (1, 1_000_000), "outlier_duties": (0, 1_000_000), "cost_milli": (1, 10_000_000),
    # statistics: a limit that nothing can reach is no limit, and one that everything reaches convicts everybody
    "conviction_milli": (1000, 1_000_000), "min_checked_tokens": (0, 10**9), "min_checks": (0, 1_000_000),
    "honest_miss_ppm": (1000, 500_000), "context_tokens": (1, 10_000_000),
})


def sound(rules: CheckRules | EconomyRules | ModelSpec) -> None:
    """What must hold of each field, beyond its type, and between the fields of one set of rules. Raises InvalidRequest."""
    for name, value in asdict(rules).items():
        low, high = _BOUNDS.get(name, (None, None))
        if low is not None and high is not None and not low <= value <= high:
            raise InvalidRequest(f"from {low} to {high}, not {value}", field=name)
    if isinstance(rules, ModelSpec) and not (rules.model and rules.model.isprintable()):
        raise InvalidRequest("a name of characters that can be printed", field="model")
    if isinstance(rules, ModelSpec) and rules.profile_hash and not re.fullmatch("[0-9a-f]{64}", rules.profile_hash):
        raise InvalidRequest("64 hexadecimal digits, or none", field="profile_hash")
    if isinstance(rules, CheckRules) and rules.false_alarm_ppm not in (100, 1000, 10_000):
        raise InvalidRequest("calibration profiles have thresholds for 100, 1000 and 10000", field="false_alarm_ppm")
    if isinstance(rules, CheckRules) and rules.appeal_committee < rules.dispute_committee:
        raise InvalidRequest(f"not fewer than dispute_committee, {rules.dispute_committee}", field="appeal_committee")
    if isinstance(rules, EconomyRules):
        if rules.price_low_milli > rules.price_high_milli:
            raise InvalidRequest(f"not above price_high_milli, {rules.price_high_milli}", field="price_low_milli")
        if rules.validator_share_milli + rules.burn_share_milli > 1000:
            raise InvalidRequest("validators' and burnt share are more than the whole", field="burn_share_milli")
    if isinstance(rules, ModelSpec) and rules.price_micro < rules.price_floor_micro:
        raise InvalidRequest(f"below the model's floor, {rules.price_floor_micro}", field="price_micro")
    if isinstance(rules, ModelSpec) and 0 < rules.price_ceiling_micro < rules.price_micro:
        raise InvalidRequest(f"below the model's price, {rules.price_micro}", field="price_ceiling_micro")
