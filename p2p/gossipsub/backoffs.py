"""Until when two routers do not graft each other on a topic.

Law: a back-off is never shortened, and it outlives the connection.
"""

from __future__ import annotations

from collections import OrderedDict

from p2p.base.limits import MAX_BACKOFFS


class Backoffs:
    """Times by topic and peer."""

    __slots__ = ("_slack_s", "_until")

    def __init__(self, slack_s: float) -> None:
        """slack_s: by how much longer our own patience is, because clocks and heartbeats differ."""
        self._slack_s = slack_s
        self._until: OrderedDict[tuple[str, str], float] = OrderedDict()  # a dict finds its first slowly

    def __len__(self) -> int:
        return len(self._until)

    def add(self, topic: str, peer: str, until: float) -> None:
        """Where there are too many, the one that was changed longest ago goes."""
        key = (topic, peer)
        before = self._until.pop(key, until)
        if len(self._until) >= MAX_BACKOFFS:
            del self._until[next(iter(self._until))]
        self._until[key] = max(before, until)

    def until(self, topic: str, peer: str) -> float:
        """When its GRAFT is welcome again; long ago where nothing is remembered."""
        return self._until.get((topic, peer), float("-inf"))

    def may_graft(self, topic: str, peer: str, now: float) -> bool:
        """Whether we may graft it."""
        return self.until(topic, peer) + self._slack_s <= now

    def expire(self, now: float) -> None:
        """Forget what is over."""
        over = [key for key, until in self._until.items() if until + self._slack_s <= now]
        for key in over:
            del self._until[key]
