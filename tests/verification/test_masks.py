"""The edge rule: what is said about a candidate holds for every stack whose numbers differ by less than the edge, and
whatever the tokens are that a validator does not see."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from msgspec.structs import replace

from p2p.base.types import Params
from p2p.verification import tape
from p2p.verification.masks import Unseen, sides
from p2p.verification.sampling import Sampling
from p2p.verification.statistics import ROW_TOP, _unseen

Values = np.ndarray
VOCABULARY, BIASED = 300, {3: 4.0, 150: -3.0, 290: 6.0}
MASKS = (
    Params(1000, 5), Params(1000, 64), Params(700, 40, 0, 900), Params(1600, 64, 0, 500), Params(1000, 0, 100),
    Params(1300, 0, 5), Params(900, 20, 50, 800), Params(1000, 1), Params(1000, 200), Params(500, 30, 0, 0),
    Params(1000, 0, 1000),
)
PENALTIES = (
    {}, {"presence_milli": -900, "frequency_milli": -200}, {"frequency_milli": 1500}, {"repetition_milli": 400},
)


def full_and_seen(params: Params, rng: np.random.Generator) -> tuple[Values, Values, Values, Unseen]:
    """(ids of the candidates, their moved values, the whole vocabulary's, what is known of the rest)."""
    logits = rng.permutation(-1.2 * np.log(np.arange(1, VOCABULARY + 1))) + rng.normal(size=VOCABULARY)
    logprobs = logits - np.log(np.exp(logits).sum())
    state = Sampling(params, bias=BIASED).begin([int(t) for t in rng.integers(0, VOCABULARY, 12)])
    every, best = np.arange(VOCABULARY), np.argsort(-logprobs)[:ROW_TOP]
    chosen = int(rng.integers(VOCABULARY))
    row = {int(i): float(logprobs[i]) for i in dict.fromkeys([*best.tolist(), chosen])}
    ids = np.array(list(row))
    seen = _unseen(list(row).index(chosen), row, state)
    return ids, state.moved(logprobs[ids], ids), state.moved(logprobs, every), seen


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("penalties", PENALTIES)
@pytest.mark.parametrize("apart", [0.0, 0.2])
def test_sides_hold_on_every_stack_within_the_edge(mask: Params, penalties: dict[str, int], apart: float) -> None:
    params, rng = replace(mask, **penalties), np.random.default_rng(11)
    scale, told = params.temperature_milli / 1000, 0
    for _ in range(40):
        ids, values, every, unseen = full_and_seen(params, rng)
        found = sides(values, unseen, params, apart)
        assert not (found.inside & found.outside).any()
        told += int((found.inside | found.outside).sum())
        for _ in range(3):  # the executor's numbers: every difference of two is off by less than `apart`
            other = every + rng.uniform(-0.4999 * apart, 0.4999 * apart, VOCABULARY)
            kept = other / scale >= tape.lowest_kept(other / scale, params)
            assert kept[ids][found.inside].all(), "surely inside, and yet left out"
            assert not kept[ids][found.outside].any(), "surely outside, and yet kept"
    assert told > 40 * ROW_TOP * (0.25 if apart else 0.4), "a rule that never says anything would pass the rest"


def test_an_edge_makes_less_certain_and_greedy_has_no_mask() -> None:
    rng, params = np.random.default_rng(5), Params(1000, 20, 20, 900)
    for _ in range(20):
        _, values, _, unseen = full_and_seen(params, rng)
        told = [sides(values, unseen, params, apart) for apart in (0.0, 0.1, 0.5)]
        for near, far in pairwise(told):
            assert (near.inside | ~far.inside).all()
            assert (near.outside | ~far.outside).all()
        greedy = sides(values, unseen, replace(params, temperature_milli=0), 0.1)
        assert greedy.inside.all()
