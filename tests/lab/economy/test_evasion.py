"""Smart drafts as a stranger: no check sees them, and they earn less than honesty all the same (decision 067)."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from p2p.base.genesis import EconomyRules
from p2p.lab.economy.assumptions import Assumptions
from p2p.lab.economy.evasion import FILE, HEAD, earned, lines, points, table
from p2p.lab.economy.scenarios import Scenario
from p2p.lab.economy.trial import play_all
from p2p.lab.economy.world import Setting
from p2p.lab.measure.curve import ACROSS, EQUAL, STRANGER, Point

RULES, ASSUME = EconomyRules(), Assumptions()
UNSEEN = Point(STRANGER, "int8", 0.1, 0.58, 0.003, 0.0, 0.0, 0)


def costing(share: float) -> Assumptions:
    """Costs of an honest answer that are this share of its fee."""
    return Assumptions(token_cost_micro=share * ASSUME.fee_micro / (ASSUME.mean_tokens + 0.1 * ASSUME.prompt_tokens))


def test_what_no_check_sees_paid_before_and_does_not_now() -> None:
    before = earned(UNSEEN, replace(RULES, unshared_pay_milli=1000), ASSUME)
    assert before.pays
    assert before.percent > 150
    now = earned(UNSEEN, RULES, ASSUME)
    assert not now.pays
    assert now.percent < 70


def test_a_conviction_takes_the_epochs_fees_and_a_check_the_answers() -> None:
    found = earned(Point(EQUAL, "int8", 0.1, 0.58, 0.003, 0.3, 1.0, 10), RULES, ASSUME)
    assert -20 < found.percent < 0, "ten answers computed for nothing"
    half = earned(Point(EQUAL, "int8", 0.1, 0.58, 0.003, 0.0, 0.5, 0), RULES, ASSUME)
    never = earned(Point(EQUAL, "int8", 0.1, 0.58, 0.003, 0.0, 0.0, 0), RULES, ASSUME)
    assert found.percent < half.percent < never.percent
    honest = Point(EQUAL, "", 0.0, 1.0, 0.0, 0.0, 0.0, 0)
    assert earned(honest, RULES, ASSUME).percent == pytest.approx(100, abs=0.2)
    assert not earned(honest, RULES, ASSUME).pays


def test_no_point_pays_under_the_default_rules_and_equal_kernels_convict_each() -> None:
    found = table(RULES, ASSUME)
    assert {one.point.pair for one in found} == {EQUAL, ACROSS, STRANGER}
    assert [one for one in found if one.pays] == []
    assert all(one.point.convicted == 1.0 for one in found if one.point.draft and one.point.pair == EQUAL)
    assert all(one.point.convicted == 0.0 for one in found if not one.point.draft), "honest hosts"
    assert all(len(line) == len(HEAD) for line in lines(found))
    assert len(points()) == len(json.loads(FILE.read_text())["points"])


def test_pay_as_low_as_the_best_unseen_cheats_cost_deters_whatever_the_costs_are() -> None:
    """Decision 083: with x of the pay and x of the cost it earns x times what honesty earns."""
    unseen = min(one.cost for one in points() if one.draft and one.pair != EQUAL and one.convicted < 0.5)
    assert RULES.unshared_pay_milli <= 1000 * unseen
    for share in (0.2, 0.5, 0.8):
        for one in table(RULES, costing(share)):
            assert not one.pays
            if one.point.draft and one.point.convicted < 0.5:
                assert one.percent < 65


def test_the_ledger_pays_strangers_less_than_honest_hosts() -> None:
    """Played through the ledger's own code: at full pay both kinds earn more than honesty, at the default less. A ring
    under one name of kernels, without a quarter of the weight, fares no better than one alone."""
    mix = {"honest": 10, "smart stranger": 2, "ring of smart strangers": 2}
    percent = {}
    for pay in (1000, RULES.unshared_pay_milli):
        economy = replace(RULES, unshared_pay_milli=pay)
        setting = Setting(mix, epochs=3, clients=30, answers_per_node=10, economy=economy)
        found = play_all([Scenario("strangers", setting, seeds=1)], first_seed=11)["strangers"]
        honest = found["honest"].mean()
        percent[pay] = [100 * found[name].mean() / honest for name in mix if name != "honest"]
        assert all(one.counts.get("convicted epochs", 0) == 0 for one in found.values()), "no check sees them"
    assert min(percent[1000]) > 110
    assert max(percent[RULES.unshared_pay_milli]) < 90
