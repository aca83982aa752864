"""Penalties together with masks: what a validator's 64 candidates cannot show is held against nobody, what they show
is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pytest
from msgspec.structs import replace

from p2p.base.keys import digest
from p2p.base.types import Params
from p2p.verification import tape
from p2p.verification.artifact import Position
from p2p.verification.statistics import EXCESS, LEAD, ROW_TOP, Floats, answer_facts

VOCABULARY, LENGTH = 400, 400
SEED = digest(b"penalties")
MASKS = (
    Params(1000, 64), Params(1000, 20), Params(1000, 64, 0, 500), Params(700, 20, 0, 900), Params(1000, 0, 50),
    Params(1000, 50, 20, 950),
)
PENALTIES = ((0, 2000), (2000, 2000), (500, 0), (0, 300), (-300, 50), (0, -20), (-2000, 0), (2000, -100))
LOSS = 0.5  # nats: beyond it a lead or an excess is proof


@cache
def world() -> tuple[tuple[Floats, Floats, tuple[int, ...]], ...]:
    """Of each position: the log-probabilities, the tape, and the best tokens. They are the same in every answer."""
    random = np.random.default_rng(7)
    base = random.permutation(-1.1 * np.log(np.arange(1, VOCABULARY + 1)))
    found = []
    for index in range(LENGTH):
        logits = base + random.normal(size=VOCABULARY)
        logprobs = logits - np.log(np.exp(logits).sum())
        best = tuple(int(i) for i in np.argsort(-logprobs)[:ROW_TOP])
        found.append((logprobs, tape.gumbel_row(SEED, index, VOCABULARY), best))
    return tuple(found)


def play(params: Params, chooses: Callable[[Params], Params] = lambda params: params) -> Floats:
    """Facts of an answer whose validator has the executor's own logits. chooses: what the executor samples with
    instead."""
    ids, before = np.arange(VOCABULARY), list[int]()
    positions, rows = list[Position](), list[Mapping[int, float]]()
    for logprobs, noise, best in world():
        token = int(np.argmax(tape.scores(logprobs, chooses(params), noise, tape.output_counts(before, ids))))
        rows.append({i: float(logprobs[i]) for i in dict.fromkeys([*best, token])})
        positions.append(
            Position(token, float(logprobs[token]), tuple((i, float(logprobs[i])) for i in best[:8]), -1.0)
        )
        before.append(token)
    return answer_facts(positions, rows, params, SEED)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("penalties", PENALTIES)
def test_no_honest_token_loses_or_stands_outside(mask: Params, penalties: tuple[int, int]) -> None:
    """Equal bits on both sides, so any loss at all would be the rule's fault, not the executor's."""
    facts = play(replace(mask, presence_milli=penalties[0], frequency_milli=penalties[1]))
    assert facts[:, LEAD].min() >= 0
    assert facts[:, EXCESS].max() == 0


@pytest.mark.parametrize("mask", MASKS)
def test_penalties_that_were_left_out_are_proof(mask: Params) -> None:
    facts = play(replace(mask, frequency_milli=300), lambda params: replace(params, frequency_milli=0))
    assert facts[:, LEAD].min() < -LOSS


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("penalties", [(100, 0), (-500, 0), (0, -100)])
def test_a_mask_that_was_left_out_is_proof(mask: Params, penalties: tuple[int, int]) -> None:
    """Tokens that a penalty lifts from outside the candidates only make the floor higher, so what lies below all that
    is seen lies below it; the k best of k candidates too."""
    asked = replace(mask, presence_milli=penalties[0], frequency_milli=penalties[1])
    facts = play(asked, lambda params: replace(params, top_k=0, top_p_milli=1000, min_p_milli=0))
    assert facts[:, EXCESS].max() > LOSS
    assert (facts[:, EXCESS] > 0).sum() >= 5, "not one lucky position"
