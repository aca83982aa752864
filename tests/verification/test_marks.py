"""Marked rows: what a validator sees of an answer whose sampling lifts tokens is what the whole vocabulary says."""

from __future__ import annotations

import random

import numpy as np
import pytest

from p2p.base.types import Params
from p2p.verification import tape
from p2p.verification.artifact import Position
from p2p.verification.marks import MARKS, MarkedRow, marks
from p2p.verification.sampling import Bools, Sampling
from p2p.verification.statistics import CAP, EXCESS, LEAD, ROW_TOP, answer_facts

VOCAB, LENGTH = 300, 6
SEED = b"\x07" * 32
PARAMS = (
    Params(1000), Params(0), Params(1000, 40, 0, 950), Params(800, 0, 50), Params(1200, 5), Params(1000, 0, 0, 600),
    Params(900, 30, 0, 1000, 600, 200), Params(800, repetition_milli=1200), Params(700, min_tokens=40),
)


class Few:
    """A grammar that leaves a few tokens, most of them unlikely."""

    def __init__(self, number: int) -> None:
        self._number, self._taken = number, 0

    def allowed(self) -> Bools:
        chance = np.random.default_rng(self._number * 100 + self._taken)
        found: Bools = chance.random(VOCAB) < 0.02
        found[3] = True
        return found

    def accept(self, token: int) -> bool:
        self._taken += 1
        return bool(self.allowed()[token])


def sampling(number: int, params: Params) -> Sampling:
    chance = random.Random(number)
    bias = {chance.randrange(VOCAB): chance.uniform(-3, 9) for _ in range(20)} if number % 3 else {}
    grammar = None if number % 2 else lambda: Few(number)
    return Sampling(params, frozenset({3}), bias, grammar)


@pytest.mark.parametrize("params", PARAMS)
@pytest.mark.parametrize("number", range(3))
def test_a_marked_row_judges_as_the_whole_vocabulary_does(params: Params, number: int) -> None:
    """Each position once with the tape's own token, once with another one: that is never better than the winner."""
    rules = sampling(number, params)
    chance = np.random.default_rng(number)
    winners, others = rules.begin(), 0
    tables = [tape.log_softmax(chance.normal(0.0, 3.0, VOCAB)) for _ in range(LENGTH)]
    for table in tables:
        winner, least = marks(table, winners, SEED)
        best = np.argsort(-table)[: ROW_TOP - MARKS].tolist()
        noise = tape.gumbel_row(SEED, len(winners.output), VOCAB)
        scores = winners.scores(table, np.arange(VOCAB), noise)
        assert winner == int(np.argmax(scores)), "the winner is the engine's own choice"
        kept = np.flatnonzero(np.isfinite(scores))
        taken = int(kept[np.argsort(-scores[kept])[min(1, len(kept) - 1)]])  # the second best: a nudge
        everything = {token: float(table[token]) for token in range(VOCAB)}
        for token in (winner, taken):
            row = MarkedRow({t: float(table[t]) for t in {*best, token, winner, least}}, winner, least)
            facts = _last(rules, winners.output, token, row)
            whole = _last(rules, winners.output, token, MarkedRow(everything, winner, least))
            assert facts[EXCESS] == pytest.approx(whole[EXCESS])
            assert facts[LEAD] == pytest.approx(whole[LEAD]) or min(facts[LEAD], whole[LEAD]) > 0
            assert (facts[LEAD] < 0) == (token != winner)
            others += token != winner
        outside = np.flatnonzero(~np.isfinite(scores) & np.isfinite(winners.moved(table, np.arange(VOCAB))))
        if len(outside) and params.temperature_milli:  # allowed, and outside a mask
            token = int(outside[np.argmax(table[outside])])
            row = MarkedRow({t: float(table[t]) for t in {*best, token, winner, least}}, winner, least)
            facts = _last(rules, winners.output, token, row)
            assert facts[EXCESS] > 0
        winners.accept(winner)
    assert others


def _last(rules: Sampling, before: list[int], token: int, row: MarkedRow) -> list[float]:
    """Facts of one position after `before`."""
    rules = Sampling(rules.params, rules.ends, rules.bias, rules.grammar, tuple(before))
    position = Position(token, row[token], tuple(sorted(row.items(), key=lambda pair: -pair[1]))[:8], 0.0)
    found: list[float] = answer_facts([position], [row], rules.params, SEED, sampling=rules)[0].tolist()
    assert max(map(abs, found)) <= CAP
    return found


def test_a_row_without_its_marks_is_no_marked_row() -> None:
    with pytest.raises(KeyError):
        MarkedRow({1: -0.5}, 1, 2)
