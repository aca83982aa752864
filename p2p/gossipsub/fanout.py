"""Peers that get our messages on topics that we have not joined.

Law: they are kept for fanout_ttl_s after the last message, so that messages of one topic take one way.

FANOUT-1: used only without flood publishing (specification v1.1, "Flood Publishing").
"""

from __future__ import annotations

from p2p.base.limits import MAX_FANOUT_TOPICS
from p2p.gossipsub.lot import Lot
from p2p.gossipsub.neighbour import Neighbour
from p2p.gossipsub.neighbours import Neighbours


class Fanout:
    """Up to D peers for each such topic."""

    __slots__ = ("_last", "_neighbours", "_peers", "_rng")

    def __init__(self, neighbours: Neighbours, rng: Lot) -> None:
        self._neighbours, self._rng = neighbours, rng
        self._peers: dict[str, list[Neighbour]] = {}
        self._last: dict[str, float] = {}  # when we last published; the oldest first

    def __len__(self) -> int:
        return len(self._peers)

    def to(self, topic: str, now: float) -> list[Neighbour]:
        """The peers for a message of ours."""
        self._last.pop(topic, None)
        if len(self._last) >= MAX_FANOUT_TOPICS:
            self.leave(next(iter(self._last)))
        self._last[topic] = now
        self._fill(topic)
        return self._peers[topic]

    def leave(self, topic: str) -> list[Neighbour]:
        """Forget a topic; its peers, for its mesh where it was joined."""
        self._last.pop(topic, None)
        return self._peers.pop(topic, [])

    def upkeep(self, now: float) -> None:
        """A heartbeat."""
        for topic in [topic for topic, at in self._last.items() if at + self._neighbours.params.fanout_ttl_s <= now]:
            self.leave(topic)
        for topic in self._last:
            self._fill(topic)

    def _fill(self, topic: str) -> None:
        params = self._neighbours.params
        right = [one for one in self._neighbours.on(topic) if one.score >= params.thresholds.publish]
        kept = [one for one in self._peers.get(topic, ()) if one in right]
        others = [one for one in right if one not in kept]
        kept += self._rng.sample(others, max(0, min(len(others), params.degree - len(kept))))
        self._peers[topic] = kept
