"""Validator sets: thresholds, certificates, proposer sequences, the light client's single steps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from p2p.consensus import validators as v
from p2p.consensus.light import Facts, judge
from p2p.consensus.messages import VoteType
from p2p.consensus.validators import ValidatorSet
from p2p.consensus.votes import VoteKeeper
from tests.conformance.case import Case, read
from tests.conformance.tendermint import FAR, Values, key, vote_of

# -- thresholds and certificates ----------------------------------------------------------------------------------


def thresholds(folder: Path) -> Iterator[Case]:
    plain = read(folder / "tendermint-itf" / "thresholds.json")
    for name in ("published", "small", "big"):
        for number, row in enumerate(plain.get(name, [])):
            yield Case(f"{name} {number}", partial(_check_weight, row))
    for number, row in enumerate(plain.get("thresholds", {}).get("cases", [])):
        yield Case(f"threshold {number}", partial(_check_threshold, row))
    certificates = plain.get("certificates", {})
    for number, row in enumerate(certificates.get("cases", [])):
        yield Case(f"certificate {number}", partial(_check_certificate, row, certificates["weights"]))


def _check_weight(row: dict[str, Any]) -> None:
    members = ValidatorSet(((b"all", row["total"]),) if row["total"] else ())
    assert (members.is_quorum(row["weight"]), members.has_honest(row["weight"])) == (row["quorum"], row["skip"]), row


def _check_threshold(row: dict[str, Any]) -> None:
    """Weights of 100 in all: what the value just counted has reached."""
    weights = dict(row["weights"])
    members = ValidatorSet(((b"all", 100),))
    value = row["value"]
    if members.is_quorum(weights.get(value, 0)):
        found = "nil" if value is None else f"value {value}"
    else:
        found = "any" if members.is_quorum(sum(weights.values())) else "none"
    assert found == row["threshold"], row


def _check_certificate(row: dict[str, Any], weights: dict[str, int]) -> None:
    values, members = Values(), ValidatorSet.of([(key(name), weight) for name, weight in weights.items()])
    votes = [vote_of(values, plain).vote for plain in row["votes"]]
    same = len({(x.type, x.height, x.round, x.block_id) for x in votes}) == 1 and votes[0].block_id is not None
    weight = sum(members.weight(who) for who in {x.validator for x in votes})
    assert (same and members.is_quorum(weight)) == row["valid"], row["why"]


def applied_certificate(folder: Path) -> Iterator[Case]:
    """An equivocator's other vote counts when a whole certificate brings it."""
    plain = read(folder / "tendermint-itf" / "thresholds.json").get("certificates", {})
    if "applied" in plain:
        yield Case("certificate replaces the count", partial(_check_applied, plain))


def _check_applied(plain: dict[str, Any]) -> None:
    values, applied = Values(), plain["applied"]
    members = ValidatorSet.of([(key(name), weight) for name, weight in plain["weights"].items()])
    keeper = VoteKeeper(members, FAR)
    for row in applied["before"]["counted"]:
        keeper.add(vote_of(values, row), 0)
    block_id = values.id(applied["certificate"][0]["value"])
    kind = VoteType.PREVOTE if applied["certificate"][0]["kind"] == "prevote" else VoteType.PRECOMMIT
    assert not members.is_quorum(keeper.weight_for(applied["certificate"][0]["r"], kind, block_id))
    for row in applied["certificate"]:
        keeper.add_of_quorum(vote_of(values, row))
    assert members.is_quorum(keeper.weight_for(applied["certificate"][0]["r"], kind, block_id))


# -- proposers ----------------------------------------------------------------------------------------------------


def proposers(folder: Path) -> Iterator[Case]:
    for case in read(folder / "proposer-selection.json")["cases"]:
        yield Case(case["name"], partial(PROPOSER_CHECKS[case["type"]], case))


def _set(weights: dict[str, int]) -> ValidatorSet:
    return ValidatorSet.of([(name.encode(), weight) for name, weight in weights.items()])


def _named(priorities: dict[bytes, int]) -> dict[str, int]:
    return {name.decode(): value for name, value in priorities.items()}


def _elections(weights: dict[str, int], count: int) -> list[str]:
    members = _set(weights)
    priorities, found = v.first_priorities(members), []
    for _ in range(count):
        elected, priorities = v.increment(members, priorities, 1)
        found.append(elected.decode())
    return found


def _check_sequence(case: dict[str, Any]) -> None:
    assert _elections(case["weights"], len(case["expected"])) == case["expected"]


def _check_counts(case: dict[str, Any]) -> None:
    found = _elections(case["weights"], case["elections"])
    assert {name: found.count(name) for name in case["expected"]} == case["expected"]


def _check_priorities(case: dict[str, Any]) -> None:
    start = {name.encode(): value for name, value in case["start_priorities"].items()}
    for row in case["expected"]:
        elected, after = v.increment(_set(case["weights"]), start, row["times"])
        assert (elected.decode(), _named(after)) == (row["proposer"], row["priorities_after"])


def _check_shift(case: dict[str, Any]) -> None:
    for row in case["cases"]:
        start = {bytes([i]): value for i, value in enumerate(row["start"])}
        assert list(v.centre(start, 0).values()) == row["after"]


def _check_operations(case: dict[str, Any]) -> None:
    members = _set(case["weights"])
    elected, priorities = v.increment(members, v.first_priorities(members), 1)
    for step in case["steps"]:
        if step["op"] == "elect":
            found = []
            for _ in range(step["times"]):
                found.append(elected.decode())
                elected, priorities = v.increment(members, priorities, 1)
            assert found == step["expected"]
        elif step["op"] == "increment":
            elected, priorities = v.increment(members, priorities, step["times"])
            assert elected.decode() == step.get("proposer", elected.decode())
        else:
            changed = {**dict(members.members), **{name.encode(): power for name, power in step["changes"]}}
            new = ValidatorSet.of(list(changed.items()))
            priorities, members = v.update(members, new, priorities), new
        assert _named(priorities) == step.get("priorities_after", _named(priorities))


PROPOSER_CHECKS = {
    "sequence": _check_sequence, "counts": _check_counts, "priorities": _check_priorities,
    "priorities_shift": _check_shift,
    "operations": _check_operations,
}

# -- the light client ---------------------------------------------------------------------------------------------


def light_client(folder: Path) -> Iterator[Case]:
    for case in read(folder / "light-client" / "single-step.json")["cases"]:
        yield Case(case["name"], partial(_check_steps, case))


def _facts(row: dict[str, Any]) -> Facts:
    match = row.get("validators_hash_matches", True) and row.get("next_validators_hash_matches", True)
    following = _set(row.get("next_validators") or {})
    signers = frozenset(name.encode() for name in row["signed_by"])
    return Facts(row["height"], row["time"] * 1000, _set(row.get("validators") or {}), following, signers, match)


def _check_steps(case: dict[str, Any]) -> None:
    trusted = _facts(case["trusted"])
    for step in case["steps"]:
        new = _facts(step["header"])
        verdict, why = judge(trusted, new, step["now"] * 1000, case["trusting_period_s"] * 1000)
        assert verdict == step["verdict"], f"{verdict} ({why}) instead of {step['verdict']} ({step.get('reason')})"
        if verdict == "SUCCESS":
            trusted = new
