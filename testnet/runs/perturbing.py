"""Does to the network what the manifest says, and undoes it.

Law: each kind is one method that returns how it is undone; what cannot be done is noted and fails the run's check.
Cuts and overlays of several perturbations at once are kept together, because the fabric takes all of them or none.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from p2p.base.errors import FolkmootError
from testnet.fabric.commands import Cut
from testnet.fabric.fabric import Fabric
from testnet.fabric.links import Overlay, way_of
from testnet.manifest.kinds import KINDS
from testnet.manifest.members import Member
from testnet.manifest.model import Perturbation
from testnet.manifest.selectors import choose
from testnet.providers.provider import Provider
from testnet.runs import machine_faults
from testnet.runs.engines import server_of
from testnet.runs.events import Event
from testnet.runs.plan import RunPlan

Undo = Callable[[], None]


@dataclass(slots=True)
class Due:
    """Something that is to be done at a time of the load, in seconds."""

    at_s: float
    do: Callable[[], None]


@dataclass(slots=True)
class Perturber:
    plan: RunPlan
    provider: Provider
    fabric: Fabric | None
    start: Callable[[Member], None]  # starts a member as it was planned
    start_engine: Callable[[str], None]  # starts an ML node again, by its name, and waits for it
    say: Callable[[str], None]
    events: list[Event] = field(default_factory=list)
    down: set[str] = field(default_factory=set)  # peers that do not run now because of us
    left: set[str] = field(default_factory=set)  # that are not meant to come back
    _cuts: dict[int, list[Cut]] = field(default_factory=dict)  # by event
    _overlays: dict[int, Overlay] = field(default_factory=dict)

    def agenda(self) -> list[Due]:
        """Everything that is to be done, in order. Chance is fixed by the manifest's seed and the perturbation's
        place in it."""
        found: list[Due] = []
        for number, one in enumerate(self.plan.manifest.perturbations):
            rng = random.Random(f"{self.plan.manifest.seed}:{number}")
            whom = choose(one.peers, self.plan.members, rng)
            found += self._pair(one, whom)
        return sorted(found, key=lambda due: due.at_s)

    def _pair(self, one: Perturbation, whom: tuple[Member, ...]) -> list[Due]:
        """Its beginning, and its end where it has one."""
        undo: list[Undo] = []
        event = Event(one.kind, tuple(member.name for member in whom), 0.0)

        def begin() -> None:
            event.began = time.time()
            self.events.append(event)
            self.say(f"{event.who}: {KINDS[one.kind].what}")
            try:
                undo.append(getattr(self, "do_" + one.kind.replace("-", "_"))(one, whom))
            except (FolkmootError, OSError) as error:
                event.error = str(error)
                self.say(f"{one.kind} could not be done: {error}")
            if not KINDS[one.kind].lasts:
                event.ended = time.time()

        def end() -> None:
            try:
                for step in undo:
                    step()
            except (FolkmootError, OSError) as error:
                event.error = str(error)
                self.say(f"{one.kind} could not be undone: {error}")
            event.ended = time.time()
            self.say(f"{event.who}: {one.kind} is over")

        ends = [Due(one.at_s + one.for_s, end)] if one.for_s is not None else []
        return [Due(one.at_s, begin), *ends]

    # -- processes -----------------------------------------------------------------------------------------------

    def do_kill(self, one: Perturbation, whom: tuple[Member, ...]) -> Undo:
        return self._stop(whom, kill=True)

    def do_leave(self, one: Perturbation, whom: tuple[Member, ...]) -> Undo:
        return self._stop(whom, kill=False)

    def _stop(self, whom: tuple[Member, ...], *, kill: bool) -> Undo:
        names = {member.name for member in whom}
        self.down |= names
        self.left |= names
        for member in whom:
            self.provider.stop(member.name, kill=kill)
        return lambda: self._start(whom)

    def _start(self, whom: tuple[Member, ...]) -> None:
        for member in whom:
            self.start(member)
            self.down.discard(member.name)
            self.left.discard(member.name)

    def do_pause(self, one: Perturbation, whom: tuple[Member, ...]) -> Undo:
        self.down |= {member.name for member in whom}
        for member in whom:
            self.provider.signal(member.name, signal.SIGSTOP)

        def undo() -> None:
            for member in whom:
                self.provider.signal(member.name, signal.SIGCONT)
                self.down.discard(member.name)

        return undo

    def do_restart(self, one: Perturbation, whom: tuple[Member, ...]) -> Undo:
        for member in whom:
            self._stop((member,), kill=False)()
        return _nothing

    def do_join(self, one: Perturbation, whom: tuple[Member, ...]) -> Undo:
        self._start(whom)
        return _nothing

    def do_upgrade(self, one: Perturbation, whom: tuple[Member, ...]) -> Undo:
        """The member's plan says the previous release only until its first stop."""
        for member in whom:
            self.provider.stop(member.name)
            self.plan.upgraded.add(member.name)
            self.start(member)
        return _nothing

    def do_bootstrap_gone(self, one: Perturbation, whom: tuple[Member, ...]) -> Undo:
        return self._stop((self.plan.first(),), kill=True)

    def do_stop_all(self, one: Perturbation, whom: tuple[Member, ...]) -> Undo:
        running = tuple(m for m in self.plan.members if m.role != "client" and self.provider.pid(m.name) is not None)
        return self._stop(running, kill=True)

    def do_engine_kill(self, one: Perturbation, whom: tuple[Member, ...]) -> Undo:
        names = sorted({server.name for member in whom if (server := server_of(member)) is not None})
        for name in names:
            self.provider.stop(name, kill=True)

        def undo() -> None:
            for name in names:
                self.start_engine(name)

        return undo

    def do_overload(self, one: Perturbation, whom: tuple[Member, ...]) -> Undo:
        return machine_faults.keep_busy(one.processes, one.for_s or 0.0)

    # -- links ---------------------------------------------------------------------------------------------------

    def _sides(self, one: Perturbation, whom: tuple[Member, ...]) -> tuple[frozenset[str], frozenset[str]]:
        """(addresses of those that suffer, of the other side)."""
        rng = random.Random(f"{self.plan.manifest.seed}:against")
        other = choose(one.against, self.plan.members, rng) if one.against else self.plan.members
        mine = frozenset(member.address for member in whom)
        return mine, frozenset(member.address for member in other) - mine

    def _cut(self, one: Perturbation, cuts: list[Cut]) -> Undo:
        assert self.fabric is not None
        key = id(one)
        self._cuts[key] = cuts
        self.fabric.cut([cut for group in self._cuts.values() for cut in group])

        def undo() -> None:
            assert self.fabric is not None
            del self._cuts[key]
            self.fabric.cut([cut for group in self._cuts.values() for cut in group])

        return undo

    def do_disconnect(self, one: Perturbation, whom: tuple[Member, ...]) -> Undo:
        """Each alone: also from the others that are cut off with it."""
        everybody = frozenset(member.address for member in self.plan.members)
        cuts = []
        for member in whom:
            mine = frozenset((member.address,))
            cuts += [Cut(mine, everybody - mine), Cut(everybody - mine, mine)]
        return self._cut(one, cuts)

    def do_partition(self, one: Perturbation, whom: tuple[Member, ...]) -> Undo:
        mine, other = self._sides(one, whom)
        return self._cut(one, [Cut(mine, other), Cut(other, mine)])

    def do_one_way(self, one: Perturbation, whom: tuple[Member, ...]) -> Undo:
        mine, other = self._sides(one, whom)
        return self._cut(one, [Cut(other, mine)])

    def do_slow_link(self, one: Perturbation, whom: tuple[Member, ...]) -> Undo:
        assert self.fabric is not None
        key, (mine, other) = id(one), self._sides(one, whom)
        way = way_of(one.latency_ms, one.jitter_ms, one.loss_percent, one.mbit)
        self._overlays[key] = Overlay(mine, other, way)
        self.fabric.lay(list(self._overlays.values()))

        def undo() -> None:
            assert self.fabric is not None
            del self._overlays[key]
            self.fabric.lay(list(self._overlays.values()))

        return undo

    do_loss = do_slow_link

    # -- machines ------------------------------------------------------------------------------------------------

    def do_clock_offset(self, one: Perturbation, whom: tuple[Member, ...]) -> Undo:
        return _all([machine_faults.set_clock(self.plan.folder(m.name), one.offset_ms) for m in whom])

    def do_disk_full(self, one: Perturbation, whom: tuple[Member, ...]) -> Undo:
        """A peer whose disk is full halts, as it should; it is started again when there is room."""
        undo = [machine_faults.fill_disk(self.plan.folder(member.name)) for member in whom]
        self.down |= {member.name for member in whom}

        def back() -> None:
            _all(undo)()
            for member in whom:
                self.provider.stop(member.name)
            self._start(whom)

        return back

    def do_slow_disk(self, one: Perturbation, whom: tuple[Member, ...]) -> Undo:
        found: list[Undo] = []
        for member in whom:
            pid = self.provider.pid(member.name)
            if pid is not None:
                folder = self.plan.folder(member.name)
                found.append(machine_faults.slow_disk(folder, pid, one.writes_a_second))
        return _all(found)


def _nothing() -> None:
    """What happens once is not undone."""


def _all(steps: list[Undo]) -> Undo:
    def run() -> None:
        for step in steps:
            step()

    return run


def methods() -> dict[str, Any]:
    """Kind -> method, for the test that every kind has one."""
    return {name: getattr(Perturber, "do_" + name.replace("-", "_"), None) for name in KINDS}
