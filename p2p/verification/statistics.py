"""The facts of each token of an answer, from one prefill. Law: pure; a function of the published row, the validator's
row and the tape.

Columns of a token's facts, in nats:
- lead: tape score of the chosen token minus that of the best other candidate, times the temperature. Positive where the
  tape really picks the chosen token. An honest executor's lead is negative by numerical noise only, so slightly; a
  cheat's as far as its model is wrong. A match rate would not say how close the tokens that matched were to losing,
  which is half of the information. Where a repetition factor above 1 stretches the numbers, it stretches their noise,
  so the lead is divided by it.
- gap: log p(best other candidate) - log p(chosen token), the signed gap in surprisal. Together with the lead it shows a
  wrong temperature, whose flips lean to one side.
- distance: root mean square of published minus own log-probabilities of the candidates, after subtracting their mean,
  weighted by the published probabilities.
- chosen: |published - own| log-probability of the chosen token, which is published in steps of 1/1024 nat.
- excess: how far the chosen token lies outside the mask (top-k, top-p, min-p). 0 where it is inside, or too near the
  edge to tell (masks.py).
- sure: the validator's log-probability of its likeliest token. Where a model is sure, all numbers agree and say little.
- decided: 1 where lead and gap say something; 0 where the tape's choice hangs on a token near the edge of a mask, which
  the executor's stack may keep and the validator's not. This follows from the validator's numbers and the tape, not
  from what was chosen, so leaving such tokens out favours nobody. 0 as well for a token outside the mask.
- tempted: 1 where a candidate outside the mask would win the tape if there were no mask, 0 where none would, -1 where
  nothing is masked. Only at a tempting position can a host that ignores the mask be told.

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
from p2p.verification.masks import Sides, Unseen, sides
from p2p.verification.sampling import Sampling, SamplingState

Floats = NDArray[np.float64]
LEAD, GAP, DISTANCE, CHOSEN, EXCESS, SURE, DECIDED, TEMPTED = range(8)  # columns of the facts, described above
COLUMNS = ("lead", "gap", "distance", "chosen", "excess", "sure", "decided", "tempted")
CAP = 5.0  # nats; larger values say nothing more and are cut
ROW_TOP = 64  # candidates that a validator asks its engine for
ROUNDING = 1e-6  # nats; what adding up in another order may do to equal numbers
EXACT_NATS = 0.001  # equal kernels' numbers are equal; so much is left to rounding (decision 065)
_FLOOR = -255 / TOP_STEPS_PER_NAT  # nats; the lowest log-probability that 8 bits hold: it says only 'this low or lower'


def answer_facts(
    positions: Sequence[Position], rows: Sequence[Mapping[int, float]], params: Params, seed: bytes, *,
    sampling: Sampling | None = None, edge: float = ROUNDING, texts: Sequence[int] | None = None,
) -> Floats:
    """Facts of every token of an answer.

    rows: one per position, token id -> log-probability in nats; each must hold the chosen token. seed: of the tape, 32
    bytes. sampling: what moves the choice besides `params`. edge: nats from the edge of a mask within which nothing is
    said (Noise.edge). texts: tokens that stand before each, where the positions are not one text but choices at its
    places (lab/measure/redraw.py). Returns float64 of shape (tokens, 8), columns as COLUMNS, cut to +-CAP. Raises
    KeyError if a row lacks its chosen token, ValueError if the lengths differ.
    """
    if len(positions) != len(rows):
        raise ValueError(f"{len(rows)} rows for {len(positions)} positions")
    out = np.zeros((len(positions), len(COLUMNS)))
    rules = sampling or Sampling(params)
    state = rules.begin()
    noises = tape.noise_of_rows(seed, rules.start, [list(row) for row in rows], params)
    for index, (position, row, noise) in enumerate(zip(positions, rows, noises, strict=True)):
        out[index, [LEAD, GAP, EXCESS, DECIDED, TEMPTED]] = _replay(position.token, row, state, noise, edge)
        out[index, DISTANCE], out[index, CHOSEN] = _numbers(position, row)
        out[index, SURE] = max(row.values())
        state.accept(position.token if texts is None else texts[index])
    return np.clip(out, -CAP, CAP)


def beyond_rounding(facts: Floats) -> NDArray[np.bool_]:
    """Which tokens equal kernels cannot have given: lost, or outside the mask, by more than rounding."""
    return np.asarray(np.maximum(-facts[:, LEAD], facts[:, EXCESS]) > EXACT_NATS)


def _replay(
    token: int, row: Mapping[int, float], state: SamplingState, noise: Floats, edge: float
) -> tuple[float, float, float, float, float]:
    """(lead, gap, excess, decided, tempted) of one token under the validator's numbers. noise: of the row's tokens.
    state: before that token."""
    params = state.sampling.params
    names = list(row)
    ids, logprobs = np.array(names, dtype=np.int64), np.array([row[name] for name in names])
    chosen = names.index(token)
    scale = params.temperature_milli / 1000.0 if params.temperature_milli else 1.0
    plain = state.moved(logprobs, ids)  # nats: penalties, biases, what is not allowed
    if not np.isfinite(plain[chosen]):  # not allowed at all, which stage 0 refuses
        return -CAP, CAP, CAP, 1.0, -1.0
    stretched = _stretch(state, ids)
    where = _sides(chosen, row, plain, state, edge * float(stretched.max()))
    free = np.where(np.isfinite(plain), plain + noise * scale, -np.inf)
    tempted = _tempted(chosen, free, where.inside, where.outside) if is_masked(state.sampling) else -1.0
    if where.outside[chosen]:
        floor = plain[~where.outside].min(initial=float(plain.max()))
        return 0.0, 0.0, max(float(floor - plain[chosen]), ROUNDING), 0.0, tempted
    if not where.inside.any():
        return 0.0, 0.0, 0.0, 0.0, tempted
    best = int(np.argmax(np.where(where.inside, free, -np.inf)))
    unsure = ~where.inside & ~where.outside
    if bool((free[unsure] > free[best]).any()):
        return 0.0, 0.0, 0.0, 0.0, tempted
    rivals = np.where(where.outside, -np.inf, free)
    rivals[chosen] = -np.inf
    other = best if best != chosen else int(np.argmax(rivals))
    if not np.isfinite(rivals[other]):
        return CAP, -CAP, 0.0, 1.0, tempted  # no other candidate is inside the mask
    lead = (free[chosen] - free[other]) / max(stretched[chosen], stretched[other])
    return float(lead), float(plain[other] - plain[chosen]), 0.0, 1.0, tempted


def _sides(
    chosen: int, row: Mapping[int, float], plain: Floats, state: SamplingState, apart: float
) -> Sides:
    """On which side of the masks each candidate of the row is. apart: nats, as masks.sides says."""
    if not isinstance(row, MarkedRow):
        return sides(plain, _unseen(chosen, row, state), state.sampling.params, apart)
    # exact: the engine saw all tokens, and names the least one inside
    names, allowed = list(row), np.isfinite(plain)
    floor = plain[names.index(row.least)] if is_masked(state.sampling) else -np.inf
    near = apart if apart > EXACT_NATS else 0.0  # equal kernels have the same floor
    inside = allowed & (plain >= floor + near)
    inside[names.index(row.winner)] |= near == 0.0
    return Sides(inside, ~inside & (~allowed | (plain < floor - apart)))


def _tempted(chosen: int, free: Floats, inside: NDArray[np.bool_], outside: NDArray[np.bool_]) -> float:
    """1 where a candidate that is surely outside beats all that may be inside. The chosen token itself does not count,
    for it may be among the candidates only because it was chosen."""
    out = np.where(outside, free, -np.inf)
    out[chosen] = -np.inf
    return float(out.max() > np.where(outside, -np.inf, free).max(initial=-np.inf))


def _stretch(state: SamplingState, ids: NDArray[np.int64]) -> Floats:
    """By how much a repetition factor stretches each candidate's number, and so its noise; 1 at least."""
    factor, counts = state.sampling.params.repetition_milli / 1000.0, state.counts(ids)
    if counts is None or factor <= 1.0:
        return np.ones(ids.size)
    return np.where(counts > 0, factor, 1.0)


def _unseen(chosen: int, row: Mapping[int, float], state: SamplingState) -> Unseen:
    """What tokens outside the row can have (TAPE.md, section 6).

    A token outside the row has at most the row's smallest value (not counting the chosen token, which may have been
    appended), moved as such a token is.
    """
    sampling = state.sampling
    if len(row) == 1:
        return Unseen(np.empty(0), float("-inf"))
    lowest = min(value for at, value in enumerate(row.values()) if at != chosen)
    ids = np.array(
        [token for token in dict.fromkeys((*state.output, *sampling.bias)) if token not in row], dtype=np.int64
    ) if sampling.lifts else np.empty(0, dtype=np.int64)
    return Unseen(state.moved(np.full(ids.size, lowest), ids), lowest)


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
