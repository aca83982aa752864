"""Rules that make honesty pay best (decision 019): a checked answer that does not stand is fined for those that nobody
checked, the emission is smaller than what paying oneself costs, and only validators that check may serve."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.genesis import EconomyRules, ModelSpec
from p2p.base.types import StackClass
from p2p.chain.views.earnings import Rule, earnings_answer
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.money.epoch_settlement import _split
from p2p.ledger.state.records import Earning, Served
from tests.ledger.lab import PRICE, PROMPT, RULES, STEADY, Lab, reputations
from tests.ledger.money.test_epoch_settlement import booked, money, to_end

COST = (PROMPT + 10) * PRICE


def checked_with(lab: Lab, node: bytes, milli: int) -> None:
    """Give `node` enough checked tokens and the reputation with which its next answer is checked with this
    probability."""
    participant, seen = lab.view.participant(node), lab.view.conduct(node)
    assert participant is not None
    lab.view.put_participant(replace(participant, reputations=reputations((1000 - milli) * 10 // 99)))
    row = Served("toy", StackClass.CPU_BF16.value, booked_before=100_000, checked_tokens=1000)
    lab.view.put_conduct(node, replace(seen, served=(row,)))


def caught(lab: Lab, node: bytes, milli: int) -> None:
    """One answer that was sampled with probability `milli` and did not stand; other false ones may not have been
    sampled."""
    while True:
        checked_with(lab, node, milli)
        inference_id = lab.drawn(executor=node)
        if not lab.inference(inference_id).end_height:
            lab.decide(inference_id, lambda _: {"valid": False})
            return


@pytest.mark.parametrize(("milli", "fees"), [(1000, 0), (505, 0), (109, 8)])
def test_an_answer_that_did_not_stand_is_fined_for_those_that_nobody_checked(milli: int, fees: int) -> None:
    lab = Lab(epoch_blocks=2000)
    node = lab.nodes[1]
    caught(lab, node, milli)
    sampled = next(
        i.sampled_milli
        for i in map(lab.inference, earnings.ended(lab.view, 0, node, 0, 1000))
        if i.status == "INVALIDATED"
    )
    assert abs(sampled - milli) <= 10
    assert booked(lab, node).fined_micro == COST * (1000 - sampled) // sampled >= fees * COST


def test_fines_are_taken_from_the_epochs_fees_as_far_as_they_reach_and_are_burnt() -> None:
    lab = Lab(epoch_blocks=2000, rules=replace(RULES, min_checks=0))
    node = lab.nodes[1]
    for _ in range(4):
        lab.decide(lab.drawn(executor=node), lambda _: {})
    caught(lab, node, 505)
    before = booked(lab, node)
    found = to_end(lab)
    assert not lab.view.participant(node).convicted_until  # type: ignore[union-attr]
    row = booked(lab, node)
    assert 0 < row.forfeited_micro == before.fined_micro < row.fees_micro
    left = row.fees_micro - row.forfeited_micro
    assert row.paid_micro == left - left * 50 // 1000 - left * 100 // 1000
    assert found.forfeited_micro == row.forfeited_micro <= found.burnt_micro
    told = earnings_answer(lab.ctx, 0, node, 0)
    assert {(r.what, r.rule) for r in told.inferences} == {("paid", Rule.PAID), ("refused", Rule.REFUSED)}
    assert told.own.fined_micro == row.fined_micro


@given(st.integers(0, 1 << 60), st.integers(0, 1 << 61), st.integers(0, 1000), st.integers(0, 1000))
def test_a_split_with_any_fine_adds_up(fees: int, fine: int, validators: int, burnt: int) -> None:
    rules = EconomyRules(validator_share_milli=validators, burn_share_milli=burnt)
    record, part = _split(Earning(bytes(32), fees_micro=fees, fined_micro=fine), rules)
    assert record.paid_micro >= 0 <= part
    assert record.paid_micro + part + record.forfeited_micro <= fees
    assert record.forfeited_micro == min(fees, fine)


def test_an_owner_that_pays_itself_from_an_unknown_account_loses() -> None:
    """Here computing is free and the owner has no validators: the emission is still less than what the split of the fee
    takes."""
    lab = Lab(epoch_blocks=60, economy=replace(STEADY, emission_cap_milli=EconomyRules().emission_cap_milli))
    node, before = lab.nodes[1], money(lab, 1)
    lab.decide(lab.drawn(executor=node, tokens=50), lambda _: {})
    to_end(lab)
    fee = (PROMPT + 50) * PRICE
    assert booked(lab, node).reward_micro == fee * 120 // 1000
    assert money(lab, 1) - before - fee < 0


def test_the_default_cap_is_at_most_what_the_largest_owner_loses_by_the_split() -> None:
    rules = EconomyRules()
    lost = rules.burn_share_milli + rules.validator_share_milli * (1000 - rules.owner_cap_milli) // 1000
    assert rules.emission_cap_milli <= lost


def test_emission_above_the_cap_is_not_minted() -> None:
    lab = Lab(epoch_blocks=60, economy=replace(STEADY, emission_cap_milli=120))
    for number in (1, 2):
        lab.decide(lab.drawn(executor=lab.nodes[number]), lambda _: {})
    assert to_end(lab).minted_micro == 2 * (COST * 120 // 1000)


@pytest.mark.parametrize("cost", [1, 1000, 10_000_000])
def test_work_stays_within_its_bound_whatever_a_token_costs(cost: int) -> None:
    """Each node has almost the largest sum already. It stays within its bound when more is booked, and so does the sum
    over all nodes at the epoch's end."""
    lab = Lab(
        epoch_blocks=100, models=(ModelSpec("toy", bytes(32), bytes(32), "bfloat16", PRICE, 1, 2048, cost_milli=cost),)
    )
    for node in lab.nodes:
        earnings.put_earning(lab.view, 0, node, Earning(lab.view.owner_of(node), work=earnings.MAX_SUM - 1))
    found = lab.decide(lab.drawn(), lambda _: {})
    assert found.finish is not None
    assert booked(lab, found.finish.record.executor).work == earnings.MAX_SUM
    to_end(lab)
    assert earnings.sums(lab.view, 0).work == earnings.MAX_SUM
