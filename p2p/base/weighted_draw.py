"""Who executes a request: a public draw. Law: integers only, a function of beacon, inference id and the sorted candidates.

Weighted, without replacement: pick i takes H(domain || beacon || id || i) mod (weight left) along the candidates in
ascending order of key. 256 bits over at most 2^63 weight: the modulo's bias is below 2^-190. Anyone can recompute it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from itertools import accumulate

from p2p.base.keys import digests


class WeightedDraw:
    """Candidates (node, weight) made ready for many draws; those without weight are left out. Not to be changed."""

    __slots__ = ("_ends", "_nodes")

    def __init__(self, candidates: Iterable[tuple[bytes, int]]) -> None:
        rows = sorted((node, weight) for node, weight in candidates if weight > 0)
        self._nodes = [node for node, _ in rows]
        self._ends = [0, *accumulate(weight for _, weight in rows)]  # place i holds the points from _ends[i] up to _ends[i + 1]

    @property
    def weight(self) -> int:
        """Of all together."""
        return self._ends[-1]

    def pairs(self) -> list[tuple[bytes, int]]:
        """By key."""
        return [(node, self._weight(place)) for place, node in enumerate(self._nodes)]

    def _weight(self, place: int) -> int:
        return self._ends[place + 1] - self._ends[place]

    def _places(self, nodes: Iterable[bytes]) -> list[int]:
        found = ((bisect_left(self._nodes, node), node) for node in nodes)
        return sorted({place for place, node in found if place < len(self._nodes) and self._nodes[place] == node})

    def draw(self, domain: bytes, beacon: bytes, inference_id: bytes, exclude: Iterable[bytes], count: int) -> tuple[bytes, ...]:
        """Up to `count` of the candidates that are not among `exclude`, in drawn order. O(log n) for each pick, beside what is out."""
        out, drawn = self._places(exclude), list[bytes]()  # places that can no more be drawn, ascending
        total = self._ends[-1] - sum(map(self._weight, out))
        ends, hashed = self._ends, digests(domain, beacon, inference_id)
        while total > 0 and len(drawn) < count:
            point = int.from_bytes(hashed(len(drawn).to_bytes(4, "big")), "big") % total
            for place in out:  # the point counts along those that are left: step over the others
                if point < ends[place]:
                    break
                point += ends[place + 1] - ends[place]
            place = bisect_right(ends, point) - 1
            drawn.append(self._nodes[place])
            total -= ends[place + 1] - ends[place]
            insort(out, place)
        return tuple(drawn)


def draw_executors(beacon: bytes, inference_id: bytes, serving: WeightedDraw, agent: bytes, count: int) -> tuple[bytes, ...]:
    """The ordered executors of a request; its agent is none of them."""
    return serving.draw(b"draw-executors", beacon, inference_id, (agent,), count)
