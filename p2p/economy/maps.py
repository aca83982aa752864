"""Where the edges are: grids of parameters, each cell a small run of the same simulator. Law: one cell, one setting, one number: what a
strategy earns more (or less) than honesty, in percent of it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from p2p.economy.assumptions import SAVED, Assumptions
from p2p.economy.scenarios import Scenario
from p2p.economy.trial import play_all
from p2p.economy.world import Setting
from p2p.genesis import CheckRules, EconomyRules

NO_CAP = 1 << 62
CLIENTS = 200


@dataclass(frozen=True, slots=True)
class Grid:
    """gains: percent of honest profit, by row (y) and column (x)."""

    name: str
    title: str
    x_label: str
    y_label: str
    xs: Sequence[float]
    ys: Sequence[float]
    gains: list[list[float]] = field(default_factory=list)


def gain(setting: Setting, strategy: str, seed: int) -> float:
    found = play_all([Scenario("map", setting, 1)], seed)["map"]
    honest = found["honest"].mean()
    return 100 * (found[strategy].mean() - honest) / abs(honest)


Cell = Callable[[float, float], tuple[Setting, str]]


def _dealing(cap: int) -> Cell:
    """x: emission of an epoch in percent of its fees; y: cost of a token in micro-credits."""
    def cell(emission: float, cost: float) -> tuple[Setting, str]:
        assume = Assumptions(token_cost_micro=cost)
        answers, operators = 10, 20
        fees = operators * answers * (assume.mean_tokens + assume.prompt_tokens) * assume.price_micro
        rules = EconomyRules(emission_micro=round(fees * emission / 100), emission_cap_milli=cap)
        mix = {"honest": operators - 4, "deals with itself, unknown": 4}
        return Setting(mix, 2, clients=CLIENTS, economy=rules, assume=assume, answers_per_node=answers), "deals with itself, unknown"

    return cell


def _patient(checks: float, saved: float) -> tuple[Setting, str]:
    """x: least inferences checked in an epoch (min_checks, of about 60); y: share of the cost that the cheat saves. Reputation comes in one
    epoch here."""
    rules = replace(CheckRules(), min_checks=int(checks), reputation_gain=100)
    assume = Assumptions(saved={**SAVED, "laundered_int4": saved})
    return Setting({"honest": 5, "patient": 3}, 4, clients=CLIENTS, checks=rules, assume=assume, answers_per_node=60), "patient"


def _clique(share: float, cheated: float) -> tuple[Setting, str]:
    """x: share of all weight that colludes, percent; y: unused."""
    del cheated
    count = round(20 * share / 100)
    return Setting({"honest": 20 - count, "clique": count}, 4, clients=CLIENTS, answers_per_node=12), "clique"


def _lazy(strategy: str) -> Cell:
    """x: cost of a check in percent of the generation; y: unused."""
    def cell(share: float, unused: float) -> tuple[Setting, str]:
        del unused
        assume = Assumptions(check_share=share / 100)
        return Setting({"honest": 16, strategy: 4}, 3, clients=CLIENTS, assume=assume, answers_per_node=12), strategy

    return cell


def plans(*, tiny: bool) -> list[tuple[Grid, Cell]]:
    few = slice(None, None, 3) if tiny else slice(None)
    emission, cost = [5.0, 20.0, 80.0, 200.0][few], [0.0, 3.0, 6.0][few]
    costs = [5.0, 20.0, 50.0, 85.0][few]
    dealing = "asks itself, unknown account: gain, %"
    axes = ("emission, % of fees", "cost of a token (price 10)", emission, cost)
    found: list[tuple[Grid, Cell]] = [
        (Grid("dealing_uncapped", f"{dealing}; emission not capped", *axes), _dealing(NO_CAP)),
        (Grid("dealing_default", f"{dealing}; default rules", *axes), _dealing(EconomyRules().emission_cap_milli)),
        (Grid("patient", "laundered int4 while hardly checked: gain, %", "answers checked in an epoch, of 60 (min_checks)",
              "share of cost saved", [1.0, 3.0, 10.0, 20.0][few], [0.2, 0.5, 0.8][few]), _patient),
        (Grid("clique", "clique: gain, % of honest profit", "share of weight, %", "",
              [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0][few], [0.0]), _clique),
        (Grid("silent", "silent validator: gain, % of honest profit", "cost of a check, % of generation", "", costs, [0.0]),
         _lazy("silent validator")),
        (Grid("lazy", "lazy validator: gain, % of honest profit", "cost of a check, % of generation", "", costs, [0.0]), _lazy("lazy validator")),
    ]
    return found


def draw(seed: int, jobs: int, *, tiny: bool, say: Callable[[str], None]) -> list[Grid]:
    found = []
    for grid, cell in plans(tiny=tiny):
        work = [(*cell(x, y), seed) for y in grid.ys for x in grid.xs]
        if jobs == 1:
            gains = [gain(*one) for one in work]
        else:
            with multiprocessing.get_context("fork").Pool(jobs) as pool:
                gains = pool.starmap(gain, work, chunksize=1)
        rows = [gains[at : at + len(grid.xs)] for at in range(0, len(gains), len(grid.xs))]
        found.append(Grid(grid.name, grid.title, grid.x_label, grid.y_label, grid.xs, grid.ys, rows))
        say(f"map {grid.name}: {len(work)} runs")
    return found
