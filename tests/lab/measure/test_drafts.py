"""The evasion curve's replay, on rows of the toy model: what a threshold asks of the right model, and what it hides."""

from __future__ import annotations

import numpy as np

from p2p.base.keys import digest
from p2p.lab.measure.drafts import SEEDS, facts_of, play
from p2p.verification import tape
from p2p.verification.engine import Row
from p2p.verification.statistics import LEAD
from testnet.simulated_engine import Toy
from tests.verification.toy import PARAMS, Noisy, calibrated, generate, rows

TEXTS = [tuple(step.token for step in generate(Toy(salt), 40, PARAMS)) for salt in (1, 2, 3)]


def seen_by(model: Toy) -> list[tuple[Row, ...]]:
    return [rows(model, text) for text in TEXTS]


def test_a_high_threshold_asks_for_every_token_and_a_low_one_for_none() -> None:
    right, cheap = seen_by(Toy(1)), seen_by(Toy(2))
    shares = {}
    for tau in (-1000.0, 0.5, 1000.0):
        facts, asked, other = facts_of(right, cheap, right, tau, 0.0)
        assert len(facts) == SEEDS * len(TEXTS)
        shares[tau] = asked, other
    assert shares[1000.0] == (1.0, 0.0)
    assert shares[-1000.0][1] > 0.2, "another model chooses other tokens"
    assert 0 < shares[0.5][1] <= shares[-1000.0][1]
    assert 0 < shares[0.5][0] < 1


def test_an_honest_host_is_not_convicted_and_another_model_is() -> None:
    right = seen_by(Toy(1))
    facts, asked, other = facts_of(right, None, right, 0.0, 0.0)
    assert (asked, other) == (0.0, 0.0)
    assert min(one[:, LEAD].min() for one in facts) >= 0, "equal kernels lose nothing"
    noise = calibrated()
    flagged, convicted, median = play(facts, noise, equal=True, rng=np.random.default_rng(1))
    assert (flagged, convicted, median) == (0.0, 0.0, 0)
    facts, _, _ = facts_of(right, seen_by(Toy(2)), right, -1000.0, 0.0)
    flagged, convicted, median = play(facts, noise, equal=True, rng=np.random.default_rng(1))
    assert flagged == convicted == 1.0
    assert 0 < median < 10


def test_a_stranger_s_numbers_are_moved_and_its_tokens_stay() -> None:
    right = seen_by(Noisy(run=1))
    plain, _, _ = facts_of(right, None, right, 0.0, 0.0)
    moved, _, _ = facts_of(right, None, right, 0.0, 0.06)
    for one, other in zip(plain, moved, strict=True):
        assert np.array_equal(one[:, LEAD], other[:, LEAD])
        assert one[:, 3].mean() < 0.001 < other[:, 3].mean()


def test_a_candidate_that_one_stack_lacks_was_not_passed_over() -> None:
    """Two stacks' rows end at other candidates. One that only the validator has may win the tape there, and an honest
    host that never saw it lost nothing."""
    right, own = seen_by(Toy(1)), list[list[Row]]()
    for text, answer in enumerate(right):
        seed, seen = digest(b"drafts", bytes(4), text.to_bytes(4, "big")), list[Row]()
        for at, row in enumerate(answer):
            others = [one for one in range(200) if one not in row]
            lucky = others[int(np.argmax(tape.gumbel_at(seed, at, others)))]
            seen.append({**row, lucky: 0.0})
        own.append(seen)
    facts, _, _ = facts_of(right, None, own, 0.0, 0.0)
    assert min(one[:, LEAD].min() for one in facts) >= 0
