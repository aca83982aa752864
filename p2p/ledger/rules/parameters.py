"""The rules in force, and what every set of rules must satisfy. Law: the genesis file's rules hold until a vote changes
them; every other module asks here, not in the genesis file.
"""

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

Fields = tuple[tuple[str, object], ...]  # (name, new value); a hash as hexadecimal text
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
    """`rules` with other values for some fields. Raises InvalidRequest naming a field that is unknown, named twice,
    of another type or out of bounds."""
    known, names = asdict(rules), [name for name, _ in fields]
    for name in names:
        if name not in known or names.count(name) > 1:
            raise InvalidRequest(f"unknown, or named twice; name each at most once of: {', '.join(known)}", field=name)
    for name, value in fields:  # one at a time, so that the error can name it
        try:
            plain = bytes.fromhex(value) if isinstance(known[name], bytes) and isinstance(value, str) else value
            rules = convert(type(rules), list(astuple(replace(rules, **{name: plain}))))
        except (RemoteProtocolError, ValueError) as error:
            raise InvalidRequest(str(error), field=name) from error
    sound(rules)
    return rules


MILLI = 1000
MAX_AMOUNT = 10**12  # micro-credits of one payment, price or bond: a million credits
MAX_WAIT = 10_000_000  # heights; a third of a year at one a second
MAX_KEPT = 100_000  # epochs
MAX_COUNT = 1_000_000
MAX_COST_MILLI = 10_000_000  # a token of work counts for at most ten thousand
MAX_CONTEXT = 10_000_000  # tokens
FALSE_ALARM_PPM = (100, 1000, 10_000)  # for which calibration profiles have thresholds
_BOUNDS: Mapping[str, tuple[int, int]] = MappingProxyType({  # name of a field -> (least, most)
    # Waits: a height plus all of them must fit into the 63 bits of a record's field.
    "reveal_window": (1, MAX_WAIT), "plant_window": (1, MAX_WAIT), "appeal_window": (0, MAX_WAIT),
    "withdraw_wait": (1, MAX_WAIT), "output_window": (1, MAX_WAIT), "gov_window": (1, MAX_WAIT),
    "keep_epochs": (1, MAX_KEPT), "exclusion_clean_epochs": (1, MAX_COUNT),
    # Amounts: so must their products with tokens, shares and participants.
    "saving_micro": (0, MAX_AMOUNT), "reward_micro": (0, MAX_AMOUNT), "slashable_micro": (0, MAX_AMOUNT),
    "emission_micro": (0, MAX_AMOUNT), "collateral_min_micro": (0, MAX_AMOUNT), "accuse_penalty_micro": (0, MAX_AMOUNT),
    "appeal_bond_micro": (0, MAX_AMOUNT), "price_micro": (0, MAX_AMOUNT), "price_floor_micro": (0, MAX_AMOUNT),
    "price_ceiling_micro": (0, MAX_AMOUNT),
    "tokens_per_weight": (1, MAX_COUNT), "outlier_duties": (0, MAX_COUNT), "cost_milli": (1, MAX_COST_MILLI),
    # Statistics: a limit that nothing reaches never convicts, one that everything reaches convicts everybody.
    "conviction_milli": (1000, 1_000_000),  # thousandths of a nat
    "min_checked_tokens": (0, 10**9), "min_checks": (0, MAX_COUNT),
    "honest_miss_ppm": (1000, 500_000), "context_tokens": (1, MAX_CONTEXT),
})


def sound(rules: CheckRules | EconomyRules | ModelSpec) -> None:
    """Raises InvalidRequest, naming the field, where a value is out of bounds or contradicts another one of the same
    rules."""
    for name, value in asdict(rules).items():
        low, high = _BOUNDS.get(name, (None, None))
        if low is not None and high is not None and not low <= value <= high:
            raise InvalidRequest(f"{value} is out of bounds; use {low} to {high}", field=name)
    if isinstance(rules, ModelSpec) and not (rules.model and rules.model.isprintable()):
        raise InvalidRequest("the name is empty or cannot be printed; use printable characters", field="model")
    if isinstance(rules, ModelSpec) and rules.profile_hash and not re.fullmatch("[0-9a-f]{64}", rules.profile_hash):
        raise InvalidRequest("use 64 hexadecimal digits in lower case, or leave it empty", field="profile_hash")
    if isinstance(rules, CheckRules) and rules.false_alarm_ppm not in FALSE_ALARM_PPM:
        raise InvalidRequest(
            f"calibration profiles have no thresholds for it; use one of {FALSE_ALARM_PPM}", field="false_alarm_ppm"
        )
    if isinstance(rules, CheckRules) and rules.appeal_committee < rules.dispute_committee:
        raise InvalidRequest(f"must be at least dispute_committee, {rules.dispute_committee}", field="appeal_committee")
    if isinstance(rules, EconomyRules):
        if rules.price_low_milli > rules.price_high_milli:
            raise InvalidRequest(f"must be at most price_high_milli, {rules.price_high_milli}", field="price_low_milli")
        if rules.validator_share_milli + rules.burn_share_milli > MILLI:
            raise InvalidRequest(f"with validator_share_milli it must be at most {MILLI}", field="burn_share_milli")
    if isinstance(rules, ModelSpec) and rules.price_micro < rules.price_floor_micro:
        raise InvalidRequest(f"must be at least the model's floor, {rules.price_floor_micro}", field="price_micro")
    if isinstance(rules, ModelSpec) and 0 < rules.price_ceiling_micro < rules.price_micro:
        raise InvalidRequest(f"must be 0, or at least the price, {rules.price_micro}", field="price_ceiling_micro")
