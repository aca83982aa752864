"""The rules in force. Law: the genesis file's until a vote has changed them; everybody asks here, nobody the genesis file."""

from __future__ import annotations

from typing import TypeVar

from msgspec.structs import asdict, astuple, replace

from p2p.codec import convert, encode
from p2p.errors import InvalidRequest, RemoteProtocolError
from p2p.genesis import CheckRules, EconomyRules, Genesis, ModelSpec
from p2p.ledger.view import View

Fields = tuple[tuple[str, object], ...]
Rules = TypeVar("Rules", CheckRules, EconomyRules, ModelSpec)


def checks(view: View, genesis: Genesis) -> CheckRules:
    return view.record(CheckRules, b"rules/checks") or genesis.checks


def economy(view: View, genesis: Genesis) -> EconomyRules:
    return view.record(EconomyRules, b"rules/economy") or genesis.economy


def put_checks(view: View, rules: CheckRules) -> None:
    view.put(b"rules/checks", encode(rules))


def put_economy(view: View, rules: EconomyRules) -> None:
    view.put(b"rules/economy", encode(rules))


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


def sound(rules: CheckRules | EconomyRules | ModelSpec) -> None:
    """What must hold between the fields of one set of rules. Raises InvalidRequest."""
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
