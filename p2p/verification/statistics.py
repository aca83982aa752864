"""The facts of each token of an answer, from one prefill. Law: pure; a function of the published row, the validator's
row and the tape.

Columns of a token's facts, in nats:
- lead: tape score of the chosen token minus that of the best other candidate, times the temperature. Positive where the
  tape really picks the chosen token. An honest executor's lead is negative by numerical noise only, so slightly; a
  cheat's as far as its model is wrong. A match rate would not say how close the tokens that matched were to losing,
  which is half of the information.
- gap: log p(best other candidate) - log p(chosen token), the signed gap in surprisal. Together with the lead it shows a
  wrong temperature, whose flips lean to one side.
- distance: root mean square of published minus own log-probabilities of the candidates, after subtracting their mean,
  weighted by the published probabilities.
- chosen: |published - own| log-probability of the chosen token, which is published in steps of 1/1024 nat.
- excess: how far the chosen token lies outside the mask (top-k, top-p, min-p) under the validator's numbers. 0 inside,
  and 0 where penalties hide from the validator which tokens the mask keeps.
- sure: the validator's log-probability of its likeliest token. Where a model is sure, all numbers agree and say little.

Source: Token-DiFR (arXiv 2511.20621) for replaying the sampling; the signed lead and the gap are ours (decision 012).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from p2p.base.types import Params
from p2p.verification import tape
from p2p.verification.artifact import TOP_STEPS_PER_NAT, Position
from p2p.verification.marks import MARKS, MarkedRow, is_masked
from p2p.verification.sampling import Sampling, SamplingState

Floats = NDArray[np.float64]
LEAD, GAP, DISTANCE, CHOSEN, EXCESS, SURE = range(6)  # columns of the facts, described above
COLUMNS = ("lead", "gap", "distance", "chosen", "excess", "sure")
CAP = 5.0  # nats; larger values say nothing more and are cut
ROW_TOP = 64  # candidates that a validator asks its engine for
_EPSILON = 1e-9  # nats; what rounding may do to a sum of logarithms
_FLOOR = -255 / TOP_STEPS_PER_NAT  # nats; the lowest log-probability that 8 bits hold: it says only 'this low or lower'


def answer_facts(
    positions: Sequence[Position], rows: Sequence[Mapping[int, float]], params: Params, seed: bytes, *,
    sampling: Sampling | None = None,
) -> Floats:
    """Facts of every token of an answer.

    rows: one per position, token id -> log-probability in nats; each must hold the chosen token. seed: of the tape, 32
    bytes. sampling: what moves the choice besides `params`. Returns float64 of shape (tokens, 6), columns as COLUMNS,
    cut to +-CAP. Raises KeyError if a row lacks its chosen token, ValueError if the lengths differ.
    """
    if len(positions) != len(rows):
        raise ValueError(f"{len(rows)} rows for {len(positions)} positions")
    out = np.zeros((len(positions), len(COLUMNS)))
    rules = sampling or Sampling(params)
    state = rules.begin()
    noises = tape.noise_of_rows(seed, rules.start, [list(row) for row in rows], params)
    for index, (position, row, noise) in enumerate(zip(positions, rows, noises, strict=True)):
        out[index, :2], out[index, EXCESS] = _replay(position.token, row, state, noise)
        out[index, DISTANCE], out[index, CHOSEN] = _numbers(position, row)
        out[index, SURE] = max(row.values())
        state.accept(position.token)
    return np.clip(out, -CAP, CAP)


def _replay(
    token: int, row: Mapping[int, float], state: SamplingState, noise: Floats
) -> tuple[tuple[float, float], float]:
    """((lead, gap), excess) of one token under the validator's numbers. noise: of the row's tokens. state: before that
    token."""
    params = state.sampling.params
    names = list(row)
    ids, logprobs = np.array(names, dtype=np.int64), np.array([row[name] for name in names])
    chosen = names.index(token)
    scale = params.temperature_milli / 1000.0 if params.temperature_milli else 1.0
    plain = state.moved(logprobs, ids)  # nats: penalties, biases, what is not allowed
    if not np.isfinite(plain[chosen]):  # not allowed at all, which stage 0 refuses
        return (-CAP, CAP), CAP
    free = plain + (noise * scale if params.temperature_milli else 0.0)
    if isinstance(row, MarkedRow):
        return _by_marks(chosen, (names.index(row.winner), names.index(row.least)), plain, free, state.sampling)
    ranked = _ranked(chosen, row, plain, state)
    above, known = int(np.count_nonzero(ranked)), ranked.copy()
    known[chosen] = True
    masked = np.full(len(names), -np.inf)
    masked[known] = tape.finish(plain[known], params, noise[known]) * scale
    inside = np.isfinite(masked)
    # else the mask keeps tokens that are not in the row, and its lowest value is not known
    whole = ranked.all() or above >= max(params.top_k, 1)
    excess = 0.0 if inside[chosen] or not whole else float(plain[inside].min() - plain[chosen])
    masked[chosen] = -np.inf
    best = int(np.argmax(masked))
    if not np.isfinite(masked[best]):
        return (CAP, -CAP), excess  # no other candidate is inside the mask
    return (float(free[chosen] - masked[best]), float(plain[best] - plain[chosen])), excess


def _by_marks(
    chosen: int, marks: tuple[int, int], plain: Floats, free: Floats, sampling: Sampling
) -> tuple[tuple[float, float], float]:
    """As _replay, exact: the engine saw all tokens. marks: places of the winner and of the least token inside the
    masks."""
    winner, least = marks
    floor = plain[least] if is_masked(sampling) else -np.inf
    excess = float(max(floor - plain[chosen], 0.0)) if np.isfinite(floor) else 0.0
    inside = np.isfinite(plain) & (plain >= floor)
    inside[winner], inside[chosen] = winner != chosen, False
    if not inside.any():
        return (CAP, -CAP), excess
    best = int(np.argmax(np.where(inside, free, -np.inf)))
    return (float(free[chosen] - free[best]), float(plain[best] - plain[chosen])), excess


def _ranked(chosen: int, row: Mapping[int, float], plain: Floats, state: SamplingState) -> NDArray[np.bool_]:
    """Mask over the row's candidates: True where no token outside the row can rank above the candidate (TAPE.md,
    section 6).

    Penalties and biases move tokens, and a grammar forbids some, so the best of a row need not be the best of the
    vocabulary. A token outside the row has at most the row's smallest value (not counting the chosen token, which may
    have been appended), moved as such a token is.
    """
    params, sampling = state.sampling.params, state.sampling
    masks = params.top_k or params.top_p_milli < 1000 or params.min_p_milli
    if not (sampling.lifts and masks and params.temperature_milli) or len(row) == 1:
        return np.ones(len(row), dtype=np.bool_)
    lowest = min(value for at, value in enumerate(row.values()) if at != chosen)
    moved = [token for token in dict.fromkeys((*state.output, *sampling.bias)) if token not in row]
    ids = np.array(moved, dtype=np.int64)
    values = tape.penalised(np.full(len(moved), lowest), params, state.counts(ids), state.bias(ids))
    highest = max(lowest, float(values.max(initial=-np.inf)))
    return np.asarray(plain > highest + _EPSILON, dtype=np.bool_)


def _lowest(row: Mapping[int, float]) -> float:
    """What no token outside the row exceeds: marks may lie below it."""
    if not isinstance(row, MarkedRow):
        return min(row.values())
    return sorted(row.values(), reverse=True)[max(min(len(row), ROW_TOP) - MARKS, 1) - 1]


def _numbers(position: Position, row: Mapping[int, float]) -> tuple[float, float]:
    """(distance, chosen), from published and own log-probabilities."""
    lowest = _lowest(row)
    pairs = [(p, row.get(token, lowest)) for token, p in dict(position.top).items() if p > _FLOOR]
    chosen = abs(position.logprob - row[position.token])
    if not pairs:
        return CAP, chosen
    published, own = np.array(pairs).T
    weights = np.exp(published - published.max())
    weights /= weights.sum()
    off = own - published
    off -= (weights * off).sum()
    return float(np.sqrt((weights * off**2).sum())), chosen
