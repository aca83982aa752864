"""The clients' space: whatever is drawn, an agent would let in; all of it is drawn; the same seed asks the same."""

from __future__ import annotations

import numpy as np

from p2p.base.sampling_params import check_params
from p2p.lab.measure import plan
from p2p.lab.measure.space import draw

TOKENS = tuple(range(100, 140))


def test_every_corner_of_the_space_is_drawn_and_allowed() -> None:
    found = [draw(7, "a", f"chat-{at}", TOKENS) for at in range(3000)]
    for asked in found:
        check_params(asked.params)
        assert list(asked.bias) == sorted(asked.bias)
        assert all(token in TOKENS and abs(milli) <= 100_000 for token, milli in asked.bias)
    params = [asked.params for asked in found]
    for name, low, high in (
        ("temperature_milli", 0, 1950), ("top_k", 0, 900), ("min_p_milli", 0, 500), ("top_p_milli", 100, 1000),
        ("presence_milli", -1900, 1900), ("frequency_milli", -1900, 1900), ("repetition_milli", 320, 2700),
        ("min_tokens", 0, 14),
    ):
        values = np.array([getattr(one, name) for one in params])
        assert values.min() <= low, name
        assert values.max() >= high, name
    masked = [bool(one.temperature_milli and (one.top_k or one.min_p_milli)) for one in params]
    assert 0.4 < np.mean(masked) < 0.9
    assert np.mean([bool(asked.bias) for asked in found]) > 0.1


def test_the_same_seed_asks_the_same_and_another_something_else() -> None:
    run = plan.by_name("space_a")
    first = [run.asked(1, f"chat-{at}", TOKENS) for at in range(50)]
    assert first == [run.asked(1, f"chat-{at}", TOKENS) for at in range(50)]
    assert first != [run.asked(2, f"chat-{at}", TOKENS) for at in range(50)]
    other = plan.by_name("space_b")
    assert first != [other.asked(1, f"chat-{at}", TOKENS) for at in range(50)]
    assert plan.by_name("honest_b16").asked(1, "chat-1", TOKENS).params == plan.FREE
