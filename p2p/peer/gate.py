"""Where jobs wait for the scheduler's word: the running clock around p2p/scheduling.

Law: a place is given back however the work ends. A job that nobody waits for any more holds nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from p2p.base.errors import Overloaded, Unavailable
from p2p.scheduling.classes import due_at
from p2p.scheduling.jobs import Busy, Job, Placed
from p2p.scheduling.metrics import Metrics
from p2p.scheduling.scheduler import Scheduler

TICK_S = 0.5  # between two looks at those that wait: gaps and ends of windows come by time alone


@dataclass(slots=True)
class Place:
    """A job's place on an ML node while it runs."""

    node: str  # its name
    due: float = 0.0  # on the clock: until then its job may let others pass on the ML node
    tokens: int = 0  # set by whoever works: used so far, prompt included
    waited_s: float = 0.0


@dataclass(slots=True)
class _Wait:
    said: Placed | Busy | None = None
    event: trio.Event = field(default_factory=trio.Event)


@dataclass(slots=True)
class Gate:
    """One per peer."""

    scheduler: Scheduler = field(default_factory=Scheduler)
    clock: Callable[[], float] = trio.current_time
    _waits: dict[int, _Wait] = field(default_factory=dict)  # by ticket

    async def run(self) -> None:
        """For ever."""
        while True:
            await trio.sleep(TICK_S)
            if self.scheduler.waiting or self.scheduler.sessions:
                self.settle()

    @asynccontextmanager
    async def hold(self, job: Job) -> AsyncIterator[Place]:
        """A place for the block that follows, at once or after a wait. Raises Overloaded(field='executor') whose
        sentence says when to try again. A block that fails because its ML node does not answer (Unavailable of the
        field 'ml_node') keeps others from that node until the next look."""
        began = self.clock()
        found = self.scheduler.offer(job, began)
        if isinstance(found, Busy):
            raise _overloaded(found)
        ticket, place = found.ticket, None
        try:
            if not isinstance(found, Placed):
                found = await self._wait(ticket)
            place = Place(found.node, due_at(job, began), waited_s=self.clock() - began)
            yield place
        except Unavailable as error:
            if error.field == "ml_node" and place is not None:
                self.scheduler.observe(place.node, None, self.clock())
            raise
        finally:
            self._waits.pop(ticket, None)
            self.scheduler.ended(ticket, place.tokens if place is not None else 0, self.clock())
            self.settle()

    def observe(self, node: str, metrics: Metrics | None) -> None:
        """What a look at an ML node found; None: it does not answer."""
        self.scheduler.observe(node, metrics, self.clock())
        self.settle()

    def settle(self) -> None:
        """Tell those that wait what became of them. Called after each change."""
        for found in self.scheduler.tick(self.clock()):
            wait = self._waits.setdefault(found.ticket, _Wait())
            wait.said = found
            wait.event.set()

    async def _wait(self, ticket: int) -> Placed:
        wait = self._waits.setdefault(ticket, _Wait())
        self.settle()
        await wait.event.wait()
        if isinstance(wait.said, Placed):
            return wait.said
        assert wait.said is not None
        raise _overloaded(wait.said)


def _overloaded(busy: Busy) -> Overloaded:
    again = f"; try again in {busy.retry_after_s} s" if busy.retry_after_s else ""
    return Overloaded(busy.reason + again, field="executor", retry_after=busy.retry_after_s)
