"""How likely a check finds a cheat, from the verification table. Law: nothing is invented; a rate between two measured
lengths is interpolated, and the ratio that a validator reports is drawn so that it passes the profile's threshold
exactly that often.

For each row (case, executor's stack, validator's stack) the table has the share of answers of N tokens whose
log-likelihood ratio passes the threshold T(N). The sequential test adds ratios up, so ratios below T matter too. A sum
over N tokens is close to normal, with mean m N and standard deviation s sqrt(N). m and s are fitted to the row: (m N -
T(N)) / (s sqrt(N)) is the normal quantile of the rate. Where a row is 0 or 1 almost everywhere nothing can be fitted:
then a flagged answer counts as much as the ledger allows, and another one like an honest answer.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from p2p.base.genesis import CheckRules

FILE = Path(__file__).parent / "detection.json"
HONEST = "honest"
FAKE = "fake"  # an answer made without any model, which stage 0 refuses without a prefill
# int8 drafts that keep so close to the right model that no check between different kernels tells them from honest
# answers (evasion.json): at its worst for the network
SMART = "smart_drafts"
# executor and validator have equal kernels (both vLLM), or different stacks (vLLM, torch)
SAME, ACROSS = "same", "across"
CASES = {  # kind of answer -> the table's case that it is measured as
    HONEST: "honest_b16", "int8": "int8", "int4": "int4", "laundered_int8": "laundered_int8",
    "laundered_int4": "laundered_int4", "smaller_model": "smaller_model",
    "laundered_smaller_model": "laundered_smaller_model",
}
# Ratio of an honest answer that is not flagged, thousandths of a nat: below 0, near the least that the test counts.
HONEST_MEAN_MILLI, HONEST_SPREAD_MILLI = -3000.0, 1000.0
_FITTED = (0.01, 0.99)  # rates between which a row says something about mean and spread
_LEAST = 1 / 20_000  # the table resampled each rate 20,000 times: a rate of 0 or 1 means no more than that
_MOST = 1_000_000  # the largest ratio that a verdict can hold, thousandths of a nat
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the verification table, and the distribution fitted to it. Ratios are in thousandths of a nat."""

    lengths: tuple[int, ...]  # of answers, in tokens, ascending
    rates: tuple[float, ...]  # share of answers of each length that one check flags
    limits_milli: tuple[int, ...]  # the profile's threshold at each length
    mean_milli: float | None  # of one token's ratio; None where the row cannot be fitted
    spread_milli: float | None  # standard deviation of one token's ratio; None as above

    def rate(self, tokens: int) -> float:
        """Share of answers of `tokens` tokens that one check flags."""
        return _NORMAL.cdf(self._at(tokens, [_quantile(rate) for rate in self.rates]))

    def limit_milli(self, tokens: int) -> int:
        """The threshold for answers of `tokens` tokens."""
        return math.ceil(self._at(tokens, list(self.limits_milli)))

    def _at(self, tokens: int, values: list[float] | list[int]) -> float:
        return float(np.interp(math.log2(max(tokens, 1)), np.log2(self.lengths), values))

    def llr_milli(self, tokens: int, rate: float, rng: np.random.Generator) -> int:
        """The ratio that validators of one stack measure on one answer: above `limit_milli` with probability `rate`."""
        limit, cap, flagged = self.limit_milli(tokens), CheckRules().llr_cap_milli, rng.random() < rate
        if self.mean_milli is not None and self.spread_milli is not None:
            ratio = round(self.mean_milli * tokens + self.spread_milli * math.sqrt(tokens) * float(rng.normal()))
        else:
            ratio = max(limit, cap) + 1 if flagged else round(rng.normal(HONEST_MEAN_MILLI, HONEST_SPREAD_MILLI))
        return min(max(ratio, limit + 1), _MOST) if flagged else max(min(ratio, limit), -_MOST)


def _quantile(rate: float) -> float:
    return _NORMAL.inv_cdf(min(max(rate, _LEAST), 1 - _LEAST))


def fitted(lengths: list[int], rates: list[float], limits: list[int]) -> Row:
    """Least squares of T(N) = m N - s sqrt(N) z(rate) over the lengths at which the rate is neither 0 nor 1."""
    good = [
        (n, t, _quantile(r)) for n, r, t in zip(lengths, rates, limits, strict=True) if _FITTED[0] < r < _FITTED[1]
    ]
    mean = spread = None
    if len(good) >= 2:
        design = np.array([[n, -math.sqrt(n) * z] for n, _, z in good])
        found, _, rank, _ = np.linalg.lstsq(design, np.array([t for _, t, _ in good], dtype=float), rcond=None)
        if rank == 2 and found[1] > 0:
            mean, spread = float(found[0]), float(found[1])
    return Row(tuple(lengths), tuple(rates), tuple(limits), mean, spread)


@cache
def data() -> dict[str, Any]:
    """The shipped data file. Its field `from` names its sources (extract.py)."""
    body: dict[str, Any] = json.loads(FILE.read_text())
    return body


@cache
def rows() -> dict[tuple[str, str], Row]:
    """(kind of answer, SAME or ACROSS) -> row, from the shipped data file."""
    body = data()
    found = {
        (kind, pair): fitted(body["lengths"], body["rates"][f"{kind}/{pair}"], body["limits_milli"][pair])
        for kind in CASES for pair in (SAME, ACROSS)
    }
    return found | {(SMART, SAME): found["laundered_int8", SAME], (SMART, ACROSS): found[HONEST, ACROSS]}


def false_alarm_rate(row: Row, tokens: int, checks: CheckRules) -> float:
    """How often an honest answer is flagged: the most that the profile allows, even where less was measured."""
    return max(row.rate(tokens), checks.false_alarm_ppm / 1e6)
