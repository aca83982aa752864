"""The simulator on small networks: a seed decides everything, money adds up, cheats earn less, and earn more where
the rules are broken on purpose."""

from __future__ import annotations

from dataclasses import replace as replace_strategy

import pytest
from msgspec.structs import replace

from p2p.base.genesis import CheckRules, EconomyRules
from p2p.base.types import RevealedRow
from p2p.lab.economy.assumptions import SAVED, Assumptions
from p2p.lab.economy.committees import MOST, OTHER, RING, TRUE, numbers
from p2p.lab.economy.scenarios import Scenario
from p2p.lab.economy.strategies import BY_NAME
from p2p.lab.economy.trial import Outcome, play_all
from p2p.lab.economy.world import Setting, World
from p2p.ledger.inferences.verdict_comparison import agree

SEED = 11
CLIENTS = 50
UNMOVED = replace(CheckRules(), conviction_milli=10**9)  # no executor is convicted, so that disputes go on


def played(
    mix: dict[str, int], epochs: int = 4, answers: float = 10, seeds: int = 1, **change: object
) -> dict[str, Outcome]:
    setting = Setting(mix, epochs, clients=CLIENTS, answers_per_node=answers, **change)  # type: ignore[arg-type]
    return play_all([Scenario("test", setting, seeds)], SEED)["test"]


def percent(found: dict[str, Outcome], strategy: str) -> float:
    return 100 * found[strategy].mean() / found["honest"].mean()


def test_the_same_seed_is_the_same_world() -> None:
    def run(seed: int) -> tuple[list[list[float]], list[dict[str, int]]]:
        world = World(
            Setting({"honest": 4, "int8": 1, "lazy validator": 1}, 2, clients=CLIENTS, answers_per_node=4), seed
        )
        world.run()
        return [o.profits for o in world.operators], [o.counts for o in world.operators]

    assert run(SEED) == run(SEED)
    assert run(SEED) != run(SEED + 1)


def test_every_coin_is_somewhere_and_the_check_for_it_bites() -> None:
    world = World(
        Setting({"honest": 4, "smaller model": 1}, 2, clients=CLIENTS, answers_per_node=4, deposit_micro=5000), SEED
    )
    world.run()  # asks the ledger after each epoch
    assert world.network.view.totals().burnt_micro > 0
    minted = world.network.view.totals().minted_micro
    spent = sum(o.spent_micro for o in world.operators)
    gained = sum(sum(o.profits) for o in world.operators) + spent
    clients = sum(world.network.view.account(c.public).balance_micro for c in world.clients) - 10**13 * CLIENTS
    totals = world.network.view.totals()
    held = totals.escrow_micro + totals.due_micro + totals.burnt_micro
    emitted = minted - sum(a.balance_micro for a in world.network.genesis.accounts)
    assert gained + clients + held == pytest.approx(emitted), "all of it, seen from outside"
    world.network.accounts.pop()
    with pytest.raises(AssertionError, match="money was made or lost"):
        world.epoch()


@pytest.mark.parametrize("strategy", ["int8", "smaller model", "laundered int8", "stranger int8", "whitewash"])
def test_cheats_earn_less(strategy: str) -> None:
    found = played({"honest": 8, strategy: 2}, epochs=6)
    assert found[strategy].mean() < 0 < found["honest"].mean(), f"seed {SEED}"
    assert found[strategy].counts["convicted epochs"] > 0
    assert found["honest"].counts["convicted epochs"] == 0


@pytest.mark.parametrize("strategy", ["silent validator", "lazy validator", "lazy, rare stack", "framing"])
def test_who_does_not_check_or_accuses_falsely_earns_less(strategy: str) -> None:
    found = played({"honest": 8, strategy: 2}, epochs=4)
    assert percent(found, strategy) < 50, f"seed {SEED}"
    assert found[strategy].counts["barred epochs"] > 0
    assert found["honest"].counts["barred epochs"] == 0


@pytest.mark.parametrize("strategy", ["cheap checks", "cheap checks, loud"])
def test_who_checks_with_int8_weights_is_barred_and_honest_ones_on_other_kernels_are_not(strategy: str) -> None:
    """J7, over epochs. Nobody is barred where the model does not state how far kernels differ."""
    found = played({"honest": 9, strategy: 3}, epochs=6, answers=16)
    assert found[strategy].counts["barred epochs"] >= 2, f"seed {SEED}"
    assert found["honest"].counts["barred epochs"] == found["honest"].counts["convicted epochs"] == 0
    unknown = played({"honest": 9, strategy: 3}, epochs=6, answers=16, assume=Assumptions(kernel_distance_milli=0))
    assert unknown[strategy].counts["barred epochs"] == 0


def test_planted_faults_convict_who_calls_everything_valid() -> None:
    """J6: an operator that plants faults loses no more than the computing, and is neither struck nor convicted."""
    assume = Assumptions(plants=1.0, kernel_distance_milli=0)
    found = played({"honest": 9, "cheap checks": 3}, epochs=6, answers=16, assume=assume)
    assert found["honest"].counts["planted"] > 20
    assert found["cheap checks"].counts["convicted epochs"] >= 2, f"seed {SEED}"
    assert found["honest"].counts["barred epochs"] == found["honest"].counts["convicted epochs"] == 0


def test_numbers_of_other_kernels_agree_without_being_the_same() -> None:
    def shown(source: bytes, kernels: bytes) -> list[RevealedRow]:
        return [numbers(source, at, kernels) for at in range(16)]

    tolerance = CheckRules().reveal_tolerance_milli
    assert agree(shown(TRUE, MOST), shown(TRUE, MOST), 0)
    assert agree(shown(TRUE, OTHER), shown(TRUE, OTHER), 0)
    assert not agree(shown(TRUE, MOST), shown(TRUE, OTHER), 0)
    assert agree(shown(TRUE, MOST), shown(TRUE, OTHER), tolerance)
    assert not agree(shown(TRUE, MOST), shown(RING, MOST), tolerance)


def test_honest_validators_of_the_minority_are_not_barred_for_what_only_equal_kernels_see() -> None:
    """Decision 024: without J4 the same seed bars some of them."""
    world = World(
        Setting({"honest": 7, "laundered int8": 4}, 1, clients=CLIENTS, answers_per_node=25, checks=UNMOVED), SEED
    )
    world.run()
    honest = [o for o in world.operators if o.strategy.name == "honest"]
    minority = [o.nodes[0].public for o in honest if world.committees.foreign[o.nodes[0].public]]
    assert len(minority) > 1
    assert sum(o.counts["INVALIDATED"] for o in world.operators if o not in honest) > 20
    assert not any(o.counts["barred epochs"] for o in honest), f"seed {SEED}"


def test_asking_oneself_loses_even_where_computing_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    free = Assumptions(token_cost_micro=0.0)
    strategy = "deals with itself, known"
    monkeypatch.setitem(BY_NAME, strategy, replace_strategy(BY_NAME[strategy], dealt=6.0))
    found = played({"honest": 8, strategy: 2}, assume=free, economy=EconomyRules(emission_micro=10**9), seeds=3)
    assert percent(found, strategy) < 90, f"seed {SEED}"
    assert found[strategy].counts["dealt"] > 150


# -- where it must pay -------------------------------------------------------------------------------------------------


def test_asking_oneself_pays_where_emission_is_not_capped() -> None:
    rules = EconomyRules(emission_micro=10**7, emission_cap_milli=1 << 62)
    found = played({"honest": 8, "deals with itself, unknown": 2}, economy=rules)
    assert percent(found, "deals with itself, unknown") > 115, f"seed {SEED}"


def test_cheating_pays_where_nobody_looks() -> None:
    """Every rule that has answers checked is turned off, except the floor of one in a hundred; reputation comes at
    once."""
    blind = replace(
        CheckRules(), min_checked_tokens=0, min_checks=0, saving_micro=0, reputation_gain=100, false_accept_ppm=0,
        shared_kernels_milli=0,
    )
    dear = Assumptions(saved={**SAVED, "laundered_int8": 0.9}, token_cost_micro=8.0)
    found = played({"honest": 6, "patient stranger": 3}, epochs=5, answers=30, checks=blind, assume=dear)
    assert found["patient stranger"].counts["cheated"] > 100
    assert percent(found, "patient stranger") > 130, f"seed {SEED}"
