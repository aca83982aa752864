"""Simulates an executor's epochs from ratios that were really measured.

Law: the ledger's own e-process decides, on ratios of held-out answers drawn with replacement; the seed fixes the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p.base.genesis import CheckRules
from p2p.verification.sequential import SHARES_MILLI, Evidence

NEAR = 0.1  # nats; more than rounding adds up to
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


def play(
    honest: Sequence[int], cheating: Sequence[int], share: float, *, epochs: int, length: int, seed: int
) -> Epochs:
    """Play epochs of a host that cheats in `share` of its answers.

    honest, cheating: ratios (thousandths of a nat) that its answers are drawn from; length: inferences of an epoch. A
    quick sum in floating point says which epochs come near a conviction; these alone are played with the ledger's test.
    """
    rng, found = np.random.default_rng(seed), []
    own, other = np.asarray(honest or cheating), np.asarray(cheating or honest)
    for _ in range(epochs):
        cheats = (rng.random(length) < share) & bool(cheating)
        drawn = np.where(cheats, other[rng.integers(other.size, size=length)], own[rng.integers(own.size, size=length)])
        if _highest(drawn) < RULES.conviction_milli / 1000 - NEAR:
            continue
        evidence = Evidence()
        for number, ratio in enumerate(drawn.tolist(), 1):
            evidence = evidence.updated(ratio, RULES.llr_cap_milli, by_lot=False, late=False)
            if evidence.reached(RULES.conviction_milli) is not None:
                found.append(number)
                break
    return Epochs(epochs, length, tuple(found))


def _highest(ratios: NDArray[np.int64]) -> float:
    """The highest logarithm of the epoch's e-value, nats, as `Evidence` has it but for rounding."""
    cap, shares = RULES.llr_cap_milli / 1000, np.array(SHARES_MILLI)[:, None] / 1000
    steps = np.log1p(shares * np.expm1(np.clip(ratios / 1000, -cap, cap))) - np.log1p(shares * np.exp(-cap))
    logs = np.cumsum(steps, axis=1)
    top = np.maximum(logs.max(axis=0), 0.0)
    every = np.exp(logs - top).sum(axis=0) + len(SHARES_MILLI) * np.exp(-top)  # those drawn by lot stand at 1
    return float((top + np.log(every / (2 * len(SHARES_MILLI)))).max())
