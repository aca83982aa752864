"""The law behind every conviction: what honest hosts give has a mean of exp(ratio) of at most one, token by token and
answer by answer, for each alternative; then no stopping rule convicts them more often than the test says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.genesis import CheckRules
from p2p.base.types import Params
from p2p.lab.measure.epoch import play
from p2p.verification.calibration import ARBITRARY, HALF, MASKLESS, Facts, fit, fit_tables, upper_bound
from p2p.verification.check import EXACT_NATS, PROOF_LLR_MILLI, CheckResult, exact_rule, weigh
from p2p.verification.profile import Noise, cells
from p2p.verification.sequential import EProcess
from p2p.verification.statistics import CHOSEN, COLUMNS, DECIDED, DISTANCE, EXCESS, GAP, LEAD, SURE, TEMPTED
from testnet.simulated_calibration import EDGE_MILLI, Noisy, calibrated, facts

CAP = CheckRules().llr_cap_milli
Floats = np.ndarray


def chance(margin: Floats) -> Floats:
    """Honest chance of a lost token."""
    return 0.4 * np.exp(-margin / 0.05)


def honest(tokens: int, rng: np.random.Generator, law: Callable[[Floats], Floats] = chance, each: int = 50) -> Facts:
    """Answers of a host that loses tokens by `law` and is outside a mask in one of 5,000 tokens."""
    table = np.zeros((tokens, len(COLUMNS)))
    margin = rng.exponential(0.4, tokens)
    lost = rng.random(tokens) < law(margin)
    likelier = rng.normal(0.0, 2.0, tokens)
    table[:, LEAD], table[:, GAP] = np.where(lost, -margin, margin), np.where(lost, likelier, -likelier)
    table[:, SURE], table[:, DECIDED] = -rng.exponential(0.6, tokens), rng.random(tokens) < 0.95
    table[:, TEMPTED] = rng.choice([-1.0, 0.0, 1.0], tokens, p=[0.4, 0.5, 0.1])
    outside = (table[:, TEMPTED] >= 0) & (rng.random(tokens) < 2e-4)
    table[:, EXCESS], table[outside, DECIDED] = np.where(outside, 0.5, 0.0), 0.0
    return Facts(table, (each,) * (tokens // each))


def lawless(tokens: int, rng: np.random.Generator) -> Facts:
    return honest(tokens, rng, lambda margin: np.full(margin.shape, 0.5))


@pytest.mark.parametrize("seed", range(4))
def test_each_alternative_is_a_fair_bet_on_honest_tokens(seed: int) -> None:
    rng = np.random.default_rng(seed)
    regimes = {"many": honest(30_000, rng), "few": honest(1000, rng, lambda margin: 0.3 * chance(margin))}
    tables = fit_tables(regimes, {"wrong_seed": lawless(5000, rng)}, frozenset({"wrong_seed"}))
    for law, most in ((chance, 1.003), (lambda margin: 0.5 * chance(margin), 1.0)):
        fresh = cells(honest(200_000, rng, law).values)
        for name in ("wrong_seed", *ARBITRARY, *MASKLESS):
            parts = [np.asarray(table)[fresh[channel]] / 1000 for channel, table in tables[name].items()]
            assert np.exp(sum(parts)).mean() <= most, name
    loud = cells(honest(200_000, rng, lambda margin: np.minimum(3 * chance(margin), 0.9)).values)
    assert np.exp(np.asarray(tables["wrong_seed"]["replay"])[loud["replay"]] / 1000).mean() > 1.01, "or nothing is bet"


def test_honest_answers_and_epochs_of_a_regime_that_was_not_fitted_on() -> None:
    rng = np.random.default_rng(9)
    noise = fit(
        {"one": honest(20_000, rng), "two": honest(20_000, rng, lambda margin: 0.5 * chance(margin))},
        {"wrong_seed": lawless(4000, rng)}, frozenset({"wrong_seed"}), cap_milli=CAP, seed=1, times=2000,
    )
    fresh = honest(60_000, rng, lambda margin: 0.8 * chance(margin), each=30)
    said = [weigh(part, noise).llr_milli for part in np.split(fresh.values, len(fresh.lengths))]
    values = np.exp(np.clip(said, -CAP, CAP) / 1000)
    assert values.mean() <= 1.0 + 2 * values.std() / np.sqrt(values.size)
    assert not play(said, [], 0.0, epochs=200, length=1000, seed=2).convicted_at
    guilty = [weigh(part, noise).llr_milli for part in np.split(lawless(3000, rng).values, 100)]
    assert len(play(said, guilty, 1.0, epochs=20, length=50, seed=2).convicted_at) == 20


@given(st.floats(0.001, 0.5), st.floats(0.0, 1.0), st.floats(0.0, 3.0))
def test_every_product_of_the_epoch_is_a_fair_bet(rare: float, part: float, more: float) -> None:
    """An honest law of two values whose mean of exp is at most 1, cut to the ledger's bounds and rounded down."""
    high = np.log(part / rare) if part > rare else np.log(1 + part)
    low = min(np.log(max((1 - rare * np.exp(high)) / (1 - rare), 1e-12)), 0.0) - more
    before = EProcess((0,) * 5)
    steps = [
        np.exp(np.array(before.updated(int(np.floor(1000 * ratio)), CAP).logs_micro) / 1e6) for ratio in (high, low)
    ]
    assert (rare * steps[0] + (1 - rare) * steps[1] <= 1 + 1e-9).all()


def test_tokens_at_the_edge_of_a_mask_say_nothing() -> None:
    noise = calibrated()
    silent = np.zeros((7, len(COLUMNS)))
    silent[:, LEAD], silent[:, TEMPTED] = -4.0, -1.0
    told = noise.likelihoods(silent)
    for at, name in enumerate(noise.names()[:-1]):
        if not {"distance", "chosen"} & set(noise.tables[name]):
            assert (told[:, at] == 0).all(), name
    assert (told[:, -1] == 1).all()
    silent[:, DECIDED] = 1.0
    assert noise.likelihoods(silent)[:, -1].min() > 1, "the same tokens, decided, speak"


def test_masks_of_every_kind_are_honest_noise_of_other_stacks() -> None:
    """Parameters that the profile was not fitted on; every logit differs by noise, on both sides."""
    noise, said = calibrated(), list[CheckResult]()
    asked = (
        Params(1000, 5), Params(1800, 30, 0, 700), Params(600, 0, 40), Params(1200, 64, 10, 400, -800, 300),
        Params(900, 12, 0, 1000, 0, -700), Params(1500, 50, 100, 950, 0, 0, 1800), Params(0, 3),
    )
    for at, params in enumerate(asked):
        found = facts(Noisy(run=900 + at), 12, 40, params, first=20_000 + 100 * at)
        said += [weigh(found.values[s : s + n], noise) for s, n in zip(found.starts(), found.lengths, strict=True)]
    assert all(one.valid for one in said)
    assert np.exp(np.clip([one.llr_milli for one in said], -CAP, CAP) / 1000).mean() < 1.1
    assert noise.edge == EDGE_MILLI / 1000


def loose(depth: float, column: int = LEAD, tokens: int = 40) -> Floats:
    table = np.zeros((tokens, len(COLUMNS)))
    table[:, LEAD], table[:, DECIDED], table[:, TEMPTED] = 2.0, 1.0, -1.0
    table[7, column] = -depth if column == LEAD else depth
    return table


@pytest.mark.parametrize("column", [LEAD, EXCESS])
def test_one_loss_beyond_rounding_is_refused_and_counts_as_much_as_was_measured(column: int) -> None:
    noise = calibrated()
    for depth, refused in ((0.0, False), (EXACT_NATS / 2, False), (0.002, True), (0.3, True), (0.7, True)):
        values = loose(depth, column)
        found = exact_rule(weigh(values, noise), values, noise, first=3)
        assert found.valid is not refused
        if refused:
            assert "position 10: " in found.reason
            fair = -np.log(noise.lost_ppm * len(values) / 1e6)
            assert found.llr_milli >= (PROOF_LLR_MILLI if depth > 0.5 else np.floor(1000 * fair))
    unknown = Noise(noise.tables, noise.one_position, noise.thresholds, 0)
    values = loose(0.002, column)
    assert exact_rule(weigh(values, unknown), values, unknown).valid, "not where nobody measured how rare it is"


def test_the_bound_of_a_rate_holds_what_it_says() -> None:
    assert upper_bound(0, 100_000) == pytest.approx(3.0e-5, rel=0.01)
    assert upper_bound(0, 0) == 1.0
    rng = np.random.default_rng(3)
    for rate, trials in ((0.01, 500), (0.2, 50), (1e-3, 100)):
        above = [upper_bound(int(rng.binomial(trials, rate)), trials) >= rate for _ in range(400)]
        assert np.mean(above) >= 0.93


def noisy(tokens: int, rng: np.random.Generator, scale: float) -> Facts:
    """Tokens whose two numbers have one noise: where the candidates differ much, so does the chosen token."""
    table = np.zeros((tokens, len(COLUMNS)))
    table[:, DISTANCE] = scale * rng.lognormal(0.0, 0.7, tokens)
    table[:, CHOSEN] = table[:, DISTANCE] * rng.lognormal(0.0, 0.3, tokens)
    table[:, SURE] = -rng.exponential(0.6, tokens)
    return Facts(table, (50,) * (tokens // 50))


def test_two_numbers_of_one_noise_are_no_two_surprises(monkeypatch: pytest.MonkeyPatch) -> None:
    means = {}
    for share in (HALF, 1.0):
        monkeypatch.setattr("p2p.verification.calibration.HALF", share)
        rng = np.random.default_rng(3)
        tables = fit_tables(
            {"honest": noisy(40_000, rng, 0.04)}, {"int8": noisy(20_000, rng, 0.08), "wrong_seed": lawless(5000, rng)},
            frozenset({"wrong_seed"}),
        )
        fresh = cells(noisy(400_000, rng, 0.04).values)
        parts = [np.asarray(tables["int8"][channel])[fresh[channel]] / 1000 for channel in ("distance", "chosen")]
        means[share] = np.exp(sum(parts)).mean()
    assert means[HALF] <= 1.0
    assert means[1.0] > 1.1, "believed twice"
