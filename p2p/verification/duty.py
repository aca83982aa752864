"""Who checks which inference, and how often an honest validator may be wrong.

Law: nobody chooses. Draws come from a beacon that appeared AFTER the artifact's root was on chain; integers only.

Committees, the share of inferences that is checked, the positions at which a validator reveals its own numbers, and the
exact binomial test for conviction.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from math import comb

from p2p.base.genesis import CheckRules
from p2p.base.keys import digest
from p2p.base.serving_limits import REVEAL_POSITIONS
from p2p.base.weighted_draw import WeightedDraw

FULL = 1000  # thousandths: everything is checked
MIN_SHARE_MILLI = 10  # 1 %: at the highest reputation
MAX_REPUTATION = 100
_PPM = 1_000_000
_PPB = 1_000_000_000
_CONTEXT = Context(prec=50, rounding=ROUND_HALF_EVEN, Emin=-999_999_999, Emax=999_999_999, traps=[])
_MARGIN = Decimal("1e-30")  # relative; closer to the limit than this, the sum in decimals does not decide
_SMALL = Decimal("1e-40")  # relative; terms below it end the sum


def draw_validators(
    beacon: bytes, inference_id: bytes, checking: WeightedDraw, exclude: Iterable[bytes], count: int
) -> tuple[bytes, ...]:
    """The committee, `count` nodes drawn by weight. checking: weights of validators. exclude: the executor and its
    owner's other peers."""
    return checking.draw(b"draw-validators", beacon, inference_id, exclude, count)


def is_sampled(beacon: bytes, inference_id: bytes, probability_milli: int) -> bool:
    """Whether the beacon selects this inference to be checked, with the given probability in thousandths."""
    return int.from_bytes(digest(b"sample", beacon, inference_id)[:8], "big") % FULL < probability_milli


def check_probability_milli(reputation: int, checked_tokens: int, booked_before: int, rules: CheckRules) -> int:
    """Share of an executor's inferences that is checked, in thousandths.

    By reputation: all at 0, 1 % at 100, linear between. All while fewer than min_checked_tokens of its output tokens
    were checked in this epoch. Never below the deterrence bound, and never so low that with the last epoch's traffic
    fewer than min_checks are expected. reputation: 0..100. checked_tokens: in this epoch. booked_before: its inferences
    of the last epoch that were paid for.
    """
    if checked_tokens < rules.min_checked_tokens:
        return FULL
    by_reputation = max(MIN_SHARE_MILLI, FULL - reputation * (FULL - MIN_SHARE_MILLI) // MAX_REPUTATION)
    by_traffic = -(-rules.min_checks * FULL // max(booked_before, 1))
    return min(FULL, max(by_reputation, by_traffic, deterrence_milli(rules)))


def deterrence_milli(rules: CheckRules) -> int:
    """The smallest share p in thousandths with p > C / ((1 - r)(R + S)); below it cheating pays (arXiv 2405.00295).

    C: what a false answer saves, R: the reward, S: what can be slashed (all micro), r: the probability that a check
    accepts it.
    """
    at_stake = (_PPM - rules.false_accept_ppm) * (rules.reward_micro + rules.slashable_micro)
    if at_stake == 0:
        return FULL  # nothing to lose, or checks that detect nothing: no share deters
    return min(FULL, rules.saving_micro * _PPM * FULL // at_stake + 1)


def reveal_positions(beacon: bytes, inference_id: bytes, validator: bytes, length: int) -> tuple[int, ...]:
    """Up to REVEAL_POSITIONS output positions below `length`, ascending.

    Half of them are the same for all validators of a committee, so that any two can be compared however long the answer
    is; half are the validator's own. beacon: the one that drew the committee.
    """
    if length <= REVEAL_POSITIONS:
        return tuple(range(length))
    half = REVEAL_POSITIONS // 2
    common = pick((beacon, inference_id), length, half)
    own = [p for p in pick((beacon, inference_id, validator), length, REVEAL_POSITIONS) if p not in common]
    return tuple(sorted((*common, *own[:half])))


def pick(seed: tuple[bytes, ...], length: int, count: int) -> tuple[int, ...]:
    """`count` distinct numbers below `length`: the first steps of a Fisher-Yates shuffle by digests of `seed`. The bias
    of the modulo is below 2^-230."""
    moved: dict[int, int] = {}
    picked = []
    for at in range(count):
        other = at + int.from_bytes(digest(b"reveal", *seed, at.to_bytes(4, "big")), "big") % (length - at)
        picked.append(moved.get(other, other))
        moved[other] = moved.get(at, at)
    return tuple(picked)


def tail_below(successes: int, trials: int, rate_ppm: int, limit_ppb: int, looks: int = 1) -> bool:
    """Whether P(X >= successes) < limit / looks for X binomial(trials, rate). Exact, and its cost grows far slower than
    the trials.

    rate_ppm: in millionths. limit_ppb: in billionths. looks: number of times that somebody looks (Bonferroni).

    The median is at least the mean rounded down, so up to there P is at least one half. Beyond it a sum with fifty
    digits decides, unless it lies closer to the limit than its error: only then the sum is taken in whole numbers.
    """
    if successes * _PPM <= trials * rate_ppm and 2 * limit_ppb <= _PPB * looks:
        return False
    if not 0 < successes <= trials or not 0 < rate_ppm < _PPM:
        certain = successes <= 0 or (rate_ppm == _PPM and successes <= trials)
        return (_PPB * looks if certain else 0) < limit_ppb
    if successes * _PPM > trials * rate_ppm:
        with localcontext(_CONTEXT):
            ratio = _upper_tail(successes, trials, rate_ppm) * _PPB * looks - limit_ppb
            if abs(ratio) > limit_ppb * _MARGIN:
                return ratio < 0
    return _is_below(successes, trials, rate_ppm, limit_ppb, looks)


def _upper_tail(successes: int, trials: int, rate_ppm: int) -> Decimal:
    """P(X >= successes) for successes above the mean, with a relative error far below _MARGIN. There each term is
    smaller than the one before, so the sum ends after a few standard deviations."""
    odds, rest = Decimal(rate_ppm) / (_PPM - rate_ppm), trials - successes
    first = (Decimal(rate_ppm) / _PPM) ** successes * (Decimal(_PPM - rate_ppm) / _PPM) ** rest
    for at in range(1, min(successes, rest) + 1):
        first = first * (trials - at + 1) / at
    whole, term = Decimal(1), Decimal(1)
    for at in range(successes, trials):
        term = term * (trials - at) / (at + 1) * odds
        whole += term
        if term < whole * _SMALL:
            break
    return first * whole


def _is_below(successes: int, trials: int, rate_ppm: int, limit_ppb: int, looks: int) -> bool:
    """`tail_below` in whole numbers of any size."""
    rest = _PPM - rate_ppm

    def weight(count: int) -> int:
        return int(comb(trials, count) * pow(rate_ppm, count) * pow(rest, trials - count))

    whole: int = pow(_PPM, trials)
    short_way = successes * 2 > trials  # sum the fewer terms
    tail = sum(map(weight, range(successes, trials + 1))) if short_way else whole - sum(map(weight, range(successes)))
    return tail * _PPB * looks < limit_ppb * whole


def convicts(outliers: int, trials: int, rate_ppm: int, limit_ppb: int) -> bool:
    """Whether so many outliers in so many trials are beyond chance for a validator whose honest rate is `rate_ppm`,
    however often one looks.

    The k-th outlier is the k-th look, tested at limit / (k (k + 1)). These limits add up to the whole limit, and the
    k-th outlier comes within m trials with probability P(X_m >= k). So an honest validator is convicted in an epoch
    with probability below the limit.
    """
    return outliers > 0 and tail_below(outliers, trials, rate_ppm, limit_ppb, outliers * (outliers + 1))
