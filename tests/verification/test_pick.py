"""The fast choice is the tape's; sequences are grouped, and jobs admitted, within their bounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.base.types import Params
from p2p.inference.torch.decode import admit
from p2p.inference.torch.model import groups
from p2p.verification import tape
from p2p.verification.engine import Job
from p2p.verification.pick import pick
from p2p.verification.sampling import Sampling, SamplingState

SEED = b"\x05" * 32
PARAMS = Params(700)

ALL_PARAMS = [
    Params(0), Params(50), Params(700), Params(2000), Params(700, 40), Params(1000, 40, 20, 900), Params(700, 0, 50),
    Params(0, 0, 0, 1000, 500, 500), Params(900, 0, 0, 1000, -500, 1500), Params(900, repetition_milli=1300),
    Params(0, repetition_milli=400), Params(1000, 40, 20, 900, 300, 200, 1100, 50),
]
ENDS = frozenset({2, 9})


class Thirds:
    """A grammar that allows every third token, and an end after ten."""

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary, self.length = vocabulary, 0

    def allowed(self) -> np.ndarray:
        found = np.arange(self.vocabulary) % 3 == self.length % 3
        found[sorted(ENDS)] = self.length >= 10
        return found

    def accept(self, token: int) -> bool:
        right = bool(self.allowed()[token])
        self.length += right
        return right


def chosen(logprobs: np.ndarray, state: SamplingState) -> int:
    """The choice by the specification, over the whole vocabulary."""
    noise = tape.gumbel_row(SEED, len(state.output), logprobs.size)
    return int(np.argmax(state.scores(logprobs, np.arange(logprobs.size), noise)))


def free(params: Params, before: Sequence[int] = ()) -> SamplingState:
    return Sampling(params, ENDS).begin(before)


@pytest.mark.parametrize("params", ALL_PARAMS, ids=str)
def test_the_fast_choice_is_the_tapes(params: Params) -> None:
    rng = np.random.default_rng(1)
    for position in range(12):
        row = rng.normal(-14, 1 + position / 3, 49_152).astype(np.float32)
        best = np.argsort(row)
        before = [3, 3, 7, *best[-3:].tolist() * 2]
        bias = {int(best[-1]): -4.0, int(best[100]): 9.0, 5: 100.0} if position % 2 else {}
        for grammar in (None, lambda: Thirds(49_152)):
            state = Sampling(params, ENDS, bias, grammar).begin(before[: 9 if grammar is None else 0])
            assert pick(row, state, SEED) == chosen(row, state)


@settings(max_examples=200, deadline=None)
@given(
    st.builds(
        Params, st.integers(0, 2000), st.integers(0, 80), st.integers(0, 1000), st.just(1000),
        st.integers(-2000, 2000), st.integers(-2000, 2000), st.integers(100, 10_000), st.integers(0, 8),
    ),
    st.lists(st.integers(0, 299), max_size=12), st.dictionaries(st.integers(0, 299), st.floats(-100, 100), max_size=6),
    st.booleans(), st.integers(0, 2**32 - 1), st.booleans(),
)
def test_the_fast_choice_is_the_tapes_whatever_is_asked(
    params: Params, before: list[int], bias: dict[int, float], bound: bool, number: int, coarse: bool
) -> None:
    row = np.random.default_rng(number).normal(-9, 4, 300)
    row = tape.log_softmax(np.round(row * 8) / 8 if coarse else row)
    state = Sampling(params, ENDS, bias, (lambda: Thirds(300)) if bound else None).begin(before)
    assert pick(row, state, SEED) == chosen(row, state)


@pytest.mark.parametrize(("count", "depth"), [(200_000, 11.0), (400_000, 12.5), (3_000, 8.0), (1_000, 7.0)])
def test_a_choice_far_below_the_best_is_found(count: int, depth: float) -> None:
    """Flat tails: the winner is often a token whose own probability is nothing."""
    row = np.full(count, -1.0 - depth, dtype=np.float32)
    row[5] = -1.0
    found = [pick(row, free(Params(1000), [0] * position), SEED) for position in range(40)]
    assert found == [int(np.argmax(row + tape.gumbel_row(SEED, position, row.size))) for position in range(40)]
    assert sum(token != 5 for token in found) > 5


def test_sequences_go_in_groups_within_the_bound() -> None:
    lengths = [5, 0, 100, 7, 101, 3000, 6]
    made = groups(lengths, 210)
    assert sorted(index for group in made for index in group) == [0, 2, 3, 4, 5, 6]
    assert all(len(group) == 1 or len(group) * max(lengths[i] for i in group) <= 210 for group in made)
    assert len(made) == 3


def test_newcomers_within_the_bound() -> None:
    short, long = Job((1,) * 10, 5, PARAMS, SEED), Job((1,) * 3000, 5, PARAMS, SEED)
    assert admit([short] * 20, 16) == 16
    assert admit([long, long], 16) == 1
    assert admit([short, long, long], 16) == 1
    assert admit([short], 0) == 0
    assert admit([Job((1,) * 7000, 5, PARAMS, SEED), short], 16) == 1  # more than the bound goes alone
