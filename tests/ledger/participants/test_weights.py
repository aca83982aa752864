"""Weights are earned: only nodes whose answers are found true have weight. Padding loses, absence halves, newcomers
enter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import ConfigError, FolkmootError
from p2p.base.genesis import Genesis, GenesisChange, SprintRules
from p2p.base.keys import Key, digest
from p2p.base.types import RecordKind
from p2p.ledger.genesis import check_conservation
from p2p.ledger.participants.eligibility import serving
from p2p.ledger.participants.sprint import Run, Sprint, check_sprint, drawn
from p2p.ledger.rules.ops import Unregister
from tests.ledger.account_transactions import part, rotation, submit
from tests.ledger.lab import STEADY, WINDOW
from tests.ledger.sprint_lab import EPOCH, RULES, UNCAPPED, SprintLab, commitment, join, opened, refused

NEW = Key(b"\x7b" * 32)


# -- padding and cheating -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampled", [2, 3])
@pytest.mark.parametrize("true", [0, 1, 10, 19])
def test_padding_loses_in_expectation(sampled: int, true: int) -> None:
    """20 answers of which the first `true` are real, over 2000 draws by fixed beacons, are worth less than an honest
    commitment to the real ones. With one sample they would be worth the same."""
    genesis = replace(SprintLab().genesis, sprint=replace(RULES, samples=sampled))
    run, worth = Run(b"\x01" * 32, "toy", bytes(32), 20, 2), 0
    for number in range(2000):
        found = drawn(genesis, Sprint(0, bytes(32), digest(b"draw", number.to_bytes(4, "big"))), run)
        assert len(set(found)) == sampled
        worth += run.count * (max(found) < true)
    assert worth < 2000 * true * 0.97 or worth == true == 0


@pytest.mark.parametrize("how", ["withheld", "refused"])
def test_one_answer_withheld_or_refused_makes_the_commitment_worthless(how: str) -> None:
    lab = SprintLab()
    padder, honest = lab.nodes[:2]
    lab.to_commit()
    lab.answer_and_commit(padder, 100)
    lab.answer_and_commit(honest, 10)
    lab.to_open()
    ids = lab.open(padder, lab.drawn_of(padder)[: 2 if how == "withheld" else 3])
    bad = ids[-1] if how == "refused" else None
    lab.judge([*ids, *lab.open(honest)], lambda one: one != bad)
    assert part(lab, padder).strikes == (how == "refused")
    lab.to_next_epoch()
    assert (lab.weight(padder), lab.weight(honest)) == (0, 10)
    assert padder not in dict(lab.set())


def test_a_node_convicted_in_the_epoch_has_no_weight() -> None:
    """Three refused answers pass the limit of the sequential test. A conviction for other answers in the epoch costs
    the weight as well."""
    lab = SprintLab()
    cheat, other = lab.nodes[:2]
    ids = opened(lab, {cheat: 50, other: 50})
    lab.judge([one for some in ids.values() for one in some], lambda one: one not in ids[cheat])
    assert part(lab, cheat).convicted_until == 2 * EPOCH
    assert lab.view.conduct(cheat).finders, "the accusers share the bounty"
    lab.view.put_participant(replace(part(lab, other), convicted_until=2 * EPOCH))
    lab.to_next_epoch()
    assert (lab.weight(cheat), lab.weight(other)) == (0, 0)
    lab.to_commit()
    refused(lab, cheat, RecordKind.SPRINT_COMMIT, commitment(lab, cheat), "node")


def test_a_dispute_that_is_won_keeps_the_weight() -> None:
    lab = SprintLab()
    node = lab.nodes[0]
    ids = opened(lab, {node: 30})[node]
    lab.block(2)
    liar = lab.members(ids[0])[0]
    while not lab.inference(ids[0]).end_height:
        lab.say([lab.verdict(ids[0], one, valid=one != liar) for one in lab.members(ids[0])])
    lab.judge(ids)
    assert lab.status(ids[0]) == "UPHELD"
    lab.to_next_epoch()
    assert lab.weight(node) == 30


# -- what is not decided ------------------------------------------------------------------------------------------


def test_answers_that_nobody_checked_neither_count_nor_harm() -> None:
    lab = SprintLab()
    some, none = lab.nodes[:2]
    ids = opened(lab, {some: 30, none: 30})
    lab.judge(ids[some][:1])
    lab.to_next_epoch()
    assert lab.weight(some) == 30, "by the one that was checked"
    assert lab.weight(none) == 10, "as before"


def test_where_nobody_else_has_the_model_weights_stay() -> None:
    lab = SprintLab(2, owners={1: 0})
    ids = opened(lab, {lab.nodes[0]: 9})[lab.nodes[0]]
    lab.block(2)
    assert {lab.status(one) for one in ids} == {"SETTLED"}
    lab.to_next_epoch()
    assert (lab.weight(lab.nodes[0]), lab.weight(lab.nodes[1])) == (10, 5)


# -- absence, return, newcomers -----------------------------------------------------------------------------------


def test_a_node_without_a_commitment_loses_half_each_time_and_can_come_back() -> None:
    lab = SprintLab()
    away, rest = lab.nodes[0], dict.fromkeys(lab.nodes[1:], 10)
    seen = []
    for _ in range(5):
        lab.whole_sprint(rest)
        seen.append(lab.weight(away))
        assert (away in dict(lab.set())) is (lab.weight(away) > 0)
    assert seen == [5, 2, 1, 0, 0]
    assert away not in dict(serving(lab.ctx, "toy"))
    lab.whole_sprint({**rest, away: 20})
    assert lab.weight(away) == dict(lab.set())[away] == 20
    assert away in dict(serving(lab.ctx, "toy"))


def test_a_newcomer_enters_by_a_sprint() -> None:
    lab = SprintLab()
    lab.to_commit()
    new = join(lab, 1, lab.owners[0])
    assert lab.weight(new) == 0
    assert new not in dict(serving(lab.ctx, "toy"))
    lab.whole_sprint({**dict.fromkeys(lab.nodes[:8], 10), new: 40})
    assert lab.weight(new) == 40
    assert new in dict(lab.set())
    signed = [lab.start() for _ in range(30)]
    assert any(new in lab.inference(one.inference_id).candidates for one in signed), "it is drawn to serve"
    drawn = {node for _ in range(12) for node in lab.members(lab.drawn(executor=lab.nodes[3]))}
    assert new in drawn, "and to check"


def test_the_set_is_capped_by_owner() -> None:
    lab = SprintLab(owners={1: 0}, economy=STEADY)
    lab.whole_sprint({node: 100 if at < 2 else 10 for at, node in enumerate(lab.nodes)})
    total = 2 * 100 + 6 * 10
    counted = 100 * (total * 300 // 1000) // 200
    assert dict(lab.set()) == {node: counted if at < 2 else 10 for at, node in enumerate(lab.nodes)}
    assert dict(lab.set()) == dict(serving(lab.ctx, "toy")), "validators and draws have the same weights"
    assert lab.weight(lab.nodes[0]) == 100


def test_where_nobody_would_have_weight_the_old_ones_stay() -> None:
    lab = SprintLab()
    before = lab.set()
    for node in lab.nodes:
        lab.view.put_participant(replace(part(lab, node), weight=1))
    lab.to_next_epoch()
    assert lab.set() == before
    assert {lab.weight(node) for node in lab.nodes} == {1}


def test_offenders_and_leaving_nodes_are_out_and_a_new_key_takes_its_place() -> None:
    lab = SprintLab(economy=replace(UNCAPPED, withdraw_wait=100))
    offender, leaver = lab.nodes[:2]
    ids = opened(lab, dict.fromkeys(lab.nodes, 10))
    lab.view.add_id(b"faults", offender)
    submit(lab, lab.owners[1], Unregister(leaver))
    submit(lab, lab.owners[2], rotation(lab, lab.owners[2], lab.keys[2], NEW))
    lab.judge([one for some in ids.values() for one in some])
    lab.to_next_epoch()
    assert set(dict(lab.set())) == {*lab.nodes[3:], NEW.public}
    assert lab.weight(NEW.public) == 10


def test_a_costly_model_gives_more_weight() -> None:
    lab = SprintLab()
    lab.genesis = replace(lab.genesis, models=(replace(lab.genesis.models[0], cost_milli=2500),))
    lab.view.put(b"model/toy", encode(lab.genesis.models[0]))
    lab.whole_sprint({lab.nodes[0]: 30})
    assert lab.weight(lab.nodes[0]) == 75


# -- the rules themselves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "field"), [
    ({"changes": (GenesisChange(1, b"\x01" * 32, 5),)}, "changes"),
    ({"sprint": replace(RULES, blocks=3)}, "sprint.blocks"),
    ({"epoch_blocks": 41}, "epoch_blocks"), ({"validation_window": 60}, "epoch_blocks"),
    ({"sprint": replace(RULES, blocks=30)}, "epoch_blocks"),
])
def test_a_genesis_that_does_not_fit_is_refused(change: dict[str, Any], field: str) -> None:
    good: Genesis = SprintLab().genesis
    check_sprint(good)
    check_sprint(replace(good, epoch_blocks=42))
    with pytest.raises(ConfigError) as caught:
        check_sprint(replace(good, **change))
    assert caught.value.field == field
    check_sprint(replace(good, **{**change, "sprint": SprintRules()}))
    with pytest.raises(ConfigError):
        SprintLab(**{"sprint": RULES, **change})


WAYS = ["answer", "open", "half", "judge", "lie", "block", "late"]
MOVES = st.lists(st.tuples(st.sampled_from(WAYS), st.integers(0, 5), st.integers(1, 9)), max_size=50)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(MOVES)
def test_after_any_sequence_money_is_conserved_weights_are_bounded_and_there_are_validators(
    moves: list[tuple[str, int, int]]
) -> None:
    lab = SprintLab(6, validation_window=WINDOW)
    lab.to_commit()
    made: dict[bytes, int] = {}
    for move, who, how in moves:
        node, before, ids = lab.nodes[who], dict(lab.view.changes), list[bytes]()
        try:
            match move:
                case "answer":
                    lab.answer_and_commit(node, how * 10)
                    made[node] = how * 10
                case "open":
                    ids = lab.open(node)
                case "half":
                    ids = lab.open(node, lab.drawn_of(node)[:1])
                case "judge" | "lie":
                    ids = [one.inference_id for one in lab.run(node).opened]
                    lab.judge(ids, lambda one: move == "judge")  # noqa: B023
                case "block":
                    lab.block(how)
                case "late":
                    lab.to_open()
        except (FolkmootError, AssertionError, KeyError):
            if move == "answer":
                assert lab.view.changes == before, "a refused record changes nothing"
        assert check_conservation(lab.view, lab.accounts)
        assert lab.set()
        assert lab.set(b"next")
        worth = max(made.values(), default=0) * 20 // RULES.unit_tokens
        assert all(lab.weight(one) <= max(10, worth) for one in lab.nodes)
    lab.block(EPOCH)
    assert sum(weight for _, weight in lab.set()) > 0
    assert lab.view.totals().due_micro == lab.view.totals().escrow_micro == 0
