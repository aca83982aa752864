"""The fast choice is the tape's; sequences are grouped, and jobs admitted, within their bounds."""

from __future__ import annotations

import numpy as np
import pytest

from p2p.base.types import Params
from p2p.inference.torch.decode import admit
from p2p.inference.torch.model import groups
from p2p.inference.torch.pick import pick
from p2p.verification import tape
from p2p.verification.engine import Job

SEED = b"\x05" * 32
PARAMS = Params(700)

ALL_PARAMS = [
    Params(0), Params(50), Params(700), Params(2000), Params(700, 40), Params(1000, 40, 20, 900), Params(700, 0, 50),
    Params(0, 0, 0, 1000, 500, 500), Params(900, 0, 0, 1000, -500, 1500),
]


@pytest.mark.parametrize("params", ALL_PARAMS, ids=str)
def test_the_fast_choice_is_the_tapes(params: Params) -> None:
    rng = np.random.default_rng(1)
    for position in range(12):
        row = rng.normal(-14, 1 + position / 3, 49_152).astype(np.float32)
        before = [3, 3, 7, *np.argsort(row)[-3:].tolist() * 2]
        noise = tape.gumbel_row(SEED, position, row.size)
        wanted = int(np.argmax(tape.scores(row, params, noise, tape.output_counts(before, np.arange(row.size)))))
        assert pick(row, params, SEED, position, before) == wanted


@pytest.mark.parametrize(("count", "depth"), [(200_000, 11.0), (400_000, 12.5), (3_000, 8.0), (1_000, 7.0)])
def test_a_choice_far_below_the_best_is_found(count: int, depth: float) -> None:
    """Flat tails: the winner is often a token whose own probability is nothing."""
    row = np.full(count, -1.0 - depth, dtype=np.float32)
    row[5] = -1.0
    found = [pick(row, Params(1000), SEED, position) for position in range(40)]
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
