"""Statistics, profile and thresholds on the toy model: what a number means, and that a profile keeps its promise on
data it never saw."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.base.errors import ConfigError
from p2p.base.types import Params
from p2p.verification import profile as profiles
from p2p.verification.calibration import MASKLESS, Facts, Resampler, fit_one_position, fit_tables, fit_thresholds, pool
from p2p.verification.check import weigh
from p2p.verification.profile import LIKELIERS, Noise, Profile, mixture, ratios
from p2p.verification.statistics import (
    CAP,
    CHOSEN,
    COLUMNS,
    DECIDED,
    DISTANCE,
    EXCESS,
    GAP,
    LEAD,
    TEMPTED,
    answer_facts,
)
from testnet.simulated_engine import Toy
from tests.verification.toy import PARAMS, SEED, Noisy, calibrated, claim, facts, generate, rows

APARTS_NEAR = 3  # cells within 0.04 nats


def toy_profile() -> Profile:
    return Profile("toy", "00", {"by": "a test"}, 500, {"a>b": calibrated()})


@pytest.mark.parametrize(
    "params", [Params(0), Params(700), Params(1000, 20), Params(1000, 40, 0, 900), Params(900, 0, 0, 1000, 500, 700)]
)
def test_exact_numbers_give_no_negative_lead_and_no_excess(params: Params) -> None:
    made, _, _ = claim(40, params)
    found = answer_facts(made.positions(), rows(Toy(1), made.tokens), params, SEED)
    assert (found[:, LEAD] >= -1e-9).all()
    assert (found[:, EXCESS] == 0).all()
    assert (found[:, DISTANCE] < 1 / 16).all(), "only the artifact's rounding is left"
    assert (found[:, CHOSEN] <= 1 / 2048 + 1e-9).all()


def test_a_wrong_seed_loses_at_most_positions_and_a_wrong_model_is_far() -> None:
    made, _, _ = claim(60, PARAMS)
    wrong = answer_facts(made.positions(), rows(Toy(1), made.tokens), PARAMS, b"\x08" * 32)
    assert (wrong[:, LEAD] < -0.3).mean() > 0.5
    other, _, _ = claim(60, PARAMS, salt=2)
    far = answer_facts(other.positions(), rows(Toy(1), other.tokens), PARAMS, SEED)
    assert far[:, DISTANCE].mean() > 1.0


def test_a_hotter_host_is_seen_by_the_sign_of_its_gaps() -> None:
    """What a hotter host chose instead was less likely than what should have won."""
    hot = Params(1150)
    gaps = []
    for number in range(12):
        seed = bytes([number]) * 32
        steps = generate(Toy(1), 60, hot, seed)
        made, _, _ = claim(60, PARAMS, steps=steps)
        found = answer_facts(made.positions(), rows(Toy(1), tuple(s.token for s in steps)), PARAMS, seed)
        gaps += list(found[found[:, LEAD] < 0, GAP])
    assert len(gaps) > 5
    assert np.mean(np.array(gaps) > 0) > 0.9


def test_a_token_outside_the_mask_has_an_excess() -> None:
    steps = generate(Toy(1), 60, Params(1000, 60))
    made, _, _ = claim(60, Params(1000, 5), steps=steps)
    found = answer_facts(made.positions(), rows(Toy(1), made.tokens), Params(1000, 5), SEED)
    assert (found[:, EXCESS] > 0).any()


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 20))
def test_facts_are_bounded_whatever_is_published(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    made, _, _ = claim(count, PARAMS)
    lying = type(made)(made.header, rng.bytes(len(made.rows)))
    own = [{**row, p.token: -20.0} for row, p in zip(rows(Toy(1), made.tokens), lying.positions(), strict=True)]
    found = answer_facts(lying.positions(), own, PARAMS, SEED)
    assert np.isfinite(found).all()
    assert (np.abs(found) <= CAP).all()


def test_thresholds_hold_on_honest_answers_never_seen() -> None:
    noise, fresh, rng = calibrated(), facts(Noisy(run=77), 40, 40, PARAMS, first=5000), np.random.default_rng(3)
    for length in (1, 4, 16, 64, 256):
        alarms = (Resampler(noise, fresh).ratios(length, 5000, rng) > noise.threshold_milli(length, 10_000)).mean()
        assert alarms < 0.03, f"{alarms} at {length} tokens, wanted 0.01"


def test_the_mean_evidence_of_honest_answers_is_at_most_one() -> None:
    noise, fresh = calibrated(), facts(Noisy(run=78), 40, 30, PARAMS, first=7000)
    values = [
        np.exp(weigh(fresh.values[s : s + n], noise).llr_milli / 1000)
        for s, n in zip(fresh.starts(), fresh.lengths, strict=True)
    ]
    assert np.mean(values) < 1.2


def test_more_tokens_detect_more() -> None:
    noise = calibrated()
    cheap = facts(Noisy(grid=1.6, run=5), 30, 40, PARAMS, laundered=True, first=9000)
    rng = np.random.default_rng(4)
    power = [
        (
            Resampler(noise, cheap).ratios(n, 4000, rng) > noise.threshold_milli(n, 1000)
        ).mean() for n in (4, 32, 128, 512)
    ]
    assert power == sorted(power)
    assert power[-1] > 0.99


def test_thresholds_never_accuse_data_that_speaks_for_honesty() -> None:
    for table in calibrated().thresholds.values():
        assert all(limit >= 0 for _, limit in table)


def test_the_worst_regime_sets_the_threshold() -> None:
    noise = calibrated()
    quiet, loud = facts(Noisy(run=20), 20, 30, PARAMS), facts(Noisy(grid=0.4, run=21), 20, 30, PARAMS)
    bare = Noise(noise.tables, noise.one_position, {}, 0)
    both = fit_thresholds(bare, {"quiet": quiet, "loud": loud}, np.random.default_rng(1), 1000)
    alone = fit_thresholds(bare, {"quiet": quiet}, np.random.default_rng(1), 1000)
    assert sum(b for _, b in both[10_000]) > sum(a for _, a in alone[10_000])


def test_the_mixture_is_between_mean_and_best() -> None:
    sums = np.array([[100.0, 2000.0, 5.0]])
    each = ratios(sums, 5)
    assert each[0, -1] == pytest.approx(0.0), "a mean ratio of one is no evidence"
    assert mixture(each)[0] < 2000
    assert mixture(each)[0] > 2000 - 1000 * np.log(3) - 1e-6


def test_a_quiet_host_is_not_taken_for_an_alternative_that_is_quiet_in_some_corner() -> None:
    """Kept tokens never speak against honesty, lost ones never for it."""
    for name, table in calibrated().tables.items():
        if name in MASKLESS:
            assert set(table) == {"mask"}
            inside, outside = table["mask"][1::2], table["mask"][2::2]
            assert max(inside) <= 0 <= min(outside)
            continue
        replay = np.array(table["replay"][:-1]).reshape(-1, 2)
        assert (replay[:, 0] <= 0).all(), name
        assert (replay[:, 1] >= 0).all(), name
        assert table["replay"][-1] == 0, "what is not decided says nothing"


def test_laundered_numbers_have_no_say() -> None:
    assert "distance" in calibrated().tables["coarse"]
    assert not {"distance", "chosen"} & set(calibrated().tables["laundered_coarse"])


def test_facts_pool_and_start_where_they_should() -> None:
    one, two = Facts(np.zeros((3, len(COLUMNS))), (1, 2)), Facts(np.ones((4, len(COLUMNS))), (4,))
    both = pool([one, two])
    assert both.lengths == (1, 2, 4)
    assert both.starts().tolist() == [0, 1, 3]


def test_a_profile_survives_its_file_and_an_uncalibrated_pair_is_refused() -> None:
    profile = toy_profile()
    again = profiles.parse(profile.to_json())
    assert again == profile
    assert again.hash() == profile.hash()
    with pytest.raises(ConfigError, match="calibrate"):
        profile.noise("b", "a")
    with pytest.raises(ConfigError):
        calibrated().threshold_milli(10, 123)


@pytest.mark.parametrize("change", [
    {"version": 1}, {"pairs": {"a>b": {}}}, {"pairs": 3}, {"made": 5}, {"model": None, "reveal_tolerance_milli": "x"},
])
def test_a_broken_profile_is_named(change: dict[str, object]) -> None:
    body = {**json.loads(toy_profile().to_json()), **change}
    with pytest.raises(ConfigError):
        profiles.parse(json.dumps(body))
    for text in ("", "[]", "{}", "\x00"):
        with pytest.raises(ConfigError):
            profiles.parse(text)


def test_a_table_with_missing_cells_is_refused() -> None:
    body = json.loads(toy_profile().to_json())
    body["pairs"]["a>b"]["tables"]["coarse"]["replay"].pop()
    with pytest.raises(ConfigError, match="cells"):
        profiles.parse(json.dumps(body))


def test_kernels_that_were_measured_have_their_own_noise_and_others_are_strangers() -> None:
    exact, strange, cross = (replace_normaliser(calibrated(), n) for n in (1, 2, 3))
    found = Profile("toy", "00", {}, 500, {"v#1>v#1": exact, "v>v": strange, "v>t": cross}, 600)
    assert found.noise("v#1", "v#1") is exact
    assert found.noise("v#1", "v#2") is found.noise("v#2", "v#1") is found.noise("v", "v#1") is strange
    assert found.noise("v#1", "t") is found.noise("v#9", "t") is cross
    assert found.equal("v#1", "v#1", context=600)
    assert not found.equal("v#1", "v#1", context=601), "attention is cut in other pieces there"
    others = (("v", "v"), ("v#1", "v#2"), ("v#2", "v#2"), ("v#1", "v"))
    assert not any(found.equal(one, two, context=9) for one, two in others)
    assert found.noise("v#1", "v#1", context=600) is exact
    assert found.noise("v#1", "v#1", context=601) is strange, "attention over more was not seen to be exact"
    assert found.knows("v#7")
    assert not found.knows("t")
    with pytest.raises(ConfigError):
        found.noise("t", "v#1")


def replace_normaliser(noise: Noise, value: int) -> Noise:
    return Noise(noise.tables, noise.one_position, noise.thresholds, value)


def leads(values: np.ndarray) -> Facts:
    """Answers of 50 tokens with these leads and nothing else to say."""
    table = np.zeros((len(values), len(COLUMNS)))
    table[:, LEAD], table[:, DECIDED], table[:, TEMPTED] = values, 1.0, -1.0
    return Facts(table, (50,) * (len(values) // 50))


def test_a_small_regime_that_lost_nothing_is_not_taken_for_the_noisiest() -> None:
    """Where no token was ever lost, one lost token counts nearly as much with a small regime as without it."""
    rng = np.random.default_rng(4)
    big, small = leads(rng.exponential(0.5, 40_000)), leads(rng.exponential(0.5, 500))
    other = {"wrong_seed": leads(rng.normal(0.0, 1.0, 5000))}
    alone = fit_tables({"big": big}, other, frozenset({"wrong_seed"}))["wrong_seed"]["replay"]
    both = fit_tables({"big": big, "small": small}, other, frozenset({"wrong_seed"}))["wrong_seed"]["replay"]
    lost = np.array(alone)[1::2]
    assert lost.max() > 5000
    assert (np.array(both)[1::2] >= lost - 700).all()


def test_a_noisy_regime_still_sets_the_null() -> None:
    rng = np.random.default_rng(4)
    quiet, noisy = leads(rng.exponential(0.5, 40_000)), leads(rng.exponential(0.5, 4000) - 0.05)
    other = {"wrong_seed": leads(rng.normal(0.0, 1.0, 5000))}
    near = [
        fit_tables({"a": quiet, "b": facts}, other, frozenset({"wrong_seed"}))["wrong_seed"]["replay"]
        for facts in (quiet, noisy)
    ]
    first = APARTS_NEAR * LIKELIERS * 2
    assert np.max(near[1][1:first:2]) < 0.5 * np.max(near[0][1:first:2])


def test_a_loss_a_little_deeper_than_any_seen_is_not_yet_a_lie() -> None:
    """Honest tokens that are never lost say nothing about how deep one could be; what one other rounding does is
    known."""
    rng = np.random.default_rng(4)
    one = fit_one_position({"quiet": leads(rng.exponential(0.5, 40_000))}, leads(rng.normal(0.0, 1.0, 5000)))
    assert one[2] < 9000 < one[-1]
    assert (np.diff(one) > -200).all(), "deeper says more"


def test_a_margin_that_lost_none_between_others_that_did_may_lose_one() -> None:
    """A mixture of experts: few tokens are lost, some of them deep. What lies between them was not seen by chance."""
    rng = np.random.default_rng(4)
    few = rng.exponential(0.5, 1700)
    few[:5] = -0.015, -0.017, -0.052, -1.5, -2.97
    one = fit_one_position({"honest": leads(few)}, leads(rng.normal(0.0, 1.0, 5000)))
    assert max(one[:4]) < 3000, "or two losses of a hair convict"
    assert one[-1] < 6000, "honest tokens were lost as deep"
