"""Prices rise where use is high and fall where it is low, never get stuck, and cost one step a block however much
traffic there is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.errors import InvalidRequest
from p2p.base.genesis import EconomyRules
from p2p.chain.views.governance import price_rows
from p2p.ledger.money.price import CEILING, MAX_PRICE, ceiling_of, moved, price_of, used_by
from p2p.ledger.money.requests import check_request
from p2p.ledger.rules import parameters
from p2p.wire.answers.network import PriceRow
from tests.ledger.lab import CLIENT, PRICE, Lab
from tests.ledger.lab import RULES as LAB_RULES
from tests.ledger.money.test_money import signed_request

RULES = EconomyRules()
BUSY, IDLE, CAPACITY = 700, 100, 1000
WIDE = (1, MAX_PRICE)
SHORT_RULES = replace(LAB_RULES, reveal_window=1)  # so that a dispute fits into a short epoch
UNMARKED = replace(LAB_RULES, honest_disagree_ppm=1_000_000)  # nobody is suspended for records that differ
FREE = EconomyRules(price_epoch_milli=1_000_000)  # for tests of what moves a price, not of how far


@given(st.integers(1, MAX_PRICE - 1), st.integers(1, 1000), st.integers(1, 1000))
def test_a_price_moves_every_window_until_its_bound_and_by_no_more_than_a_step(
    micro: int, floor: int, step: int
) -> None:
    rules, micro, within = replace(RULES, price_step_milli=step), max(micro, floor), (floor, MAX_PRICE)
    up, down = moved(micro, within, BUSY, CAPACITY, rules), moved(micro, within, IDLE, CAPACITY, rules)
    assert micro < up <= micro + max(1, micro * step // 1000)
    assert down == floor == micro or max(floor, micro - max(1, micro * step // 1000)) <= down < micro
    assert moved(micro, within, 500, CAPACITY, rules) == micro, "between low and high use it does not move"


@pytest.mark.parametrize("start", [1, 2, 3, 49, 50, 51, 1000, 123_456_789])
def test_a_price_rises_from_the_floor_and_falls_back_to_it(start: int) -> None:
    """Rounding of small prices does not stop the movement."""
    high = start
    for _ in range(60):
        high = moved(high, WIDE, BUSY, CAPACITY, RULES)
    assert high >= start + 60
    low = high
    for _ in range(62):  # two more: a step down is a share of the higher price, and rounded down
        low = moved(low, WIDE, IDLE, CAPACITY, RULES)
    assert low <= start + start // 20, "a rise of sixty blocks is undone in about sixty"
    for _ in range(2000):
        low = moved(low, WIDE, IDLE, CAPACITY, RULES)
    assert low == 1


def test_without_capacity_or_step_it_does_not_move() -> None:
    assert moved(10, WIDE, 0, 0, RULES) == moved(10, WIDE, 5, 0, RULES) == 10
    assert moved(10, WIDE, 0, CAPACITY, replace(RULES, price_step_milli=0)) == 10
    assert moved(MAX_PRICE, WIDE, BUSY, CAPACITY, RULES) == MAX_PRICE


def price(lab: Lab) -> int:
    return price_of(lab.view, lab.genesis.models[0])


def test_idle_blocks_lower_it_to_the_floor_and_traffic_raises_it() -> None:
    lab = Lab(epoch_blocks=1000, economy=replace(FREE, tokens_per_weight=1, price_window=2))
    lab.block(20)
    assert price(lab) == 1
    for _ in range(25):  # 80 tokens a height are the capacity; 3 x 20 are used
        for _ in range(3):
            used_by(lab.ctx, "toy", 20)
        lab.block()
    assert 10 < price(lab) <= 20
    (row,) = price_rows(lab.ctx)
    assert row == PriceRow("toy", price(lab), 750)


def test_the_window_forgets_and_keeps_one_counter_a_height() -> None:
    lab = Lab(economy=EconomyRules(price_window=5))
    lab.block()
    used_by(lab.ctx, "toy", 20)
    lab.block(4)
    assert len([key for key, value in lab.view.changes.items() if key.startswith(b"use/") and value]) == 1
    lab.block(3)
    assert not [key for key, value in lab.view.changes.items() if key.startswith(b"use/") and value]
    assert price_rows(lab.ctx)[0].utilisation_milli == 0


@pytest.mark.parametrize("window", [2, 9])
def test_a_vote_that_changes_the_window_keeps_the_count_right(window: int) -> None:
    lab, used = Lab(economy=EconomyRules(price_window=5)), {}
    for at in range(40):
        if at == 17:
            parameters.put_economy(lab.view, EconomyRules(price_window=window))
        used_by(lab.ctx, "toy", 1 + at)
        used[lab.height] = 1 + at
        lab.block()
        if at > 17 + window:
            (row,) = price_rows(lab.ctx)
            assert row.utilisation_milli == sum(
                used[h] for h in range(lab.height - window, lab.height)
            ) * 1000 // (8000 * window)


def test_the_price_is_locked_at_the_start_and_the_pre_check_asks_the_current_one() -> None:
    lab = Lab(economy=EconomyRules(price_window=2))
    lab.block(3)
    signed = lab.start()
    locked = price(lab)
    assert locked < PRICE
    lab.block(4)
    assert price(lab) < locked
    lab.finish(signed.inference_id)
    found = lab.inference(signed.inference_id)
    assert (found.price_micro, found.charged_micro) == (locked, 30 * locked)
    now = price(lab)
    with pytest.raises(InvalidRequest) as caught:
        check_request(lab.ctx, signed_request(lab, max_price_micro=now - 1))
    assert caught.value.field == "max_price_micro"
    assert check_request(lab.ctx, signed_request(lab, max_price_micro=now))


def test_all_weight_lost_and_won_back() -> None:
    """Without any weight nobody is drawn, nothing is divided by zero, and the price does not move; with weight it moves
    again."""
    lab = Lab(economy=replace(FREE, price_window=2))
    lab.block(3)
    before = lab.view.participants()
    for participant in before:
        lab.view.put_participant(replace(participant, weight=0))
    lab.block(2)
    rest = price(lab)
    lab.block(20)
    assert price(lab) == rest > 1
    assert price_rows(lab.ctx)[0].utilisation_milli == -1
    assert lab.inference(lab.start(deadline=5).inference_id).candidates == ()
    lab.block(6)
    for participant in before:
        lab.view.put_participant(participant)
    lab.block(20)
    assert price(lab) == 1
    lab.decide(lab.drawn(), lambda node: {})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=5, max_size=30))
def test_the_running_count_is_what_the_window_holds(traffic: list[int]) -> None:
    lab, used = Lab(economy=EconomyRules(price_window=3, tokens_per_weight=1)), {}
    lab.block()
    for count in traffic:
        for _ in range(count):
            used_by(lab.ctx, "toy", 7)
        used[lab.height] = 7 * count
        lab.block()
        held = sum(used.get(h, 0) for h in range(lab.height - 3, lab.height))
        assert price_rows(lab.ctx)[0].utilisation_milli == held * 1000 // 240


# -- what counts, and how far it goes -----------------------------------------------------------------------------


# 80 tokens a height are the capacity of eight peers
TIGHT = EconomyRules(tokens_per_weight=1, price_window=5, price_step_milli=20)


def utilisation(lab: Lab) -> int:
    return int(price_rows(lab.ctx)[0].utilisation_milli)


def test_refunded_answers_do_not_move_a_price() -> None:
    """Two hundred answers that nobody made: the agent's record differs or is missing, and the money is refunded."""
    lab = Lab(epoch_blocks=1000, economy=replace(TIGHT, price_low_milli=0, output_window=5), rules=UNMARKED)
    before = lab.view.account(CLIENT.public).balance_micro
    for _ in range(100):
        for silent in (False, True):
            signed = lab.start()
            lab.finish(signed.inference_id, tokens=50, output=False)
            if not silent:
                lab.output(signed.inference_id, 50, b"\x06" * 32)
        lab.block()
        assert (price(lab), utilisation(lab)) == (PRICE, 0)
    lab.block(500)
    assert (price(lab), lab.view.account(CLIENT.public).balance_micro) == (PRICE, before), (
        "all money was refunded, and no price moved"
    )


@pytest.mark.parametrize("owner_asks", [False, True])
def test_booked_answers_move_it_unless_the_owner_asked_its_own_node(owner_asks: bool) -> None:
    lab = Lab(epoch_blocks=1000, economy=replace(TIGHT, price_low_milli=0), rules=replace(LAB_RULES, plant_window=1))
    node = lab.nodes[1]
    for _ in range(3):
        inference_id = lab.drawn(executor=node, account=lab.owners[1] if owner_asks else CLIENT, tokens=50)
        assert utilisation(lab) == 0, "an answer that is not decided does not count"
        found = lab.decide(inference_id, lambda _: {})
        assert found.status == "VALIDATED"
        assert utilisation(lab) == (0 if owner_asks else 50 * 1000 // (80 * 5))
        lab.block(6)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 200), min_size=30, max_size=60), st.integers(1, 1000), st.sampled_from([1100, 1500, 2000])
)
def test_within_an_epoch_a_price_stays_near_where_it_began_and_never_leaves_its_bounds(
    traffic: list[int], first: int, most: int
) -> None:
    lab = Lab(epoch_blocks=20, economy=replace(TIGHT, price_step_milli=300, price_epoch_milli=most), rules=SHORT_RULES)
    spec = replace(lab.genesis.models[0], price_micro=first, price_ceiling_micro=2 * first)
    lab = Lab(epoch_blocks=20, economy=lab.genesis.economy, models=(spec,), rules=SHORT_RULES)
    anchor, seen = first, set[int]()
    for tokens in traffic:
        used_by(lab.ctx, "toy", tokens)
        lab.block()
        now = price(lab)
        seen.add(now)
        assert max(1, min(anchor * 1000 // most, anchor - 1)) <= now <= min(
            max(anchor * most // 1000, anchor + 1), 2 * first
        )
        if (lab.height - 1) % 20 == 0:
            anchor = now
    assert ceiling_of(replace(spec, price_ceiling_micro=0)) == CEILING * first
