"""Who validates what: nobody chooses. Law: drawn from a beacon that came AFTER the artifact's root was on chain."""

from __future__ import annotations

from collections.abc import Sequence

from p2p.inference.draw import draw

FULL = 1000


def draw_validators(
    beacon: bytes, inference_id: bytes, candidates: Sequence[tuple[bytes, int]], exclude: frozenset[bytes], count: int
) -> tuple[bytes, ...]:
    """The committee: executor and its owner's other peers are among `exclude`."""
    return draw(b"draw-validators", beacon, inference_id, [c for c in candidates if c[0] not in exclude], count)


def check_probability_milli(reputation: int) -> int:
    """Share of inferences checked, in thousandths: everything at reputation 0, 1 % at 100, linear between."""
    return max(10, FULL - reputation * 99 // 10)
