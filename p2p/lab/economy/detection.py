"""How likely a check sees a cheat, from the verification table. Law: nothing is invented; a rate between two measured lengths is interpolated, and
the ratio that a validator reports is drawn so that it passes the profile's threshold exactly that often.

The table gives, for each row (case, executor's stack, validator's stack), the share of answers of N tokens that pass the threshold T(N). The
sequential test adds ratios up, so their size below T matters too. A sum over N tokens is near to normal: mean m N, spread s sqrt(N). Two
numbers, fitted to the row: (m N - T(N)) / (s sqrt(N)) is the normal quantile of the rate. Where a row is 0 or 1 almost everywhere nothing can
be fitted: a flagged answer then counts what the ledger lets it count at most, an unflagged one what an honest one does.
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
HONEST, FAKE = "honest", "fake"  # an answer as it should be; one without any model, which stage 0 refuses without looking further
SAME, ACROSS = "same", "across"
# what a cheat is measured as: the table's case, made by vLLM and checked by vLLM with equal kernels (same) or by torch (across)
CASES = {HONEST: "honest_b16", "int8": "int8", "int4": "int4", "laundered_int8": "laundered_int8", "laundered_int4": "laundered_int4",
         "smaller_model": "smaller_model", "laundered_smaller_model": "laundered_smaller_model"}
HONEST_MEAN_MILLI, HONEST_SPREAD_MILLI = -3000.0, 1000.0  # of an honest answer that is not flagged: below 0, near the least the test counts
_FITTED = (0.01, 0.99)  # rates between which a row says something about mean and spread
_LEAST = 1 / 20_000  # the table resampled each rate so often: 0 and 1 mean no more than that
_MOST = 1_000_000  # a verdict has no place for more
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Row:
    """lengths, rates: of the table. limits_milli: the profile's threshold at each length. mean_milli, spread_milli: of one token's ratio, None
    where the row cannot say."""

    lengths: tuple[int, ...]
    rates: tuple[float, ...]
    limits_milli: tuple[int, ...]
    mean_milli: float | None
    spread_milli: float | None

    def rate(self, tokens: int) -> float:
        """Share of answers of so many tokens that one check flags."""
        return _NORMAL.cdf(self._at(tokens, [_quantile(rate) for rate in self.rates]))

    def limit_milli(self, tokens: int) -> int:
        return math.ceil(self._at(tokens, list(self.limits_milli)))

    def _at(self, tokens: int, values: list[float] | list[int]) -> float:
        return float(np.interp(math.log2(max(tokens, 1)), np.log2(self.lengths), values))

    def llr_milli(self, tokens: int, rate: float, rng: np.random.Generator) -> int:
        """What validators of one stack measure on one answer; above `limit_milli` with probability `rate`."""
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
    good = [(n, t, _quantile(r)) for n, r, t in zip(lengths, rates, limits, strict=True) if _FITTED[0] < r < _FITTED[1]]
    mean = spread = None
    if len(good) >= 2:
        design = np.array([[n, -math.sqrt(n) * z] for n, _, z in good])
        found, _, rank, _ = np.linalg.lstsq(design, np.array([t for _, t, _ in good], dtype=float), rcond=None)
        if rank == 2 and found[1] > 0:
            mean, spread = float(found[0]), float(found[1])
    return Row(tuple(lengths), tuple(rates), tuple(limits), mean, spread)


@cache
def data() -> dict[str, Any]:
    """The shipped data file: `from` says what it was made of (extract.py)."""
    body: dict[str, Any] = json.loads(FILE.read_text())
    return body


@cache
def rows() -> dict[tuple[str, str], Row]:
    """(kind of answer, SAME or ACROSS) -> row, from the shipped data file."""
    body = data()
    return {
        (kind, pair): fitted(body["lengths"], body["rates"][f"{kind}/{pair}"], body["limits_milli"][pair])
        for kind in CASES for pair in (SAME, ACROSS)
    }


def false_alarm_rate(row: Row, tokens: int, checks: CheckRules) -> float:
    """Of an honest answer: what the profile promises at most, although less was measured."""
    return max(row.rate(tokens), checks.false_alarm_ppm / 1e6)
