"""Duty and the tests that convict: exact against brute force, error rates by simulation."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.genesis import CheckRules
from p2p.verification import duty
from p2p.verification.duty import (
    check_probability_milli,
    convicts,
    deterrence_milli,
    is_sampled,
    reveal_positions,
    tail_below,
)
from p2p.verification.sequential import SHARES_MILLI, Detector, EProcess, Evidence, detection_milli, share_of_milli

RULES = CheckRules(min_checked_tokens=1000, min_checks=10, saving_micro=0)


@pytest.mark.parametrize(("reputation", "tokens", "before", "expected"), [
    (0, 10**6, 10**6, 1000), (100, 10**6, 10**6, 10), (50, 10**6, 10**6, 505), (100, 999, 10**6, 1000),
    (100, 1000, 10**6, 10),
    (100, 10**6, 100, 100), (100, 10**6, 10, 1000), (100, 10**6, 5, 1000), (100, 10**6, 0, 1000), (100, 10**6, 999, 11),
])
def test_checking_falls_with_reputation_and_rises_when_traffic_is_low(
    reputation: int, tokens: int, before: int, expected: int
) -> None:
    assert check_probability_milli(reputation, tokens, before, RULES) == expected


@settings(deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**6), st.integers(0, 100))
def test_never_under_the_deterrence_bound(saving: int, reward: int, slash: int, accept: int, reputation: int) -> None:
    rules = replace(RULES, saving_micro=saving, reward_micro=reward, slashable_micro=slash, false_accept_ppm=accept)
    at_stake = (1 - Fraction(accept, 10**6)) * (reward + slash)
    p = Fraction(deterrence_milli(rules), 1000)
    assert p == 1 or (p > saving / at_stake and p - Fraction(1, 1000) <= saving / at_stake)
    assert check_probability_milli(reputation, 10**9, 10**9, rules) >= deterrence_milli(rules)


def test_sampling_has_the_share_it_should() -> None:
    hits = sum(is_sampled(b"b", i.to_bytes(32, "big"), 100) for i in range(20_000))
    assert abs(hits - 2000) < 5 * math.sqrt(20_000 * 0.1 * 0.9)
    assert not any(is_sampled(b"b", bytes([i]) * 32, 0) for i in range(250))
    assert all(is_sampled(b"b", bytes([i]) * 32, 1000) for i in range(250))


@settings(deadline=None)
@given(
    st.binary(min_size=32, max_size=32), st.integers(0, 5000), st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32)
)
def test_positions_are_distinct_in_order_inside_and_any_two_validators_meet(
    beacon: bytes, length: int, a: bytes, b: bytes
) -> None:
    mine, other = (reveal_positions(beacon, bytes(32), node, length) for node in (a, b))
    assert len(mine) == min(length, 16)
    assert list(mine) == sorted(set(mine))
    assert all(0 <= p < length for p in mine)
    assert len(set(mine) & set(other)) >= min(length, 8)


def test_positions_differ_by_beacon_and_validator() -> None:
    length = 2000
    base = reveal_positions(b"x" * 32, bytes(32), b"v", length)
    assert base == reveal_positions(b"x" * 32, bytes(32), b"v", length)
    assert base != reveal_positions(b"x" * 32, bytes(32), b"w", length)
    assert not set(base) & set(reveal_positions(b"y" * 32, bytes(32), b"v", length))


def tail(successes: int, trials: int, rate: Fraction) -> Fraction:
    """By counting, one trial at a time."""
    chances = [Fraction(1)]
    for _ in range(trials):
        chances = [
            (chances[i] * (1 - rate) if i < len(chances) else 0) + (chances[i - 1] * rate if i else 0)
            for i in range(len(chances) + 1)
        ]
    return sum(chances[successes:], Fraction(0))


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 10**6), st.integers(0, 10**9), st.integers(1, 50))
def test_the_tail_is_exact(successes: int, trials: int, rate: int, limit: int, looks: int) -> None:
    exact = tail(successes, trials, Fraction(rate, 10**6)) * looks < Fraction(limit, 10**9)
    assert tail_below(successes, trials, rate, limit, looks) is exact


def test_the_tail_at_its_very_edge() -> None:
    assert not tail_below(3, 3, 10_000, 1000)  # exactly 1e-6 is not below 1e-6
    assert tail_below(3, 3, 10_000, 1001)


@settings(deadline=None)
@given(
    st.integers(0, 300), st.integers(0, 300), st.sampled_from((0, 1, 1000, 10_000, 500_000, 10**6)),
    st.integers(0, 10**9)
)
def test_digits_say_what_whole_numbers_say(successes: int, trials: int, rate: int, limit: int) -> None:
    assert tail_below(successes, trials, rate, limit, 7) is duty._is_below(successes, trials, rate, limit, 7)


@pytest.mark.parametrize("trials", [1000, 25_000, 10**6, 10**9])
def test_the_cost_does_not_grow_with_the_trials(trials: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No whole number of a million to the power of the trials: up to the honest rate and beyond it."""
    monkeypatch.setattr(duty, "_is_below", lambda *_: pytest.fail("summed in whole numbers"))
    for outliers in (1, 9, trials // 200, trials // 100):
        assert not convicts(outliers, trials, 10_000, 1000)
    if trials <= 25_000:
        assert not convicts(trials // 100 + 3, trials, 10_000, 1000)
        assert convicts(trials // 20, trials, 10_000, 1000)


@pytest.mark.parametrize(("outliers", "trials", "expected"), [
    (0, 0, False), (0, 100, False), (3, 3, False), (4, 4, True), (4, 5, True), (4, 6, False), (30, 1000, False),
    (60, 1000, True),
])
def test_who_is_beyond_chance(outliers: int, trials: int, expected: bool) -> None:
    assert convicts(outliers, trials, 10_000, 1000) is expected


def test_looking_each_time_convicts_the_honest_less_often_than_the_limit() -> None:
    """At a limit that a simulation can see: 2 % per epoch, looked at after every one of 200 trials, by an honest one at
    its full rate."""
    rng, runs, convicted = random.Random(4), 3000, 0
    memo: dict[tuple[int, int], bool] = {}
    for _ in range(runs):
        outliers = 0
        for trial in range(1, 201):
            if rng.random() < 0.05:
                outliers += 1
                if memo.setdefault((outliers, trial), convicts(outliers, trial, 50_000, 20_000_000)):
                    convicted += 1
                    break
    assert 0 < convicted < 0.02 * runs


# -- the e-process ------------------------------------------------------------------------------------------------

CAP = 6000


def coarse(nats: float) -> int:
    """In thousandths, of which the last digit is zero: the same ones come again, so that fewer have to be computed."""
    return 10 * round(100 * nats)


@settings(deadline=None)
@given(st.lists(st.integers(-9000, 9000), max_size=30), st.randoms())
def test_the_same_whatever_the_order(ratios: list[int], rng: random.Random) -> None:
    def end(values: list[int]) -> EProcess:
        process = EProcess()
        for value in values:
            process = process.updated(value, CAP)
        return process

    shuffled = list(ratios)
    rng.shuffle(shuffled)
    assert end(ratios) == end(shuffled)


@settings(deadline=None)
@given(st.integers(-9000, 9000), st.integers(0, 3000))
def test_monotone_and_bounded(llr: int, more: int) -> None:
    low, high = EProcess().updated(llr, CAP), EProcess().updated(llr + more, CAP)
    assert all(a <= b for a, b in zip(low.logs_micro, high.logs_micro, strict=True))
    assert low.log_milli() <= high.log_milli()
    assert EProcess().updated(10**6, CAP) == EProcess().updated(CAP, CAP)
    assert EProcess().updated(-(10**6), CAP) == EProcess().updated(-CAP, CAP)


@settings(deadline=None)
@given(st.integers(-6000, 6000))
def test_each_factor_is_what_floats_say(llr: int) -> None:
    for share, log in zip(SHARES_MILLI, EProcess().updated(llr, CAP).logs_micro, strict=True):
        q = share / 1000
        exact = math.log((1 - q) + q * math.exp(llr / 1000)) - math.log1p(q * math.exp(-CAP / 1000))
        assert exact * 1e6 - 1.001 <= log <= exact * 1e6 + 0.001, "rounded down to a millionth"


def test_golden_values() -> None:
    """Fixed once: another Python, libm or machine must not change chain state."""
    process = EProcess()
    for llr in (6000, -1234, 77, 0, 6000, -6000, 501):
        process = process.updated(llr, CAP)
    assert (process.logs_micro, process.log_milli()) == GOLDEN
    assert EProcess().log_milli() == 0


GOLDEN = ((5326668, 8926433, 7329590, 6048452, 4384955), 7576)


def test_the_mean_is_at_most_one_under_an_honest_null() -> None:
    """Gaussian ratios with mean -v / 2, variance v: exp of them has mean exactly 1. Seeded; 5 sigma."""
    rng = random.Random(11)
    for deviation in (0.3, 1.0, 2.5):
        ratios = [coarse(rng.gauss(-deviation**2 / 2, deviation)) for _ in range(3000)]
        logs = [EProcess().updated(ratio, CAP).logs_micro for ratio in ratios]
        for at, share in enumerate(SHARES_MILLI):
            factors = [math.exp(log[at] / 1e6) for log in logs]
            mean = sum(factors) / len(factors)
            spread = math.sqrt(sum((f - mean) ** 2 for f in factors) / len(factors) ** 2)
            assert mean <= 1 + 5 * spread, (share, deviation, mean)


def test_honest_hosts_are_convicted_less_often_than_ville_allows_and_cheats_quickly() -> None:
    """Limit ln 20: at most one honest epoch in twenty, at any time of 100 inferences. A cheat in one of ten answers is
    found."""
    rng, limit, convicted = random.Random(7), 2996, 0
    for _ in range(300):
        process = EProcess()
        for _ in range(100):
            process = process.updated(coarse(rng.gauss(-0.5, 1.0)), CAP)
            # no mean is above the largest, which costs less to find
            if max(process.logs_micro) >= limit * 1000 and process.log_milli() >= limit:
                convicted += 1
                break
    assert convicted < 300 * 0.05
    process, count = EProcess(), 0
    while process.log_milli() < 13_816:
        process = process.updated(CAP if rng.random() < 0.1 else coarse(rng.gauss(-1.0, 1.4)), CAP)
        count += 1
    assert count < 200


def test_thousands_of_honest_answers_do_not_overflow() -> None:
    process = EProcess(tuple(-(10**12) for _ in SHARES_MILLI))
    assert process.log_milli() == -(10**9)
    assert EProcess((-(10**13), 0, 0, 0, 0)).log_milli() == -224


# -- over epochs -----------------------------------------------------------------------------------------------------

# of each epoch: (ratio of an inference of it, ratio of one of the epoch before that was decided late)
Epochs = list[list[tuple[int, int]]]
epochs = st.lists(st.lists(st.tuples(st.integers(-8000, 8000), st.integers(-2000, 2000)), max_size=4), max_size=6)


@settings(deadline=None)
@given(epochs)
def test_the_detector_is_the_sum_of_the_products_that_begin_with_each_epoch(played: Epochs) -> None:
    """By its definition, in floats: a late ratio is in all products but the one that began after its epoch."""
    detector, sums = Detector(), [0.0] * len(SHARES_MILLI)
    products = [1.0] * len(SHARES_MILLI)
    for epoch in played:
        for ratio, late in epoch:
            detector = detector.updated(ratio, CAP).updated_late(late, CAP)
            now, before = (_factors(value) for value in (ratio, late))
            products = [p * f for p, f in zip(products, now, strict=True)]
            sums = [s * f for s, f in zip(sums, before, strict=True)]
        for log, total, product in zip(detector.logs_micro, sums, products, strict=True):
            assert -0.02 < log / 1e6 - math.log((1 + total) * product) < 1e-4, "rounded down, in the executor's favour"
        detector = detector.after_epoch(begun=True)
        sums = [(1 + s) * p for s, p in zip(sums, products, strict=True)]
        products = [1.0] * len(SHARES_MILLI)


def _factors(ratio: int) -> list[float]:
    bounded = min(max(ratio, -CAP), CAP) / 1000
    shares = (share / 1000 for share in SHARES_MILLI)
    return [((1 - q) + q * math.exp(bounded)) / (1 + q * math.exp(-CAP / 1000)) for q in shares]


@settings(deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(-8000, 8000), st.booleans()), max_size=5), max_size=5))
def test_no_epoch_alone_says_more_than_all_together(played: list[list[tuple[int, bool]]]) -> None:
    """Whoever is convicted by an epoch's own ratios is convicted by the sum as well."""
    evidence = Evidence()
    for epoch in played:
        alone = Evidence()
        for ratio, by_lot in epoch:
            evidence, alone = (one.updated(ratio, CAP, by_lot=by_lot, late=False) for one in (evidence, alone))
            assert evidence.log_milli() >= alone.log_milli() - 1
            assert evidence.log_milli() * 1000 <= max(evidence.logs_micro)
            assert evidence.reached(log := evidence.log_milli()) == log
            assert evidence.reached(log + 1) is None
        evidence = evidence.after_epoch(begun=True)


def test_waiting_is_no_evidence() -> None:
    evidence = waited = Evidence().updated(-500, CAP, by_lot=True, late=False).after_epoch(begun=False)
    assert evidence.by_lot != Detector(), "what was found is there"
    for _ in range(100):
        waited = waited.after_epoch(begun=False)
    assert waited == evidence


def test_honest_hosts_are_convicted_in_fewer_epochs_than_ville_allows_over_years() -> None:
    """Ratios for which exp has mean exactly 1, the worst that honesty may be. Limit ln 200: in 20 epochs at most one
    host of ten."""
    rng, limit, convicted, hosts = random.Random(5), 5298, 0, 60
    for _ in range(hosts):
        evidence = Evidence()
        for _ in range(20):
            for number in range(10):
                evidence = evidence.updated(coarse(rng.gauss(-0.5, 1.0)), CAP, by_lot=number > 5, late=False)
            if evidence.log_milli() >= limit:
                convicted += 1
                break
            evidence = evidence.after_epoch(begun=True)
    assert convicted <= hosts / 10


def test_who_cheats_only_where_few_are_checked_is_found_over_epochs() -> None:
    """Honest in ten answers that are surely checked, two nats too much in the one that the lot takes: no epoch alone
    shows it."""
    evidence, count = Evidence(), 0
    while evidence.log_milli() < 13_816:
        count += 1
        for _ in range(10):
            evidence = evidence.updated(-3000, CAP, by_lot=False, late=False)
        evidence = evidence.updated(2000, CAP, by_lot=True, late=False).after_epoch(begun=True)
    assert 5 < count < 12


@settings(deadline=None)
@given(st.integers(1, 2000), st.integers(1, 400))
def test_a_distance_at_its_honest_mean_moves_nothing_and_its_factors_are_bets(found: int, honest: int) -> None:
    llr = share_of_milli(found, honest, CAP)
    for share, log in zip(SHARES_MILLI, EProcess().updated(llr, CAP).logs_micro, strict=True):
        bet = 1 + share / 1000 * (min(max(found / honest, math.exp(-CAP / 1000)), math.exp(CAP / 1000)) - 1)
        assert math.exp(log / 1e6) <= bet + 1e-6
        assert math.exp(log / 1e6) >= bet * 0.995 - 0.0026, "rounded down, and the cap's price"
    assert share_of_milli(honest, honest, CAP) == 0
    assert share_of_milli(0, honest, CAP) == -CAP


def test_sight_is_a_likelihood_ratio() -> None:
    missed, saw = detection_milli(50_000)
    assert (missed, saw) == (2944, -2945)
    assert 0.05 * math.exp(missed / 1000) + 0.95 * math.exp(saw / 1000) <= 1


GOLDEN_EVIDENCE = ((1531637, 1736317, 1770222, 1781093, 1787516), 2947)


def test_golden_evidence() -> None:
    evidence = Evidence()
    for ratio, by_lot, late in (
        (6000, False, False), (-1234, True, False), (77, True, True), (0, False, True), (-6000, False, False)
    ):
        evidence = evidence.updated(ratio, CAP, by_lot=by_lot, late=late).after_epoch(begun=True)
    assert (evidence.by_lot.earlier_micro, evidence.log_milli()) == GOLDEN_EVIDENCE
