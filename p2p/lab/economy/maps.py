"""Under which parameters cheating begins to pay: grids whose cells are small runs of the simulator. Law: a cell is one
setting and one number, what a strategy earns more (or less) than honesty, in percent of honest profit.
"""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace

from p2p.base.genesis import CheckRules, EconomyRules
from p2p.lab.economy.assumptions import SAVED, Assumptions
from p2p.lab.economy.detection import ACROSS, HONEST, rows
from p2p.lab.economy.scenarios import Scenario
from p2p.lab.economy.theory import MILLI, epoch_gain, kept
from p2p.lab.economy.trial import play_all
from p2p.lab.economy.world import Setting
from p2p.verification.sequential import Evidence

NO_CAP = 1 << 62  # emission_cap_milli that never binds
CLIENTS = 200
TRIALS = 200  # simulated epochs of the sequential test for one probability of the closed form
COMMITTEE = 3  # validators that check an answer
STAKE_EPOCHS = 12  # played for the map of collateral: evidence adds up over epochs
SHORT = Assumptions(answers=(64, 128, 200))  # answers so short that a single one is hardly ever found across stacks


@dataclass(frozen=True, slots=True)
class Grid:
    name: str
    title: str
    x_label: str
    y_label: str
    xs: Sequence[float]
    ys: Sequence[float]
    gains: list[list[float]] = field(default_factory=list)  # percent of honest profit, by row (y) and column (x)


def gain(setting: Setting, strategy: str, seed: int) -> float:
    """What the strategy earns more than honesty, in percent of honest profit."""
    found = play_all([Scenario("map", setting, 1)], seed)["map"]
    honest = found["honest"].mean()
    return 100 * (found[strategy].mean() - honest) / abs(honest)


Cell = Callable[[float, float], tuple[Setting, str] | float]  # (x, y) -> what to play, or the gain of a closed form


def _dealing(cap: int) -> Cell:
    """x: emission of an epoch in percent of its fees; y: cost of a token in micro-credits."""
    def cell(emission: float, cost: float) -> tuple[Setting, str]:
        assume = Assumptions(token_cost_micro=cost)
        answers, operators = 10, 20
        fees = operators * answers * assume.fee_micro
        rules = EconomyRules(emission_micro=round(fees * emission / 100), emission_cap_milli=cap)
        mix = {"honest": operators - 4, "deals with itself, unknown": 4}
        setting = Setting(mix, 2, clients=CLIENTS, economy=rules, assume=assume, answers_per_node=answers)
        return setting, "deals with itself, unknown"

    return cell


def _patient(checks: float, saved: float) -> tuple[Setting, str]:
    """x: min_checks, the least number of inferences checked in an epoch, of about 60; y: share of the cost that the
    cheat saves. Full reputation takes one epoch here."""
    rules = replace(CheckRules(), min_checks=int(checks), reputation_gain=100)
    assume = Assumptions(saved={**SAVED, "laundered_int4": saved})
    mix = {"honest": 5, "patient": 3}
    return Setting(mix, 4, clients=CLIENTS, checks=rules, assume=assume, answers_per_node=60), "patient"


def _collateral(collateral: float, answers: float) -> tuple[Setting, str]:
    """x: collateral, as a multiple of one operator's fees in an epoch; y: answers of an operator in an epoch, all
    short."""
    deposit = round(collateral * answers * SHORT.fee_micro)
    mix = {"honest": 5, "stranger int8": 3}
    setting = Setting(
        mix, STAKE_EPOCHS, clients=CLIENTS, assume=SHORT, answers_per_node=answers, deposit_micro=deposit,
    )
    return setting, "stranger int8"


def collateral_form(collateral: float, answers: float) -> float:
    """The same in closed form, percent of honest profit: one epoch without the evidence of earlier ones, all answers
    checked."""
    rules, row, tokens = EconomyRules(), rows()["laundered_int8", ACROSS], round(SHORT.mean_tokens)
    seen = float(np.mean([row.rate(n) for n in SHORT.answers]))
    cost = SHORT.answer_micro(HONEST, tokens)
    saved = (cost - SHORT.answer_micro("laundered_int8", tokens)) / SHORT.fee_micro
    gain = epoch_gain(saved, seen, answers, _convicted(round(answers)), collateral * answers, rules)
    share, checking = kept(rules) + rules.validator_share_milli / MILLI, COMMITTEE * SHORT.check_micro(HONEST, tokens)
    honest = share * SHORT.fee_micro - cost - checking
    return 100 * gain * SHORT.fee_micro / (honest * answers)


@functools.cache
def _convicted(answers: int) -> float:
    """How often the sequential test convicts within an epoch of `answers` checked answers."""
    rng, row, rules = np.random.default_rng(1), rows()["laundered_int8", ACROSS], CheckRules()
    found = 0
    for _ in range(TRIALS):
        evidence = Evidence()
        for tokens in rng.choice(SHORT.answers, answers):
            ratio = row.llr_milli(int(tokens), row.rate(int(tokens)), rng)
            evidence = evidence.updated(ratio, rules.llr_cap_milli, by_lot=False, late=False)
            if evidence.reached(rules.conviction_milli) is not None:
                found += 1
                break
    return found / TRIALS


def _clique(share: float, cheated: float) -> tuple[Setting, str]:
    """x: share of all weight that colludes, in percent; y: unused."""
    del cheated
    count = round(20 * share / 100)
    return Setting({"honest": 20 - count, "clique": count}, 4, clients=CLIENTS, answers_per_node=12), "clique"


def _lazy(strategy: str) -> Cell:
    """x: cost of a check, in percent of the generation's; y: unused."""
    def cell(share: float, unused: float) -> tuple[Setting, str]:
        del unused
        assume = Assumptions(check_share=share / 100)
        return Setting({"honest": 16, strategy: 4}, 3, clients=CLIENTS, assume=assume, answers_per_node=12), strategy

    return cell


def plans(*, tiny: bool) -> list[tuple[Grid, Cell]]:
    """Every map without its gains, and what its cells are. tiny: only every third value of each axis that is played."""
    few = slice(None, None, 3) if tiny else slice(None)
    emission, cost = [5.0, 20.0, 80.0, 200.0][few], [0.0, 3.0, 6.0][few]
    costs = [5.0, 20.0, 50.0, 85.0][few]
    dealing = "asks itself, unknown account: gain, %"
    axes = ("emission, % of fees", "cost of a token (price 10)", emission, cost)
    stake_axes = ("collateral, in an epoch's fees", "answers in an epoch, of 64 to 200 tokens")
    stranger = "laundered int8 as a stranger, short answers: gain, %"
    of_honest, cost_of_check = "gain, % of honest profit", "cost of a check, % of generation"
    found: list[tuple[Grid, Cell]] = [
        (Grid("dealing_uncapped", f"{dealing}; emission not capped", *axes), _dealing(NO_CAP)),
        (Grid("dealing_default", f"{dealing}; default rules", *axes), _dealing(EconomyRules().emission_cap_milli)),
        (Grid(
            "patient", "laundered int4 while hardly checked: gain, %",
            "answers checked in an epoch, of 60 (min_checks)", "share of cost saved",
            [1.0, 3.0, 10.0, 20.0][few], [0.2, 0.5, 0.8][few],
        ), _patient),
        (Grid(
            "clique", "clique: gain, % of honest profit", "share of weight, %", "",
            [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0][few], [0.0],
        ), _clique),
        (Grid("silent", f"silent validator: {of_honest}", cost_of_check, "", costs, [0.0]), _lazy("silent validator")),
        (Grid("lazy", f"lazy validator: {of_honest}", cost_of_check, "", costs, [0.0]), _lazy("lazy validator")),
        (Grid(
            "collateral", f"{stranger}; {STAKE_EPOCHS} epochs played", *stake_axes,
            [0.0, 2.0, 10.0][few], [4.0, 8.0, 16.0][few],
        ), _collateral),
        (Grid(
            "collateral_form", f"{stranger}; an epoch alone", *stake_axes,
            [0.0, 1.0, 2.0, 5.0, 10.0, 20.0], [4.0, 8.0, 12.0, 16.0, 24.0, 32.0],
        ), collateral_form),
    ]
    return found


def draw(seed: int, jobs: int, *, tiny: bool, say: Callable[[str], None]) -> list[Grid]:
    """All maps with their gains. jobs: processes. say: takes a line of progress."""
    found = []
    for grid, cell in plans(tiny=tiny):
        cells = [cell(x, y) for y in grid.ys for x in grid.xs]
        gains = [one for one in cells if isinstance(one, float)]  # from a closed form
        work = [(*one, seed) for one in cells if not isinstance(one, float)]
        if jobs == 1:
            gains += [gain(*one) for one in work]
        else:
            with multiprocessing.get_context("fork").Pool(jobs) as pool:
                gains += pool.starmap(gain, work, chunksize=1)
        rows = [gains[at : at + len(grid.xs)] for at in range(0, len(gains), len(grid.xs))]
        found.append(Grid(grid.name, grid.title, grid.x_label, grid.y_label, grid.xs, grid.ys, rows))
        say(f"map {grid.name}: {len(cells)} cells")
    return found
