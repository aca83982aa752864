"""The closed form behind the plots agrees with what the ledger takes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from p2p.base.genesis import EconomyRules
from p2p.lab.economy.theory import cheat_gain, collateral_edge, epoch_gain, lost, slashed
from p2p.lab.economy.world import Setting, World
from p2p.ledger.money import epoch_accounts as earnings
from tests.ledger.lab import PRICE, PROMPT, RULES, Lab
from tests.ledger.money.test_deterrence import checked_with

COST = (PROMPT + 10) * PRICE


@pytest.mark.parametrize("milli", [1000, 505, 208])
def test_a_seen_cheat_loses_a_fee_in_the_mean_however_few_are_checked(milli: int) -> None:
    """The lab's beacons are fixed, so this is one seeded draw of whom is checked; four deviations of the binomial
    are allowed."""
    cheats = 200
    lab = Lab(epoch_blocks=10**6, rules=replace(RULES, min_checks=0, conviction_milli=10**9))
    node = lab.nodes[1]
    for _ in range(cheats):
        checked_with(lab, node, milli)
        inference_id = lab.drawn(executor=node)
        if not lab.inference(inference_id).end_height:
            lab.decide(inference_id, lambda _: {"valid": False})
    record = earnings.earning(lab.view, 0, node)
    assert record is not None
    refused = sum(i.status == "INVALIDATED" for i in map(lab.inference, earnings.ended(lab.view, 0, node, 0, 10_000)))
    taken = (refused * COST + record.fined_micro) / (cheats * COST)
    check = milli / 1000
    assert abs(taken - lost(check, 1.0, fined=True)) <= 4 * ((1 - check) / check / cheats) ** 0.5 + 0.02
    assert abs(refused / cheats - lost(check, 1.0, fined=False)) <= 4 * (check * (1 - check) / cheats) ** 0.5 + 0.02


def test_where_the_edge_is() -> None:
    rules = EconomyRules()
    assert cheat_gain(0.3, 0.1, 1.0, rules, fined=False) > 0 > cheat_gain(0.3, 0.1, 1.0, rules, fined=True)
    assert cheat_gain(0.3, 1.0, 1.0, rules, fined=False) == cheat_gain(0.3, 1.0, 1.0, rules, fined=True)
    assert cheat_gain(0.2, 0.01, 0.006, rules, fined=True) > 0, "what checks do not see pays under any rule"


def test_a_conviction_takes_the_share_of_the_collateral_that_the_form_says() -> None:
    deposit, rules = 1_000_000, EconomyRules()
    world = World(
        Setting({"honest": 4, "smaller model": 1}, 1, clients=50, answers_per_node=10, deposit_micro=deposit), 11
    )
    world.run()
    for operator in world.operators:
        found = world.network.participant(operator.nodes[0].public)
        assert found is not None
        taken = slashed(deposit, rules) if operator.strategy.name == "smaller model" else 0
        assert found.collateral_micro == deposit - taken


def test_collateral_decides_only_where_the_test_convicts_sometimes_and_the_cheat_pays_without() -> None:
    rules = EconomyRules()
    assert collateral_edge(0.2, 0.1, 50, 0.0, rules) == float("inf"), "who is never convicted loses none"
    assert collateral_edge(0.2, 0.1, 50, 0.5, rules) == 0.0, "the fees of the epoch are enough"
    edge = collateral_edge(0.2, 0.1, 50, 0.08, rules)
    assert 0 < edge < 1000
    assert epoch_gain(0.2, 0.1, 50, 0.08, edge * 0.99, rules) > 0 > epoch_gain(0.2, 0.1, 50, 0.08, edge * 1.01, rules)
    assert collateral_edge(0.2, 0.1, 50, 0.08, replace(rules, slash_milli=400)) == pytest.approx(edge / 2)
