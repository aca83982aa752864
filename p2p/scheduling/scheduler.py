"""Which ML node does which job when.

Law: pure. Time is passed in, seconds on one clock that does not go back. To be admitted and to count as running is one
step, so requests that come at the same moment get no more places than there are.

The caller offers each job, waits where it is told to, and says when the job ended, however it ended. After each change
it calls `tick`, and at least every second while something waits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from p2p.base.errors import ConfigError
from p2p.base.serving_limits import (
    MAX_ML_NODES,
    MAX_OVERTAKEN,
    MAX_QUEUED,
    QUEUE_AGE_S,
    QUEUED_OF_ACCOUNT,
    RETRY_MOST_S,
)
from p2p.scheduling.affinity import Affinity
from p2p.scheduling.classes import CLIENTS, ends
from p2p.scheduling.jobs import Busy, Job, Outcome, Placed, Queued
from p2p.scheduling.line import Line, Waiting
from p2p.scheduling.measured import hint
from p2p.scheduling.metrics import Metrics
from p2p.scheduling.nodes import Fit, Node, NodeSpec, NodeView


@dataclass(slots=True)
class _Running:
    """A job from Placed to `ended`."""

    job: Job
    need: int
    node: Node  # also after it was removed
    line: Line


@dataclass(slots=True)
class Scheduler:
    """One per peer."""

    _nodes: dict[str, Node] = field(default_factory=dict)
    _lines: dict[str, Line] = field(default_factory=dict)  # by model
    _running: dict[int, _Running] = field(default_factory=dict)  # by ticket
    _affinity: Affinity = field(default_factory=Affinity)
    _last: int = 0  # ticket given
    _refused: list[Busy] = field(default_factory=list)  # jobs that made room for others; the next tick says so

    # -- jobs -----------------------------------------------------------------------------------------------------

    def offer(self, job: Job, now: float) -> Outcome:
        """A job comes. Placed: it counts as running from now on."""
        line = self._lines.get(job.model)
        nodes = self._nodes_of(job.model)
        if line is None or not nodes:
            return Busy(0, 0, f"no ML node here serves {job.model[:80]}")
        need = line.lengths.need(job)
        if not any(node.could_hold(need) for node in nodes):
            most = max(node.metrics.kv_tokens or 0 for node in nodes)
            return Busy(0, 0, f"the request may use {need} tokens; the ML nodes here hold {most} at once")
        if all(node.is_draining for node in nodes):
            return Busy(0, RETRY_MOST_S, f"the ML nodes for {job.model[:80]} take no new work")
        if not any(node.is_up for node in nodes):
            return Busy(0, hint(QUEUE_AGE_S), f"the ML nodes for {job.model[:80]} are not ready")
        self._last += 1
        row = Waiting(self._last, job, need, now)
        line.enter(row)
        first = self._first(line, now)
        if first is not None and first[0] is row:
            return self._place(line, row, first[1], now)
        return self._wait(line, row, now)

    def ended(self, ticket: int, tokens: int, now: float) -> bool:
        """The job of this ticket ended, or is not wanted any more. tokens: what it used, prompt included. Whether it
        was running or waiting; a second call changes nothing."""
        run = self._running.pop(ticket, None)
        if run is None:
            return any(line.leave(ticket) is not None for line in self._lines.values())
        self._advance(run.line, now)
        run.node.take(ticket)
        run.line.rate.note(tokens)
        run.line.lengths.note(run.job, tokens)
        if run.job.kind in CLIENTS:
            run.line.shares.correct(run.job.account, tokens - run.need)
        return True

    def tick(self, now: float) -> list[Placed | Busy]:
        """What became of jobs that waited. Each is named once."""
        found: list[Placed | Busy] = [*self._refused]
        self._refused.clear()
        self._affinity.forget(now)
        for line in list(self._lines.values()):
            found += self._give_up(line, now)
            while (first := self._first(line, now)) is not None:
                found.append(self._place(line, *first, now))
            if not line.rows and not self._nodes_of(line.model):
                del self._lines[line.model]
        return found

    # -- ML nodes -------------------------------------------------------------------------------------------------

    def add(self, spec: NodeSpec) -> None:
        """A new ML node; it is down until it is observed. Raises ConfigError(field='name' | 'ml_nodes')."""
        if spec.name in self._nodes:
            raise ConfigError(f"there is an ML node {spec.name!r} already; give another name", field="name")
        if len(self._nodes) >= MAX_ML_NODES:
            raise ConfigError(f"a peer has at most {MAX_ML_NODES} ML nodes; remove one first", field="ml_nodes")
        self._nodes[spec.name] = Node(spec)
        self._lines.setdefault(spec.model, Line(spec.model))

    def observe(self, name: str, metrics: Metrics | None, now: float) -> None:
        """What a look at an ML node found; None: it does not answer. One that is not known is ignored: it was removed
        while somebody looked."""
        if (node := self._nodes.get(name)) is not None:
            node.look(metrics, now)

    def drain(self, name: str, *, on: bool = True) -> None:
        """It gets nothing new; what runs there ends. on: False: it gets work again. Raises ConfigError."""
        self._node(name).is_draining = on

    def remove(self, name: str) -> None:
        """It is forgotten. Jobs that still run there are its caller's to end. Raises ConfigError."""
        self._node(name)
        del self._nodes[name]

    def is_idle(self, name: str) -> bool:
        """Whether nothing of ours runs there. Raises ConfigError."""
        return not self._node(name).jobs

    # -- what is seen ---------------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return sum(len(line.rows) for line in self._lines.values())

    @property
    def sessions(self) -> int:
        """How many are remembered."""
        return len(self._affinity)

    def views(self) -> tuple[NodeView, ...]:
        return tuple(node.view() for node in self._nodes.values())

    def rate(self, model: str) -> float | None:
        """Tokens a second that were measured; None: nothing was."""
        line = self._lines.get(model)
        return line.rate.per_s if line is not None else None

    # -- inside ---------------------------------------------------------------------------------------------------

    def _node(self, name: str) -> Node:
        if name not in self._nodes:
            there = ", ".join(self._nodes) or "none"
            raise ConfigError(f"no ML node is called {name[:80]!r}; there are: {there}", field="name")
        return self._nodes[name]

    def _nodes_of(self, model: str) -> list[Node]:
        return [node for node in self._nodes.values() if node.spec.model == model]

    def _advance(self, line: Line, now: float) -> None:
        line.rate.advance(now, busy=any(node.jobs for node in self._nodes_of(line.model)))

    def _first(self, line: Line, now: float) -> tuple[Waiting, Node] | None:
        """The job that begins next, and where. A job for which there is no room lets MAX_OVERTAKEN others pass, then
        all behind it wait until there is."""
        if not line.rows or not any(node.has_place(now) for node in self._nodes_of(line.model)):
            return None  # the usual case under load: no order is made for it
        for row in line.order(now):
            node, fit = self._best(line, row, now)
            if node is not None:
                return row, node
            if fit is Fit.NO_ROOM and row.overtaken >= MAX_OVERTAKEN:
                return None
        return None

    def _best(self, line: Line, row: Waiting, now: float) -> tuple[Node | None, Fit]:
        """The node for a job: the one that served its session last, else the freest. Without one: why."""
        hurry, known = line.hurries(row, now), self._affinity.of(row.job)
        fits = [(node, node.fit(row.job, row.need, now, hurry=hurry)) for node in self._nodes_of(line.model)]
        free = [node for node, fit in fits if fit is Fit.YES]
        if free:
            return min(free, key=lambda node: (node.spec.name != known, node.load)), Fit.YES
        reasons = {fit for _, fit in fits}
        return None, Fit.NO_ROOM if Fit.NO_ROOM in reasons else Fit.NO_GAP

    def _place(self, line: Line, row: Waiting, node: Node, now: float) -> Placed:
        self._advance(line, now)
        for other in line.order(now):
            if other is row:
                break
            if self._best(line, other, now)[1] is Fit.NO_ROOM:
                other.overtaken += 1
        line.begin(row)
        node.put(row.ticket, row.job.kind, row.need)
        self._running[row.ticket] = _Running(row.job, row.need, node, line)
        self._affinity.note(row.job, node.spec.name, now)
        return Placed(row.ticket, node.spec.name)

    def _wait(self, line: Line, row: Waiting, now: float) -> Queued | Busy:
        """A job that cannot begin now waits, unless it would wait too long, or the line is full and it is the last."""
        order = line.order(now)
        same = [one for one in order if one.job.kind is row.job.kind]
        mine = [one for one in same if one.job.account == row.job.account]
        wait_s = self._expected(line, order[: order.index(row)])
        age_s = ends(row.job, now) - now
        if row.job.kind in CLIENTS and len(mine) > QUEUED_OF_ACCOUNT:
            return self._refuse(line, row, wait_s, f"{QUEUED_OF_ACCOUNT} requests of this account wait here already")
        if wait_s > age_s:
            why = f"it would wait some {wait_s:.0f} s for a place, {max(age_s, 0.0):.0f} s are allowed"
            return self._refuse(line, row, wait_s - age_s, why)
        if len(same) > MAX_QUEUED:
            full = f"{MAX_QUEUED} requests wait here already"
            if same[-1] is row:
                return self._refuse(line, row, wait_s, full)
            self._refused.append(self._refuse(line, same[-1], wait_s, full))
        return Queued(row.ticket, wait_s)

    def _expected(self, line: Line, ahead: Iterable[Waiting]) -> float:
        """Seconds until those in front have begun and one more place is free."""
        needs = [need for node in self._nodes_of(line.model) for _, need in node.jobs.values()]
        return line.rate.wait_s(sum(one.need for one in ahead) + (sum(needs) / len(needs) if needs else 0))

    def _refuse(self, line: Line, row: Waiting, wait_s: float, why: str) -> Busy:
        line.leave(row.ticket)
        return Busy(row.ticket, hint(wait_s), why)

    def _give_up(self, line: Line, now: float) -> list[Busy]:
        """Those that waited as long as they may, or for which there is no ML node any more."""
        gone = not self._nodes_of(line.model)
        late = [row for row in line.rows.values() if gone or now >= ends(row.job, row.since)]
        if not late:
            return []
        wait_s = self._expected(line, line.rows.values())
        why = "its ML node was removed" if gone else "no place became free in time"
        return [self._refuse(line, row, wait_s, why) for row in late]
