"""Scenarios over seeds, and what they come to. Law: the same seeds give the same results, however many processes share the work.

An operator's profit per epoch is one sample; the interval of a strategy's mean is Student's over its operators of all seeds.
"""

from __future__ import annotations

import math
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from p2p.economy.scenarios import Scenario
from p2p.economy.world import World

# 97.5 % quantiles of Student's distribution by degrees of freedom; beyond the table the normal one
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120)


@dataclass(frozen=True, slots=True)
class Outcome:
    """strategy: name. profits: micro-credits, one row an operator of some seed, one column an epoch. counts: of all of them."""

    strategy: str
    profits: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    counts: dict[str, int]

    def mean(self, first: int = 0) -> float:
        return float(self.profits[:, first:].mean())

    def spread(self, first: int = 0) -> float:
        """Half of the mean's 95 % interval; infinite for a single operator."""
        samples = self.profits[:, first:].mean(axis=1)
        if len(samples) < 2:
            return math.inf
        factor = _STUDENT[len(samples) - 2] if len(samples) - 2 < len(_STUDENT) else 1.96
        return float(factor * samples.std(ddof=1) / math.sqrt(len(samples)))

    def cumulative(self) -> list[float]:
        """Of the mean operator, after each epoch."""
        return [float(x) for x in self.profits.mean(axis=0).cumsum()]


def play(scenario: Scenario, seed: int) -> list[tuple[str, list[float], dict[str, int]]]:
    world = World(scenario.setting, seed)
    world.run()
    return [(o.strategy.name, o.profits, o.counts) for o in world.operators]


def outcomes(scenario: Scenario, first_seed: int, jobs: int = 1, say: Callable[[str], None] = lambda text: None) -> dict[str, Outcome]:
    """strategy -> outcome, in the order of the mix."""
    seeds = range(first_seed, first_seed + scenario.seeds)
    started = time.monotonic()
    work = [(scenario, seed) for seed in seeds]
    if jobs == 1:
        played = [play(*one) for one in work]
    else:
        with multiprocessing.get_context("fork").Pool(jobs) as pool:
            played = pool.starmap(play, work, chunksize=1)
    say(f"{scenario.name}: {scenario.setting.epochs} epochs with seeds {list(seeds)} in {time.monotonic() - started:.0f} s")
    return gathered(played)


def gathered(played: Sequence[Sequence[tuple[str, list[float], dict[str, int]]]]) -> dict[str, Outcome]:
    found: dict[str, tuple[list[list[float]], Counter[str]]] = {}
    for rows in played:
        for name, profits, counts in rows:
            series, total = found.setdefault(name, ([], Counter()))
            series.append(profits)
            total.update(counts)
    return {name: Outcome(name, np.array(series), dict(total)) for name, (series, total) in found.items()}
