"""Keeps packets for as long as their way takes, and loses some.

Law: pure; time and chance come from outside. Packets from one address to another never overtake each other, as on a
route that does not change. What waits is bounded: more is dropped at the tail, as a router drops it.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable

from testnet.fabric.links import Way

MAX_WAITING = 16_384  # packets
MAX_BACKLOG_S = 0.5  # that a slow way may be behind before it drops


class DelayLine:
    def __init__(self, between: Callable[[str, str], Way], rng: random.Random) -> None:
        """between: the way from one address to another."""
        self._between, self._rng = between, rng
        self._waiting: list[tuple[float, int, bytes]] = []  # when it is due, the order of arrival, the packet
        self._arrived = 0
        self._free_at: dict[tuple[str, str], float] = {}  # when a way with little bandwidth has sent what it has
        self._last_at: dict[tuple[str, str], float] = {}  # when the newest packet of a way is due
        self.counts: Counter[str] = Counter()  # packets: passed, lost, dropped

    def offer(self, packet: bytes, source: str, target: str, now: float) -> None:
        """Take a packet that comes from `source` at `now`, in seconds of any clock that does not jump."""
        way, pair = self._between(source, target), (source, target)
        if way.loss and self._rng.random() < way.loss:
            self.counts["lost"] += 1
            return
        sent_at = now
        if way.bytes_a_second is not None:
            begins = max(now, self._free_at.get(pair, now))
            if begins - now > MAX_BACKLOG_S:
                self.counts["dropped"] += 1
                return
            sent_at = self._free_at[pair] = begins + len(packet) / way.bytes_a_second
        if len(self._waiting) >= MAX_WAITING:
            self.counts["dropped"] += 1
            return
        jitter = self._rng.uniform(-way.jitter_s, way.jitter_s) if way.jitter_s else 0.0
        due = max(sent_at + max(way.latency_s + jitter, 0.0), self._last_at.get(pair, 0.0))
        self._last_at[pair] = due
        self._arrived += 1
        heapq.heappush(self._waiting, (due, self._arrived, packet))

    def due(self, now: float) -> list[bytes]:
        """Packets whose time has come, in the order in which it came."""
        found = []
        while self._waiting and self._waiting[0][0] <= now:
            found.append(heapq.heappop(self._waiting)[2])
        self.counts["passed"] += len(found)
        return found

    def next_due(self) -> float | None:
        """When the next packet is due; None: nothing waits."""
        return self._waiting[0][0] if self._waiting else None
