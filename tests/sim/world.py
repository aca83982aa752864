"""Time and links. Law: one heap of (time, sequence), one seeded generator; equal seeds give equal runs, byte for
byte."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

EPOCH_MS = 1_700_000_000_000


@dataclass(slots=True)
class Links:
    """What happens between peers. Times in ms, chances from 0 to 1. cut: ordered pairs that cannot talk (so also
    one way only)."""

    latency: tuple[int, int] = (5, 40)
    loss: float = 0.0
    duplicate: float = 0.0
    straggle: float = 0.0  # chance of a very late message: this is what reorders
    straggle_ms: int = 3000
    cut: set[tuple[int, int]] = field(default_factory=set)

    def heal(self) -> None:
        self.loss = self.duplicate = self.straggle = 0.0
        self.cut = set()


class World:
    """now: ms since the start. note(): one line of the readable trace, and part of the audit hash."""

    def __init__(self, seed: int, links: Links, *, trace: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.links = links
        self.rng = random.Random(seed)
        self.now = 0
        self.events = 0
        self.asked = 0  # nonces of the client's requests
        self._trace = trace
        self._audit = hashlib.sha256()
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now + max(0, delay_ms), self._count, action))

    def note(self, text: str) -> None:
        line = f"{self.now:>8} {text}"
        self._audit.update(line.encode() + b"\n")
        if self._trace is not None:
            self._trace(line)

    @property
    def audit(self) -> str:
        return self._audit.hexdigest()

    def run(self, until_ms: int, done: Callable[[], bool] = lambda: False, max_events: int = 2_000_000) -> bool:
        """Until the time is over or `done`. True when done. Raises when the run exceeds its events (a livelock)."""
        while self._heap and self._heap[0][0] <= until_ms:
            self.now, _, action = heapq.heappop(self._heap)
            self.events += 1
            if self.events > max_events:
                raise AssertionError(f"more than {max_events} events: a livelock")
            action()
            if done():
                return True
        self.now = max(self.now, until_ms)
        return done()

    def send(self, source: int, target: int, size: int, arrive: Callable[[], None]) -> None:
        """One message on the link; it may be lost, doubled or late."""
        links, rng = self.links, self.rng
        if (source, target) in links.cut or rng.random() < links.loss:
            return
        for _ in range(2 if rng.random() < links.duplicate else 1):
            delay = rng.randint(*links.latency) + size // 20_000
            if links.straggle and rng.random() < links.straggle:
                delay += rng.randint(0, links.straggle_ms)
            self.at(delay, arrive)

    def reach(self, source: int, target: int, arrive: Callable[[], None]) -> None:
        """A reliable stream's message: late perhaps, lost only where the link is cut."""
        if (source, target) not in self.links.cut:
            self.at(self.rng.randint(*self.links.latency), arrive)
