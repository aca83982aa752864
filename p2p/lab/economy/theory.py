"""When a single cheated answer pays, and when an epoch of them, in closed form. Law: for plots only; tests play it on
the ledger and compare what a refused answer and a conviction cost.

Amounts are shares of the answer's fee.
"""

from __future__ import annotations

import math

from p2p.base.genesis import EconomyRules

MILLI = 1000


def kept(rules: EconomyRules) -> float:
    """The executor's share of a fee that stands (rule M8)."""
    return 1 - (rules.burn_share_milli + rules.validator_share_milli) / MILLI


def lost(check: float, seen: float, *, fined: bool) -> float:
    """Mean number of fees forfeited for one cheated answer.

    check: probability that it is checked. seen: probability that a check finds it. fined: with the fine of rule M16, (1
    - check) / check fees on top of its own.
    """
    return seen if fined else seen * check


def cheat_gain(saved: float, check: float, seen: float, rules: EconomyRules, *, fined: bool) -> float:
    """What one cheated answer gains against an honest one, in fees. saved: share of the fee that cheating saves. What a
    conviction takes (M7) is left out, in the cheat's favour."""
    return saved - lost(check, seen, fined=fined) * kept(rules)


def epoch_gain(
    saved: float, seen: float, answers: float, convicted: float, collateral: float, rules: EconomyRules
) -> float:
    """What an epoch with `answers` cheated answers gains, in fees.

    convicted: probability that the sequential test convicts in it, which takes the epoch's fees (M7) and a share of the
    collateral (M10). The exclusion that follows is left out, in the cheat's favour.
    """
    single = cheat_gain(saved, 1.0, seen, rules, fined=True)
    taken = slashed(collateral, rules) + answers * (1 - seen) * kept(rules)
    return answers * single - convicted * taken


def slashed(collateral: float, rules: EconomyRules) -> float:
    return collateral * rules.slash_milli / MILLI


def collateral_edge(saved: float, seen: float, answers: float, convicted: float, rules: EconomyRules) -> float:
    """The least collateral, in fees, with which such an epoch does not pay: 0 where it never pays, infinite where
    nobody is convicted.
    """
    gain = epoch_gain(saved, seen, answers, convicted, 0.0, rules)
    if gain <= 0:
        return 0.0
    return gain / (convicted * rules.slash_milli / MILLI) if convicted and rules.slash_milli else math.inf
