"""The edges of a single cheated answer and of an epoch of them in closed form. Law: only for plots of regions; what it says a refused answer or a
conviction loses is what the ledger takes in a test that plays it.

Amounts are shares of the answer's fee.
"""

from __future__ import annotations

import math

from p2p.base.genesis import EconomyRules

MILLI = 1000


def kept(rules: EconomyRules) -> float:
    """What an executor has of a fee that stands (M8)."""
    return 1 - (rules.burn_share_milli + rules.validator_share_milli) / MILLI


def lost(check: float, seen: float, *, fined: bool) -> float:
    """Fees forfeited in the mean for one cheated answer. check: probability that it is checked; seen: that a check then sees it. fined: with
    M16, (1 - check) / check fees besides its own."""
    return seen if fined else seen * check


def cheat_gain(saved: float, check: float, seen: float, rules: EconomyRules, *, fined: bool) -> float:
    """One cheated answer against an honest one. saved: of the fee, by cheating. Without what a conviction takes (M7), so in the cheat's favour."""
    return saved - lost(check, seen, fined=fined) * kept(rules)


def epoch_gain(saved: float, seen: float, answers: float, convicted: float, collateral: float, rules: EconomyRules) -> float:
    """An epoch in which so many answers are cheated, in fees. convicted: probability that the sequential test ends it in a conviction, which takes
    the fees of the epoch (M7) and a share of the collateral (M10). Without the exclusion that follows, so in the cheat's favour."""
    single = cheat_gain(saved, 1.0, seen, rules, fined=True)
    taken = slashed(collateral, rules) + answers * (1 - seen) * kept(rules)
    return answers * single - convicted * taken


def slashed(collateral: float, rules: EconomyRules) -> float:
    return collateral * rules.slash_milli / MILLI


def collateral_edge(saved: float, seen: float, answers: float, convicted: float, rules: EconomyRules) -> float:
    """The least collateral, in fees, from which on such an epoch does not pay: 0 where it never does, infinite where nobody is convicted."""
    gain = epoch_gain(saved, seen, answers, convicted, 0.0, rules)
    if gain <= 0:
        return 0.0
    return gain / (convicted * rules.slash_milli / MILLI) if convicted and rules.slash_milli else math.inf
