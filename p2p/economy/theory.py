"""The edge of a single cheated answer in closed form. Law: only for the plot of regions; what it says a refused answer loses is what the ledger takes
in a test that plays it.

Amounts are shares of the answer's fee.
"""

from __future__ import annotations

from p2p.genesis import EconomyRules

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
