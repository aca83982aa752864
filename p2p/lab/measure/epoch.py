"""An executor's epoch in simulation: real facts of held-out answers, drawn with replacement, through the ledger's own
e-process.

Law: what the ledger would compute, on what was really measured; one draw of a seed is one epoch.
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
    """convicted_at: inferences until conviction, one per epoch that ended so. epochs: how many were played, each of
    `length` inferences.
    """

    epochs: int
    length: int
    convicted_at: tuple[int, ...]

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
    """llr_milli of each answer, as a validator reports it."""
    starts = facts.starts()
    return [weigh(facts.values[s : s + n], noise).llr_milli for s, n in zip(starts, facts.lengths, strict=True)]


def play(
    honest: Sequence[int], cheating: Sequence[int], share: float, *, epochs: int, length: int, seed: int
) -> Epochs:
    """Epochs of a host that cheats in `share` of its answers."""
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
