"""Simulates an executor's epochs from ratios that were really measured.

Law: the ledger's own e-process decides, on ratios of held-out answers drawn with replacement; the seed fixes the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from p2p.base.genesis import CheckRules
from p2p.verification.calibration import Facts
from p2p.verification.check import weigh
from p2p.verification.profile import Noise
from p2p.verification.sequential import Evidence

RULES = CheckRules()  # a network's defaults


@dataclass(frozen=True, slots=True)
class Epochs:
    """What became of one kind of host."""

    epochs: int  # how many were played
    length: int  # inferences in each
    convicted_at: tuple[int, ...]  # inferences until the conviction, of each epoch that ended with one

    def row(self, name: str) -> dict[str, Any]:
        share = len(self.convicted_at) / self.epochs
        within = sum(n <= 200 for n in self.convicted_at) / self.epochs
        quantiles = [
            f"{np.quantile(self.convicted_at, q, method='higher'):.0f}" if self.convicted_at else "-"
            for q in (0.5, 0.99)
        ]
        return {
            "host": name, "epochs": self.epochs, "inferences": self.length, "convicted": f"{share:.4f}",
            "within 200": f"{within:.4f}",
            "median": quantiles[0], "99 %": quantiles[1],
        }


def ratios(facts: Facts, noise: Noise) -> list[int]:
    """The log-likelihood ratio of each answer as a validator reports it, thousandths of a nat."""
    starts = facts.starts()
    return [weigh(facts.values[s : s + n], noise).llr_milli for s, n in zip(starts, facts.lengths, strict=True)]


def play(
    honest: Sequence[int], cheating: Sequence[int], share: float, *, epochs: int, length: int, seed: int
) -> Epochs:
    """Play epochs of a host that cheats in `share` of its answers.

    honest, cheating: ratios (thousandths of a nat) that its answers are drawn from; length: inferences of an epoch.
    """
    rng, found = np.random.default_rng(seed), []
    for _ in range(epochs):
        evidence = Evidence()
        for number in range(1, length + 1):
            source = cheating if cheating and rng.random() < share else honest
            ratio = source[int(rng.integers(len(source)))]
            evidence = evidence.updated(ratio, RULES.llr_cap_milli, by_lot=False, late=False)
            if evidence.reached(RULES.conviction_milli) is not None:
                found.append(number)
                break
    return Epochs(epochs, length, tuple(found))
