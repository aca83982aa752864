"""A host under load, simulated: engines that make tokens at a fixed rate, clients that ask. Seeded; no clock."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

from p2p.scheduling.jobs import Busy, Job, Placed, Queued
from p2p.scheduling.metrics import Metrics
from p2p.scheduling.nodes import NodeSpec
from p2p.scheduling.scheduler import Scheduler

STEP_S = 1.0  # between two ticks and looks


@dataclass
class Engine:
    """An ML node: its answers get `rate` tokens a second each."""

    name: str
    places: int
    kv: int
    rate: float = 20.0
    running: dict[int, int] = field(default_factory=dict)  # ticket -> tokens held


@dataclass
class World:
    """used: job -> tokens that it really uses."""

    engines: list[Engine]
    used: Callable[[Job, random.Random], int]
    seed: int
    scheduler: Scheduler = field(default_factory=Scheduler)
    now: float = 0.0
    served: Counter[bytes] = field(default_factory=Counter)  # account -> tokens
    done: Counter[str] = field(default_factory=Counter)  # by class, and 'busy'
    waits: dict[str, list[float]] = field(default_factory=dict)  # class -> seconds from offer to place
    refused_after: list[float] = field(default_factory=list)
    most_running: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.jobs: dict[int, tuple[Job, float]] = {}  # ticket -> job, when it was offered
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = count()
        for engine in self.engines:
            self.scheduler.add(NodeSpec(engine.name, "m", engine.places))
        self._look()

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when, next(self.order), what))

    def offer(self, job: Job) -> None:
        found = self.scheduler.offer(job, self.now)
        if isinstance(found, Busy):
            self.done["busy"] += 1
            return
        self.jobs[found.ticket] = job, self.now
        if isinstance(found, Placed):
            self._begin(found)
        else:
            assert isinstance(found, Queued)
        self._tick()

    def run(self, until: float) -> None:
        while self.events and self.events[0][0] <= until:
            self.now, _, what = heapq.heappop(self.events)
            what()

    def _tick(self) -> None:
        for found in self.scheduler.tick(self.now):
            if isinstance(found, Placed):
                self._begin(found)
            else:
                self.done["busy"] += 1
                self.refused_after.append(self.now - self.jobs.pop(found.ticket)[1])

    def _begin(self, placed: Placed) -> None:
        job, since = self.jobs[placed.ticket]
        engine = next(one for one in self.engines if one.name == placed.node)
        tokens = min(self.used(job, self.random), job.tokens)
        engine.running[placed.ticket] = tokens
        self.most_running[engine.name] = max(self.most_running[engine.name], len(engine.running))
        self.waits.setdefault(job.kind.name, []).append(self.now - since)
        self.at(self.now + max(tokens - job.prompt_tokens, 1) / engine.rate, lambda: self._end(placed.ticket, engine))

    def _end(self, ticket: int, engine: Engine) -> None:
        job, _ = self.jobs.pop(ticket)
        tokens = engine.running.pop(ticket)
        self.served[job.account] += tokens
        self.done[job.kind.name] += 1
        assert self.scheduler.ended(ticket, tokens, self.now)
        self._tick()

    def _look(self) -> None:
        for engine in self.engines:
            held = sum(engine.running.values())
            assert held <= engine.kv, "the engine has to break jobs off"
            self.scheduler.observe(
                engine.name, Metrics(len(engine.running), 0, engine.kv, held / engine.kv), self.now
            )
        self._tick()
        self.at(self.now + STEP_S, self._look)

    def stream(self, make: Callable[[], Job], every_s: float, first: float = 0.0) -> None:
        """Jobs with random gaps, so many seconds on average."""
        def gaps() -> Iterator[float]:
            while True:
                yield self.random.expovariate(1 / every_s)

        def one() -> None:
            self.offer(make())
            self.at(self.now + next(gaps()), one)

        self.at(first, one)

    def backlog(self, make: Callable[[], Job], depth: int) -> None:
        """An account that always has so many jobs waiting or running."""
        mine = make().account

        def top_up() -> None:
            have = sum(job.account == mine for job, _ in self.jobs.values())
            for _ in range(depth - have):
                self.offer(make())
            self.at(self.now + 0.5, top_up)

        self.at(0.0, top_up)
