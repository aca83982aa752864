"""Plays scenarios over many seeds and takes the means. Law: the same seeds give the same results, however many
processes share the work.

A sample is the mean profit per epoch of one operator in one seed's world. Most of its noise is luck in the draws. Luck
has mean 0 for every strategy, so it serves as a control variate: luck times its price (profit for one token more, by
least squares over honest operators) is subtracted, which changes no expectation. A strategy's interval is Student's
over its samples.
"""

from __future__ import annotations

import math
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import starmap

import numpy as np

from p2p.lab.economy.attacks import Attacked
from p2p.lab.economy.scenarios import Scenario
from p2p.lab.economy.strategies import VICTIM
from p2p.lab.economy.world import World

PROGRESS = 25  # epochs between two lines of progress, on stderr: every world is played in its own process
NORMAL_QUANTILE = 1.96  # 97.5 %
Series = np.ndarray[tuple[int, int], np.dtype[np.float64]]  # operators x epochs
# 97.5 % quantiles of Student's distribution by degrees of freedom; beyond the table the normal one
_STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120
)
Played = list[tuple[str, list[float], list[float], dict[str, int]]]  # of each operator: strategy, profits, luck, counts


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of all operators of one strategy."""

    strategy: str  # name
    profits: Series  # micro-credits without luck; the operators of all seeds
    counts: dict[str, int]  # of all operators and epochs

    def mean(self, first: int = 0) -> float:
        """Micro-credits per operator and epoch, from epoch `first` on."""
        return float(self.profits[:, first:].mean())

    def spread(self, first: int = 0) -> float:
        """Half of the mean's 95 % interval; infinite for a single operator."""
        samples = self.profits[:, first:].mean(axis=1)
        if len(samples) < 2:
            return math.inf
        factor = _STUDENT[len(samples) - 2] if len(samples) - 2 < len(_STUDENT) else NORMAL_QUANTILE
        return float(factor * samples.std(ddof=1) / math.sqrt(len(samples)))

    def cumulative(self) -> list[float]:
        """Profit of the mean operator so far, after each epoch."""
        return [float(x) for x in self.profits.mean(axis=0).cumsum()]


def play(scenario: Scenario, seed: int) -> Played:
    """One world, from its first epoch to its last."""
    attacked = VICTIM in scenario.setting.mix
    world, epochs = (Attacked if attacked else World)(scenario.setting, seed), scenario.setting.epochs
    for epoch in range(epochs):
        if epoch and epoch % PROGRESS == 0:
            print(f"{scenario.name}, seed {seed}: {epoch} of {epochs} epochs", file=sys.stderr, flush=True)
        world.epoch()
    return [(o.strategy.name, o.profits, o.luck, o.counts) for o in world.operators]


def _play(one: tuple[Scenario, int]) -> Played:
    return play(*one)


def play_all(
    scenarios: Sequence[Scenario], first_seed: int, jobs: int = 1, say: Callable[[str], None] = lambda text: None,
    at: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, dict[str, Outcome]]:
    """scenario name -> strategy -> outcome, in the order of the mix. jobs: processes. say: takes a line of progress.
    at: is told how many worlds of how many are played."""
    started = time.monotonic()
    work = [(scenario, first_seed + number) for scenario in scenarios for number in range(scenario.seeds)]
    played: list[Played] = []
    with ExitStack() as stack:
        found: Iterable[Played] = starmap(play, work)
        if jobs != 1:
            found = stack.enter_context(multiprocessing.get_context("fork").Pool(jobs)).imap(_play, work)
        for one in found:
            played.append(one)
            at(len(played), len(work))
    say(f"{len(work)} worlds in {time.monotonic() - started:.0f} s")
    return {
        scenario.name: gathered(
            [rows for (one, _), rows in zip(work, played, strict=True) if one is scenario]
        ) for scenario in scenarios
    }


def gathered(played: Sequence[Played]) -> dict[str, Outcome]:
    """strategy -> outcome over all worlds of one scenario."""
    found: dict[str, tuple[list[list[float]], list[list[float]], Counter[str]]] = {}
    for rows in played:
        for name, profits, luck, counts in rows:
            series, lucks, total = found.setdefault(name, ([], [], Counter()))
            series.append(profits)
            lucks.append(luck)
            total.update(counts)
    arrays = {name: (np.array(series), np.array(luck), dict(counts)) for name, (series, luck, counts) in found.items()}
    price = luck_price(*arrays["honest"][:2])
    return {name: Outcome(name, series - price * luck, counts) for name, (series, luck, counts) in arrays.items()}


def luck_price(profits: Series, luck: Series) -> float:
    """Micro-credits that an honest operator gains by one token of luck, by least squares."""
    x, y = luck.mean(axis=1), profits.mean(axis=1)
    spread = float(((x - x.mean()) ** 2).sum())
    return float(((x - x.mean()) * (y - y.mean())).sum()) / spread if spread > 0 else 0.0
