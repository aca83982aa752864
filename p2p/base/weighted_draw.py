"""The public weighted draw of executors and validators. Anyone can recompute it.

Law: integers only; the result depends on domain, beacon, inference id and the sorted candidates, and on nothing else.

Weighted, without replacement: pick i takes H(domain || beacon || id || i) mod (weight left) along the candidates in
ascending order of key. A hash has 256 bits and all weight at most 63, so the modulo's bias is below 2^-190.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from itertools import accumulate

from p2p.base.keys import digests


class WeightedDraw:
    """Candidates (node, weight) prepared for many draws; those without weight are left out. Immutable."""

    __slots__ = ("_ends", "_nodes")

    def __init__(self, candidates: Iterable[tuple[bytes, int]]) -> None:
        rows = sorted((node, weight) for node, weight in candidates if weight > 0)
        self._nodes = [node for node, _ in rows]
        # Candidate i has the points from _ends[i] up to, but not including, _ends[i + 1].
        self._ends = [0, *accumulate(weight for _, weight in rows)]

    @property
    def weight(self) -> int:
        """The weight of all candidates together."""
        return self._ends[-1]

    def pairs(self) -> list[tuple[bytes, int]]:
        """(node, weight) in ascending order of key."""
        return [(node, self._weight(place)) for place, node in enumerate(self._nodes)]

    def _weight(self, place: int) -> int:
        return self._ends[place + 1] - self._ends[place]

    def _places(self, nodes: Iterable[bytes]) -> list[int]:
        found = ((bisect_left(self._nodes, node), node) for node in nodes)
        return sorted({place for place, node in found if place < len(self._nodes) and self._nodes[place] == node})

    def draw(
        self, domain: bytes, beacon: bytes, inference_id: bytes, exclude: Iterable[bytes], count: int,
    ) -> tuple[bytes, ...]:
        """Up to `count` candidates that are not among `exclude`, in drawn order.

        domain separates draws of different purposes. Each pick costs O(log n + excluded + drawn).
        """
        out, drawn = self._places(exclude), list[bytes]()  # out: indices that cannot be drawn any more, ascending
        total = self._ends[-1] - sum(map(self._weight, out))
        ends, hashed = self._ends, digests(domain, beacon, inference_id)
        while total > 0 and len(drawn) < count:
            point = int.from_bytes(hashed(len(drawn).to_bytes(4, "big")), "big") % total
            for place in out:  # the point counts along the remaining candidates: step over the others
                if point < ends[place]:
                    break
                point += ends[place + 1] - ends[place]
            place = bisect_right(ends, point) - 1
            drawn.append(self._nodes[place])
            total -= ends[place + 1] - ends[place]
            insort(out, place)
        return tuple(drawn)


def draw_executors(
    beacon: bytes, inference_id: bytes, serving: WeightedDraw, agent: bytes, count: int,
) -> tuple[bytes, ...]:
    """Up to `count` executors of a request, in the order in which the agent tries them; never the agent itself."""
    return serving.draw(b"draw-executors", beacon, inference_id, (agent,), count)
