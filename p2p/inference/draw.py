"""Who executes a request: a public draw. Law: integers only, a function of beacon, inference id and the sorted candidates.

Weighted, without replacement: pick i takes H(domain || beacon || id || i) mod (weight left) along the candidates in
ascending order of key. 256 bits over at most 2^63 weight: the modulo's bias is below 2^-190. Anyone can recompute it.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2p.keys import digest


def draw(domain: bytes, beacon: bytes, inference_id: bytes, candidates: Sequence[tuple[bytes, int]], count: int) -> tuple[bytes, ...]:
    """Up to `count` of the candidates with weight > 0, in drawn order."""
    left = sorted((node, weight) for node, weight in candidates if weight > 0)
    total = sum(weight for _, weight in left)
    drawn: list[bytes] = []
    while left and len(drawn) < count:
        point = int.from_bytes(digest(domain, beacon, inference_id, len(drawn).to_bytes(4, "big")), "big") % total
        for at, (node, weight) in enumerate(left):
            if point < weight:
                drawn.append(node)
                total -= weight
                del left[at]
                break
            point -= weight
    return tuple(drawn)


def draw_executors(
    beacon: bytes, inference_id: bytes, candidates: Sequence[tuple[bytes, int]], exclude: frozenset[bytes], count: int
) -> tuple[bytes, ...]:
    """The ordered executors of a request; the agent is among `exclude`."""
    return draw(b"draw-executors", beacon, inference_id, [c for c in candidates if c[0] not in exclude], count)
