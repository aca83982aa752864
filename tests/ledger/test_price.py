"""Prices: move where use is high or low, never get stuck, cost one step a block whatever the traffic."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.chain_view import prices_view
from p2p.errors import InvalidRequest
from p2p.genesis import EconomyRules
from p2p.ledger import parameters
from p2p.ledger.price import MAX_PRICE, moved, price_of
from p2p.ledger.rules import check_request
from tests.ledger.lab import PRICE, Lab
from tests.ledger.test_money import signed_request

RULES = EconomyRules()
BUSY, IDLE, CAPACITY = 700, 100, 1000


@given(st.integers(1, MAX_PRICE - 1), st.integers(1, 1000), st.integers(1, 1000))
def test_a_price_moves_every_block_until_its_bound_and_by_no_more_than_a_step(micro: int, floor: int, step: int) -> None:
    rules, micro = replace(RULES, price_step_milli=step), max(micro, floor)
    up, down = moved(micro, floor, BUSY, CAPACITY, rules), moved(micro, floor, IDLE, CAPACITY, rules)
    assert micro < up <= micro + max(1, micro * step // 1000)
    assert down == floor == micro or max(floor, micro - max(1, micro * step // 1000)) <= down < micro
    assert moved(micro, floor, 500, CAPACITY, rules) == micro, "between low and high it rests"


@pytest.mark.parametrize("start", [1, 2, 3, 49, 50, 51, 1000, 123_456_789])
def test_it_comes_back_from_the_floor_and_reaches_it_again(start: int) -> None:
    """Small numbers do not lock."""
    high = start
    for _ in range(60):
        high = moved(high, 1, BUSY, CAPACITY, RULES)
    assert high >= start + 60
    low = high
    for _ in range(62):  # two more: a step down is a share of a higher price, rounded down as well
        low = moved(low, 1, IDLE, CAPACITY, RULES)
    assert low <= start + start // 20, "what rose in sixty blocks falls in about sixty"
    for _ in range(2000):
        low = moved(low, 1, IDLE, CAPACITY, RULES)
    assert low == 1


def test_without_capacity_or_step_it_rests() -> None:
    assert moved(10, 1, 0, 0, RULES) == moved(10, 1, 5, 0, RULES) == 10
    assert moved(10, 1, 0, CAPACITY, replace(RULES, price_step_milli=0)) == 10
    assert moved(MAX_PRICE, 1, BUSY, CAPACITY, RULES) == MAX_PRICE


def price(lab: Lab) -> int:
    return price_of(lab.view, lab.genesis.models[0])


def test_idle_blocks_lower_it_to_the_floor_and_traffic_raises_it() -> None:
    rules = EconomyRules(tokens_per_weight=1, price_window=2)
    lab = Lab(epoch_blocks=1000, economy=rules)
    lab.block(20)
    assert price(lab) == 1
    for _ in range(15):  # 80 tokens a height are the capacity; 3 x 20 are used
        for _ in range(3):
            lab.finish(lab.start().inference_id, tokens=20)
        lab.block()
    assert 10 < price(lab) <= 20
    (row,) = prices_view(lab.view, lab.genesis)
    assert row == {"model": "toy", "price_micro": price(lab), "utilisation_milli": 750}


def test_the_window_forgets_and_keeps_one_counter_a_height() -> None:
    lab = Lab(economy=EconomyRules(price_window=5))
    lab.finish(lab.start().inference_id, tokens=20)
    lab.block(4)
    assert len([key for key, value in lab.view.changes.items() if key.startswith(b"use/") and value]) == 1
    lab.block(3)
    assert not [key for key, value in lab.view.changes.items() if key.startswith(b"use/") and value]
    assert prices_view(lab.view, lab.genesis)[0]["utilisation_milli"] == 0


@pytest.mark.parametrize("window", [2, 9])
def test_a_vote_that_changes_the_window_keeps_the_count_right(window: int) -> None:
    lab, used = Lab(economy=EconomyRules(price_window=5)), {}
    for at in range(40):
        if at == 17:
            parameters.put_economy(lab.view, EconomyRules(price_window=window))
        lab.finish(lab.start().inference_id, tokens=1 + at)
        used[lab.height] = 1 + at
        lab.block()
        if at > 17 + window:
            (row,) = prices_view(lab.view, lab.genesis)
            assert row["utilisation_milli"] == sum(used[h] for h in range(lab.height - window, lab.height)) * 1000 // (8000 * window)


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
        check_request(lab.view, lab.genesis, signed_request(lab, max_price_micro=now - 1), lab.height - 1)
    assert caught.value.field == "max_price_micro"
    assert check_request(lab.view, lab.genesis, signed_request(lab, max_price_micro=now), lab.height - 1)


def test_power_to_zero_and_back() -> None:
    """All weights gone: nobody is drawn, nothing divides by zero, the price rests; back again it moves."""
    lab = Lab(economy=EconomyRules(price_window=2))
    lab.block(3)
    before = lab.view.participants()
    for participant in before:
        lab.view.put_participant(replace(participant, weight=0))
    lab.block(2)
    rest = price(lab)
    lab.block(20)
    assert price(lab) == rest > 1
    assert prices_view(lab.view, lab.genesis)[0]["utilisation_milli"] == -1
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
            lab.finish(lab.start().inference_id, tokens=7)
        used[lab.height] = 7 * count
        lab.block()
        held = sum(used.get(h, 0) for h in range(lab.height - 3, lab.height))
        assert prices_view(lab.view, lab.genesis)[0]["utilisation_milli"] == held * 1000 // 240
