"""Which candidates are surely inside a request's masks, and which surely outside, when two stacks' numbers may differ.

Law: pure. A token near the edge of a mask is neither, and then nobody may hold it against an executor.

A validator has the best candidates of a position, not the whole row. A token it does not see can stand above some of
them only where a penalty, a factor or a bias lifts it; how high at most is known (`Unseen`), so what is said here holds
whatever those tokens are (TAPE.md, section 6).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2p.base.types import Params

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Unseen:
    """What is known of the tokens that are not among the candidates, in nats, before temperature."""

    lifted: Floats  # the most that each token which the request moves can have
    others: float  # the most that any other token can have; -inf where there is none


@dataclass(frozen=True, slots=True)
class Sides:
    """On which side of the masks each candidate is; neither: too near the edge to tell."""

    inside: Bools
    outside: Bools


def sides(values: Floats, unseen: Unseen, params: Params, apart: float) -> Sides:
    """values: of the candidates, in nats: penalised, before temperature, -inf where not allowed. apart: nats by which
    the difference of two values may differ between the stacks, >= 0."""
    allowed = np.isfinite(values)
    inside, outside = allowed.copy(), ~allowed
    if params.temperature_milli == 0:
        return Sides(inside, outside)
    scale = params.temperature_milli / 1000.0
    with np.errstate(invalid="ignore"):
        order = values[None, :] - values[:, None]  # [i, j]: by how much j is above i
    np.fill_diagonal(order, -np.inf)
    order[:, ~allowed] = -np.inf
    order[~allowed] = np.inf
    if params.top_k:
        few, many = _ranks(values, order, unseen, apart)
        inside &= many < params.top_k
        outside |= few >= params.top_k
    if params.top_p_milli < 1000:
        kept, left = _nucleus(values, order, unseen, params, apart)
        inside &= kept
        outside |= left
    if params.min_p_milli:
        reach = -scale * float(np.log(params.min_p_milli / 1000.0))
        hidden = max(float(unseen.lifted.max(initial=-np.inf)), unseen.others) - values
        inside &= np.maximum(order.max(axis=1, initial=-np.inf), hidden) <= reach - apart
        outside |= order.max(axis=1, initial=-np.inf) > reach + apart
    return Sides(inside & ~outside, outside)


def _ranks(values: Floats, order: Floats, unseen: Unseen, apart: float) -> tuple[Floats, Floats]:
    """How many tokens stand above each candidate, at least and at most."""
    few = (order > apart).sum(axis=1).astype(np.float64)
    many = (order > -apart).sum(axis=1) + (unseen.lifted[None, :] > values[:, None] - apart).sum(axis=1)
    # of those that nobody lifts any number may stand where the candidates end
    return few, np.where(unseen.others > values - apart, np.inf, many)


def _nucleus(values: Floats, order: Floats, unseen: Unseen, params: Params, apart: float) -> tuple[Bools, Bools]:
    """(surely kept by top-p, surely not), among the top_k best. A token is kept while the share of those before it is
    below top-p, so while their mass is below `odds` times that of itself and the rest."""
    scale, share = params.temperature_milli / 1000.0, params.top_p_milli / 1000.0
    odds, slack = share / (1.0 - share), float(np.exp(min(apart / scale, 50.0)))
    top, k = float(values.max()), params.top_k

    def mass(of: Floats | float) -> Floats:
        return np.asarray(np.exp(np.minimum((np.asarray(of) - top) / scale, 50.0)))

    own, others = mass(values), ~np.eye(values.size, dtype=np.bool_)
    # kept for sure: all that may stand before it does, and pushes the last ones out of the top_k best
    before = np.where(values >= _floor(values, k), own, 0.0)
    pushed = int((unseen.lifted > _floor(values, k) - apart).sum())
    behind = np.where(values >= _floor(values, k - pushed), own, 0.0)
    hidden = (mass(unseen.lifted) * (unseen.lifted[None, :] > values[:, None] - apart)).sum(axis=1)
    most = (before * (order > -apart)).sum(axis=1) + hidden
    kept = (most == 0.0) | (most * slack < odds * (own + (behind * ((order <= -apart) & others)).sum(axis=1)))
    # left out for sure: only what surely stands before it does; nothing unseen does, and all of that is in the rest
    known = values > unseen.others
    filled = max(k - int(known.sum()), 0) * float(mass(unseen.others)) + float(mass(unseen.lifted).sum())
    least = (before * (order > apart)).sum(axis=1)
    rest = own + (np.where(known, before, 0.0) * ((order <= apart) & others)).sum(axis=1) + filled
    return np.asarray(kept), np.asarray((least > 0.0) & (least >= odds * rest * slack))


def _floor(values: Floats, k: int) -> float:
    """The k-th largest value."""
    if k >= values.size:
        return float("-inf")
    return float(np.partition(values, -max(k, 1))[-max(k, 1)])
