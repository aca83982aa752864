"""What is known of one ML node: its room, its health, the jobs on it.

Law: a job counts from the moment it is placed. Two bounds hold together: what we placed (places, and tokens reserved in
the KV cache), and what the engine itself says (its usage and its own queue), because others may use it too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from p2p.base.serving_limits import ENGINE_QUEUE_S, KV_FULL, MAX_JOBS_PER_PEER
from p2p.scheduling.classes import RULES
from p2p.scheduling.jobs import Job, Kind
from p2p.scheduling.metrics import Metrics


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One ML node as the settings name it."""

    name: str
    model: str
    max_jobs: int = MAX_JOBS_PER_PEER  # at once


class Fit(Enum):
    """Whether a job may begin on a node."""

    YES = 0
    NO_GAP = 1  # there is room, but not for its class now
    NO_ROOM = 2
    NOT_HERE = 3  # it is down or draining, or could never hold the job


@dataclass(frozen=True, slots=True)
class NodeView:
    """An ML node for people. None: not known."""

    name: str
    model: str
    state: str  # 'ready', 'draining' or 'down'
    jobs: int
    max_jobs: int
    reserved_tokens: int
    kv_tokens: int | None
    kv_usage: float | None
    engine_running: int | None  # as the engine counts, others' requests included
    engine_waiting: int | None


@dataclass(slots=True)
class Node:
    """One ML node while the peer runs."""

    spec: NodeSpec
    metrics: Metrics = field(default_factory=Metrics)
    is_up: bool = False
    is_draining: bool = False
    jobs: dict[int, tuple[Kind, int]] = field(default_factory=dict)  # ticket -> its class, tokens reserved
    reserved: int = 0  # tokens of all of these
    _unseen: set[int] = field(default_factory=set)  # tickets of jobs placed since the last look
    _queue_since: float | None = None  # since when the engine's own queue is not empty

    def look(self, metrics: Metrics | None, now: float) -> None:
        """What was seen at `now`; None: it does not answer."""
        self.is_up, self.metrics = metrics is not None, metrics or Metrics()
        self._unseen.clear()
        if not self.metrics.waiting:
            self._queue_since = None
        elif self._queue_since is None:
            self._queue_since = now

    def fit(self, job: Job, need: int, now: float, *, hurry: bool = False) -> Fit:
        """Whether `job`, which needs so many tokens, may begin. hurry: it waits for no gap."""
        if not self.is_up or self.is_draining or not self.could_hold(need):
            return Fit.NOT_HERE
        if not self.has_place(now) or self._is_full(need):
            return Fit.NO_ROOM
        rule = RULES[job.kind]
        if sum(kind is job.kind for kind, _ in self.jobs.values()) >= rule.at_once:
            return Fit.NO_GAP
        if rule.in_gaps and not hurry and 2 * len(self.jobs) >= self.spec.max_jobs > 1:
            return Fit.NO_GAP
        return Fit.YES

    def has_place(self, now: float) -> bool:
        """Whether any job at all may begin."""
        is_open = self.is_up and not self.is_draining and len(self.jobs) < self.spec.max_jobs
        return is_open and not self.is_crowded(now)

    def could_hold(self, need: int) -> bool:
        """Whether `need` tokens fit when nothing else runs."""
        return self.metrics.kv_tokens is None or need <= self.metrics.kv_tokens

    def _is_full(self, need: int) -> bool:
        total, used = self.metrics.kv_tokens, self.metrics.kv_used
        if total is None:
            return False
        if self.reserved + need > total:
            return True
        idle = not self.jobs and not self.metrics.running
        new = sum(self.jobs[ticket][1] for ticket in self._unseen)
        return used is not None and not idle and used + new + need > total * KV_FULL

    def is_crowded(self, now: float) -> bool:
        """Whether the engine's own queue has not been empty for ENGINE_QUEUE_S: what it got more would only wait there,
        in no order of ours."""
        return self._queue_since is not None and now - self._queue_since >= ENGINE_QUEUE_S

    def put(self, ticket: int, kind: Kind, need: int) -> None:
        self.jobs[ticket] = kind, need
        self.reserved += need
        self._unseen.add(ticket)

    def take(self, ticket: int) -> None:
        self.reserved -= self.jobs.pop(ticket)[1]
        self._unseen.discard(ticket)

    @property
    def load(self) -> tuple[float, str]:
        """Smaller is freer; the name decides between equals."""
        held = self.reserved / self.metrics.kv_tokens if self.metrics.kv_tokens else 0.0
        return max(len(self.jobs) / self.spec.max_jobs, held), self.spec.name

    def view(self) -> NodeView:
        seen, state = self.metrics, "draining" if self.is_draining else "ready" if self.is_up else "down"
        return NodeView(
            self.spec.name, self.spec.model, state, len(self.jobs), self.spec.max_jobs, self.reserved, seen.kv_tokens,
            seen.kv_usage, seen.running, seen.waiting,
        )
