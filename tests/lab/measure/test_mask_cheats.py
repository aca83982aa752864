"""Whether a token is outside a mask, told by ranks and probabilities alone."""

from __future__ import annotations

import math

import pytest

from p2p.base.types import Params
from p2p.lab.measure.mask_cheats import outside

ROW = {token: math.log(p) for token, p in enumerate((0.4, 0.3, 0.15, 0.1, 0.04, 0.01))}
TIED = {0: math.log(0.5), 1: math.log(0.2), 2: math.log(0.2), 3: math.log(0.1)}


@pytest.mark.parametrize(("params", "inside"), [
    (Params(1000, 2), 2), (Params(1000, 4), 4), (Params(1000, min_p_milli=200), 4), (Params(1000, min_p_milli=300), 3),
    (Params(1000, 64, top_p_milli=500), 2), (Params(1000, 64, top_p_milli=900), 4), (Params(1000), 6),
])
def test_a_mask_keeps_the_likeliest(params: Params, inside: int) -> None:
    assert [outside(ROW, token, params) for token in ROW] == [False] * inside + [True] * (len(ROW) - inside)


def test_equals_at_the_edge_are_on_neither_side() -> None:
    assert [outside(TIED, token, Params(1000, 2)) for token in TIED] == [False, None, None, True]
    found = [outside(TIED, token, Params(1000, 64, top_p_milli=600)) for token in TIED]
    assert found == [False, None, None, True], "either of the two may be the one that reaches the mass"
