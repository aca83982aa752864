"""An epoch's end: who is paid what, exact to the last micro-credit, whatever happened in the epoch."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError
from p2p.base.genesis import CheckRules
from p2p.chain.views.earnings import PAGE, Rule, earnings_answer
from p2p.chain.views.inferences import inference_answer
from p2p.ledger.genesis import check_conservation
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.money.epoch_settlement import MAX_SUPPLY, settle, shares
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import capped
from p2p.ledger.state.records import Earning, EpochSums, Participant
from tests.ledger.lab import CLIENT, PRICE, PROMPT, RULES, STEADY, Lab, false_row
from tests.ledger.money.test_money import OTHER, put_collateral

FULL, COST, EMISSION = 10**9, (PROMPT + 10) * PRICE, STEADY.emission_micro


def money(lab: Lab, number: int) -> int:
    return lab.view.account(lab.owners[number].public).balance_micro - FULL


def booked(lab: Lab, node: bytes, epoch: int = 0) -> Earning:
    found = earnings.earning(lab.view, epoch, node)
    assert found is not None
    return found


def to_end(lab: Lab) -> EpochSums:
    """Carry out the epoch's last block. Returns its sums, which must agree with the totals."""
    lab.block((-lab.height) % lab.genesis.epoch_blocks + 1)
    epoch = (lab.height - 2) // lab.genesis.epoch_blocks
    found = earnings.sums(lab.view, epoch)
    assert found.height == lab.height - 1
    assert found.balanced
    return found


def test_fees_wait_for_the_epochs_end_and_are_split() -> None:
    lab = Lab(epoch_blocks=40)
    number = 1
    lab.decide(lab.drawn(executor=lab.nodes[number]), lambda node: {})
    assert lab.view.totals().due_micro == COST
    assert money(lab, number) == 0
    found = to_end(lab)
    assert lab.view.totals().due_micro == 0
    assert (found.fees_micro, found.burnt_micro, found.duties_micro, found.paid_micro) == (300, 15, 30, 255)
    assert (found.minted_micro, booked(lab, lab.nodes[number]).reward_micro) == (EMISSION, EMISSION)
    assert money(lab, number) == 255 + EMISSION
    assert sorted(money(lab, n) for n in range(8))[:-1] == [0, 0, 0, 0, 10, 10, 10], (
        "the committee shares the validators' part"
    )


@pytest.mark.parametrize(("outlier_duties", "paid"), [(0, True), (1, True), (10, False)])
def test_an_outlier_is_not_paid_for_further_duties_either(outlier_duties: int, paid: bool) -> None:
    """M17: else guessing one duty in fifty would pay a little."""
    lab = Lab(epoch_blocks=600, economy=replace(STEADY, outlier_duties=outlier_duties))
    lazy = lab.nodes[7]
    guessed = 0
    while lab.view.conduct(lazy).duties < 3:
        inference_id = lab.drawn(executor=lab.nodes[1])
        guess = not guessed and lazy in lab.members(inference_id)
        guessed += guess
        lab.decide(
            inference_id, lambda node, guess=guess: {"row": false_row} if guess and node == lazy else {}
        )  # type: ignore[misc]
    conduct = lab.view.conduct(lazy)
    assert (conduct.outliers, conduct.missed) == (1, 0)
    assert 2 <= conduct.duties < 10
    done = {node: lab.view.conduct(node).duties for node in lab.nodes}
    points = {**done, lazy: max(0, conduct.duties - outlier_duties)}
    pool = to_end(lab).fees_micro // 10
    assert [money(lab, n) for n in (7, 6)] == [pool * points[lab.nodes[n]] // sum(points.values()) for n in (7, 6)]
    assert (money(lab, 7) > 0) is paid
    assert booked(lab, lazy).withheld_micro == pool * done[lazy] // sum(done.values()) - money(lab, 7)


def test_nothing_is_minted_when_nobody_worked() -> None:
    lab = Lab(epoch_blocks=10)
    assert to_end(lab) == EpochSums(10)
    assert lab.view.totals().minted_micro == FULL * 9


def test_the_emission_goes_by_weight_and_work() -> None:
    lab = Lab(epoch_blocks=60)
    heavy, light = lab.nodes[1], lab.nodes[2]
    found = lab.view.participant(heavy)
    assert found is not None
    lab.view.put_participant(replace(found, weight=20))
    lab.decide(lab.drawn(executor=heavy, tokens=10), lambda node: {})
    lab.decide(lab.drawn(executor=light, tokens=40), lambda node: {})
    to_end(lab)
    one, two = booked(lab, heavy).reward_micro, booked(lab, light).reward_micro
    assert (one, two) == (EMISSION * 20 * 30 // (20 * 30 + 10 * 60), EMISSION * 10 * 60 // (20 * 30 + 10 * 60))


def test_an_owner_that_asks_its_own_node_loses() -> None:
    """It counts as no work, so there is no emission, and of its own fee the burnt part and the validators' part are
    lost."""
    lab = Lab(epoch_blocks=60)
    lab.decide(lab.drawn(executor=lab.nodes[1], account=lab.owners[1]), lambda node: {})
    found = to_end(lab)
    assert found.minted_micro == 0
    assert money(lab, 1) == -45
    (row,) = earnings_answer(lab.ctx, 0, lab.nodes[1], 0).inferences
    assert (row.what, row.rule) == ("paid", Rule.OWN)


def convict(lab: Lab, node: bytes) -> None:
    while not lab.view.participant(node).convicted_until:  # type: ignore[union-attr]
        lab.decide(lab.drawn(executor=node), lambda _: {"valid": False})


def test_a_convicted_node_forfeits_fees_emission_and_collateral_and_its_finders_share_a_bounty() -> None:
    lab = Lab(epoch_blocks=100)
    cheat = lab.nodes[1]
    put_collateral(lab, cheat, 10_001)
    for _ in range(2):
        lab.decide(lab.drawn(executor=cheat), lambda node: {})
    lab.decide(lab.drawn(executor=lab.nodes[2]), lambda node: {})
    convict(lab, cheat)
    finders = {f.validator: f.found for f in lab.view.conduct(cheat).finders}
    found = to_end(lab)
    row = booked(lab, cheat)
    assert (row.forfeited_micro, row.slashed_micro, row.paid_micro, row.reward_micro) == (600, 2000, 0, 0)
    assert lab.view.totals().collateral_micro == 8001
    expected = shares(1300, finders)
    assert {node: booked(lab, node).bounty_micro for node in finders} == expected
    assert found.bounty_micro == sum(expected.values()) > 1290
    assert (found.forfeited_micro, found.slashed_micro, found.paid_micro) == (600, 2000, 255)
    assert money(lab, 1) == row.duties_micro == 0
    assert booked(lab, lab.nodes[2]).reward_micro == EMISSION
    told = earnings_answer(lab.ctx, 0, cheat, 0)
    assert {(r.what, r.rule) for r in told.inferences} == {("forfeited", "M7"), ("refused", "M3")}


def test_a_convicted_node_without_earnings_is_slashed_too_and_only_once() -> None:
    lab = Lab(epoch_blocks=100)
    put_collateral(lab, lab.nodes[1], 1000)
    convict(lab, lab.nodes[1])
    assert to_end(lab).slashed_micro == 200
    assert to_end(lab).slashed_micro == 0, "its conviction is of the epoch before"


def test_a_node_disabled_in_mid_epoch_has_its_fees_and_no_emission() -> None:
    lab = Lab(epoch_blocks=60)
    node = lab.nodes[1]
    lab.decide(lab.drawn(executor=node), lambda _: {})
    found = lab.view.participant(node)
    assert found is not None
    lab.view.put_participant(replace(found, weight=0))
    assert to_end(lab).minted_micro == 0
    assert booked(lab, node).paid_micro == 255


def test_fees_of_a_node_without_an_owner_cost_nobody_else() -> None:
    lab = Lab(epoch_blocks=60)
    node = lab.nodes[1]
    inference_id = lab.drawn(executor=node)
    lab.view.put(b"part/" + node, None)
    lab.decide(inference_id, lambda _: {})
    assert to_end(lab).paid_micro == 0


def test_amounts_of_any_size_and_a_supply_that_is_full() -> None:
    huge = replace(STEADY, emission_micro=1 << 60)
    lab = Lab(epoch_blocks=30, economy=huge)
    for epoch in range(6):
        lab.decide(lab.drawn(executor=lab.nodes[1 + epoch % 2]), lambda _: {})
        lab.block((-lab.height) % 30 + 1)
    assert MAX_SUPPLY - 6 < lab.view.totals().minted_micro <= MAX_SUPPLY
    assert encode(lab.view.totals())


@given(
    st.lists(st.tuples(st.integers(0, 4), st.one_of(st.integers(0, 3), st.integers(0, 1 << 60))), max_size=12),
    st.integers(1, 1000),
)
def test_no_owner_counts_for_more_than_the_cap(rows: list[tuple[int, int]], cap: int) -> None:
    parts = [Participant(bytes([i]) * 32, bytes([owner]) * 32, weight, ()) for i, (owner, weight) in enumerate(rows)]
    counted, total = capped(((p.node, p.owner, p.weight) for p in parts), cap), sum(p.weight for p in parts)
    for owner in {p.owner for p in parts}:
        mine = [p.node for p in parts if p.owner == owner]
        assert sum(counted[node] for node in mine) <= total * cap // 1000 + len(mine), "each keeps at least 1"
    for p in parts:
        assert (counted[p.node] > 0) == (p.weight > 0), "there is always somebody with weight"
        assert counted[p.node] <= p.weight


@given(st.integers(0, 1 << 60), st.dictionaries(st.binary(min_size=1, max_size=2), st.integers(0, 1 << 60), max_size=6))
def test_shares_never_exceed_what_there_is(amount: int, points: dict[bytes, int]) -> None:
    found = shares(amount, points)
    assert sum(found.values()) <= amount
    assert not any(points.values()) or amount - sum(found.values()) < max(len(found), 1)


@pytest.mark.parametrize(("validators", "burnt"), [(0, 0), (1000, 0), (0, 1000), (1000, 1000), (800, 700), (333, 333)])
def test_any_split_adds_up(validators: int, burnt: int) -> None:
    rules = replace(STEADY, validator_share_milli=validators, burn_share_milli=burnt)
    lab = Lab(epoch_blocks=60, economy=rules)
    for tokens in (1, 7):
        lab.decide(lab.drawn(executor=lab.nodes[1], tokens=tokens), lambda _: {})
    found = to_end(lab)
    assert found.paid_micro >= found.fees_micro * max(1000 - validators - burnt, 0) // 1000
    assert found.fees_micro == (2 * PROMPT + 8) * PRICE


ACTS = st.lists(st.tuples(
    st.sampled_from(["good", "bad", "differ", "silent", "late", "own", "accuse", "blocks"]), st.integers(0, 6),
    st.integers(1, 50),
), max_size=14)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ACTS, st.integers(0, 5000), st.integers(0, 1000), st.integers(0, 1000))
def test_every_epoch_adds_up_whatever_happens(
    acts: list[tuple[str, int, int]], deposit: int, share: int, other: int
) -> None:
    """Random epochs with convictions, slashing, penalties and silence. Money is conserved after every block (the lab
    checks it), M12 holds for every epoch, and every ended inference is in exactly one statement, with a rule."""
    rules = CheckRules(reveal_window=3, plant_window=4, conviction_milli=5000, min_checked_tokens=0)
    economy = replace(
        STEADY, validator_share_milli=share, burn_share_milli=other, bounty_milli=share, slash_milli=other,
        output_window=6, keep_epochs=1000,
        emission_micro=deposit * 7, accuse_penalty_micro=deposit // 3 + 1,
    )
    lab = Lab(7, epoch_blocks=13, owners={6: 5}, rules=rules, validation_window=3, economy=economy)
    for node in lab.nodes:
        put_collateral(lab, node, deposit)
    ids = []
    for act, who, tokens in acts:
        try:
            signed = lab.start(
                lab.owners[who] if act == "own" else CLIENT, agent=(who + 1) % 7, deadline=4 if act == "late" else 100
            )
        except FolkmootError:
            lab.block(7)  # suspended agent
            continue
        ids.append(signed.inference_id)
        if act == "late" or not lab.inference(signed.inference_id).candidates:
            continue
        lab.finish(signed.inference_id, tokens=tokens, output=act in ("good", "bad", "own", "accuse", "blocks"))
        if act == "differ":
            lab.output(signed.inference_id, tokens, OTHER)
        lab.block(2)
        says: dict[str, Any] = {"bad": {"valid": False}}.get(act, {})
        for _ in range(2):
            found = lab.inference(signed.inference_id)
            if act == "blocks" or not found.committees or found.end_height or found.outcome:
                break
            accuser = found.committees[-1].members[0] if act == "accuse" and len(found.committees) == 1 else b""
            committee = len(found.committees)
            verdicts = [
                lab.verdict(signed.inference_id, n, **({"valid": False} if n == accuser else says))
                for n in lab.members(signed.inference_id)
            ]
            for verdict in verdicts:
                lab.commit(verdict)
            lab.block()
            for verdict in verdicts:
                lab.reveal(verdict)
            lab.block()
            if len(lab.inference(signed.inference_id).committees) == committee:
                break
    lab.block((-lab.height) % 13 + 1 + 13 * 10)
    told: dict[str, str] = {}
    for epoch in range((lab.height - 1) // 13):
        found_sums = earnings.sums(lab.view, epoch)
        assert found_sums.balanced
        assert found_sums.height == (epoch + 1) * 13
        rows = 0
        for node in earnings.earners(lab.view, epoch):
            page = earnings_answer(lab.ctx, epoch, node, 0)
            rows += page.own.fees_micro
            for row in page.inferences:
                assert row.id not in told
                told[row.id] = row.rule
        assert rows == found_sums.fees_micro
    assert set(told) == {i.hex() for i in ids}
    assert lab.view.totals().due_micro == lab.view.totals().escrow_micro == 0
    burnt = sum(earnings.sums(lab.view, epoch).burnt_micro for epoch in range((lab.height - 1) // 13))
    assert burnt == lab.view.totals().burnt_micro, "every burnt micro-credit is in an epoch's sums"
    minted = sum(earnings.sums(lab.view, epoch).minted_micro for epoch in range((lab.height - 1) // 13))
    assert lab.view.totals().minted_micro == 10**9 * len(lab.accounts) + deposit * 7 + minted


def test_settling_an_epoch_twice_pays_nothing_twice() -> None:
    lab = Lab(epoch_blocks=40)
    lab.decide(lab.drawn(executor=lab.nodes[1]), lambda node: {})
    found = to_end(lab)
    assert check_conservation(lab.view, lab.accounts)
    with pytest.raises(AssertionError):
        settle(Context(lab.view, lab.genesis, 40))
    assert earnings.sums(lab.view, 0) == found


def test_statements_come_in_pages() -> None:
    lab = Lab(epoch_blocks=5000)
    count = PAGE + 3
    for _ in range(count):
        signed = lab.start(deadline=5)
    lab.block(7)
    by_node: dict[str, int] = {}
    for node in earnings.earners(lab.view, 0):
        start = 0
        while start >= 0:
            page = earnings_answer(lab.ctx, 0, node, start)
            assert encode(page)
            by_node[node.hex()] = by_node.get(node.hex(), 0) + len(page.inferences)
            start = page.next
    assert sum(by_node.values()) == count
    assert inference_answer(signed.inference_id, lab.inference(signed.inference_id)).status == "EXPIRED"
    assert earnings_answer(lab.ctx, 7, lab.nodes[1], 0).inferences == ()


def test_suspended_nodes_have_no_emission() -> None:
    lab = Lab(epoch_blocks=60, rules=replace(RULES, conviction_milli=10**6))
    node = lab.nodes[1]
    lab.decide(lab.drawn(executor=node), lambda _: {})
    found = lab.view.participant(node)
    assert found is not None
    lab.view.put_participant(replace(found, suspended_until=120, suspended_reason="because"))
    assert to_end(lab).minted_micro == 0
