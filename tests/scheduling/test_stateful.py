"""Any sequence of offers, ends, looks, drains and removals keeps the scheduler's laws."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2p.base.errors import ConfigError
from p2p.base.serving_limits import CHECKS_PER_NODE, ENGINE_QUEUE_S
from p2p.scheduling.classes import ends
from p2p.scheduling.jobs import Job, Kind, Placed, Queued
from p2p.scheduling.metrics import Metrics
from p2p.scheduling.nodes import NodeSpec
from p2p.scheduling.scheduler import Scheduler

NAMES = ("n0", "n1", "n2")
MODELS = ("m", "k")


class Host(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.scheduler, self.now = Scheduler(), 0.0
        self.specs: dict[str, NodeSpec] = {}
        self.kv: dict[str, int | None] = {}  # of nodes that are up
        self.draining: set[str] = set()
        self.running: dict[int, tuple[Job, str]] = {}
        self.waiting: dict[int, tuple[Job, float]] = {}

    def settle(self) -> None:
        for found in self.scheduler.tick(self.now):
            job, since = self.waiting.pop(found.ticket)
            if isinstance(found, Placed):
                self.placed(found, job)
                assert self.now < ends(job, since)
        assert self.scheduler.tick(self.now) == [], "one tick does all that can be done"

    def placed(self, found: Placed, job: Job) -> None:
        assert found.ticket not in self.running
        assert self.specs[found.node].model == job.model
        assert found.node in self.kv, "it is up"
        assert found.node not in self.draining
        self.running[found.ticket] = job, found.node
        there = [one for one, node in self.running.values() if node == found.node]
        assert len(there) <= self.specs[found.node].max_jobs
        assert sum(one.kind is Kind.VALIDATION for one in there) <= CHECKS_PER_NODE

    @rule(name=st.sampled_from(NAMES), model=st.sampled_from(MODELS), places=st.integers(1, 4))
    def add(self, name: str, model: str, places: int) -> None:
        spec = NodeSpec(name, model, places)
        try:
            self.scheduler.add(spec)
        except ConfigError:
            assert name in self.specs
        else:
            self.specs[name] = spec
        self.settle()

    @precondition(lambda self: self.specs)
    @rule(
        data=st.data(), kv=st.none() | st.integers(100, 2000), usage=st.floats(0, 1), up=st.booleans(),
        waiting=st.integers(0, 1),
    )
    def look(self, data: st.DataObject, kv: int | None, usage: float, up: bool, waiting: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.specs)))
        mine = sum(node == name for _, node in self.running.values())
        self.scheduler.observe(name, Metrics(mine, waiting, kv, usage) if up else None, self.now)
        self.kv.pop(name, None)
        if up:
            self.kv[name] = kv
        self.settle()

    @rule(
        kind=st.sampled_from(Kind), model=st.sampled_from(MODELS), account=st.sampled_from([b"a", b"b", b"c"]),
        prompt=st.integers(0, 300), most=st.integers(0, 300), session=st.sampled_from([b"", b"s"]),
        window=st.none() | st.floats(0, 50),
    )
    def offer(
        self, kind: Kind, model: str, account: bytes, prompt: int, most: int, session: bytes, window: float | None
    ) -> None:
        begin_by = None if window is None or kind is not Kind.VALIDATION else self.now + window
        job = Job(kind, model, prompt, most, account, session, begin_by)
        found = self.scheduler.offer(job, self.now)
        if isinstance(found, Placed):
            self.placed(found, job)
        elif isinstance(found, Queued):
            self.waiting[found.ticket] = job, self.now
        else:
            assert found.reason
        self.settle()

    @precondition(lambda self: self.running or self.waiting)
    @rule(data=st.data(), tokens=st.integers(0, 1000))
    def end(self, data: st.DataObject, tokens: int) -> None:
        ticket = data.draw(st.sampled_from(sorted({*self.running, *self.waiting})))
        assert self.scheduler.ended(ticket, tokens, self.now)
        assert not self.scheduler.ended(ticket, tokens, self.now)
        self.running.pop(ticket, None)
        self.waiting.pop(ticket, None)
        self.settle()

    @rule(seconds=st.floats(0, 2 * ENGINE_QUEUE_S))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.settle()

    @precondition(lambda self: self.specs)
    @rule(data=st.data(), on=st.booleans())
    def drain(self, data: st.DataObject, on: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.specs)))
        self.scheduler.drain(name, on=on)
        (self.draining.add if on else self.draining.discard)(name)
        self.settle()

    @precondition(lambda self: self.specs)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.specs)))
        self.scheduler.remove(name)
        del self.specs[name]
        self.kv.pop(name, None)
        self.draining.discard(name)
        for ticket, (_, node) in list(self.running.items()):
            if node == name:  # its caller notices that the engine is gone
                assert self.scheduler.ended(ticket, 0, self.now)
                del self.running[ticket]
        self.settle()

    @invariant()
    def nobody_is_lost(self) -> None:
        assert self.scheduler.running == len(self.running)
        assert self.scheduler.waiting == len(self.waiting)

    @invariant()
    def no_cache_is_promised_twice(self) -> None:
        for view in self.scheduler.views():
            assert view.jobs == sum(node == view.name for _, node in self.running.values())
            assert view.reserved_tokens >= view.jobs

    @invariant()
    def a_free_node_leaves_nobody_waiting(self) -> None:
        """What waits for a model has a node of it that may take work later."""
        models = {spec.model for spec in self.specs.values()}
        assert all(job.model in models for job, _ in self.waiting.values())

    def teardown(self) -> None:
        """With nodes that are up and jobs that end, everything that waits begins or is refused."""
        for name in self.specs:
            self.scheduler.drain(name, on=False)
            self.draining.discard(name)
        for _ in range(1000):
            if not self.waiting:
                break
            self.now += 1.0
            for name in self.specs:
                self.scheduler.observe(name, Metrics(0, 0), self.now)
                self.kv[name] = None
            for ticket in list(self.running):
                assert self.scheduler.ended(ticket, 10, self.now)
                del self.running[ticket]
            self.settle()
        assert not self.waiting


Host.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestHost = Host.TestCase
