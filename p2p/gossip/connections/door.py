"""Decides which connections may come in and stay, and counts what each has unread.

Law: when all places are taken, a fixed order says which connection makes room for a newcomer, so silent or idle
strangers never keep honest peers out.

guards.py makes the library pass each inbound socket to `knock`, each finished connection to `admit`, and each arriving
body to its Intake.
"""

from __future__ import annotations

import itertools
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from p2p.base.limits import BUDGETS, GREETING_GRACE_S, HALF_OPEN_S, WIDE_PLACES
from p2p.gossip.connections.budget import THIS_MACHINE, Budgets, Held, Ledger, first_to_go, wide_of
from p2p.gossip.connections.partings import Partings, Why
from p2p.gossip.connections.status import BudgetRow
from p2p.machine.deadlines import move_on_after

MARK = "_folkmoot_door"  # attribute under which the library's objects carry ours
_TURN_S = 0.05  # between two looks whether a handshake may begin
_STEP = 256 * 1024  # bytes that an intake takes from the ledger at once


class TooMuchUnread(trio.TooSlowError):
    """A peer sends more than anybody reads. The library ends the connection for its base class."""


@dataclass(slots=True)
class _Knock:
    """An inbound socket that has not proved a key yet."""

    name: str  # its address; for this machine a number of its own
    group: str
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    counted: bool = True  # it holds a place in the half-open budget


class Intake:
    """The unparsed bytes of one connection: an upper estimate of those in the multiplexer's buffers, and begun
    frames."""

    __slots__ = ("_charged", "_guess", "_ledger", "_muxed", "_wanted", "group", "heard_at", "overrun", "peer")

    def __init__(
        self, ledger: Ledger, muxed: Any, peer: str, group: str, wanted: Callable[[], bool] = lambda: False,
    ) -> None:
        """wanted: whether we want this connection ourselves (a validator's, or one that we dialled on purpose)."""
        self._ledger, self._muxed, self.peer, self.group, self._wanted = ledger, muxed, peer, group, wanted
        self.overrun: Callable[[], None] = lambda: None  # called before the connection ends for what nobody reads
        self._charged = self._guess = 0
        self.heard_at = float("-inf")  # trio's time of the newest body

    def attach(self, charge: Callable[[Any, str, str], None]) -> None:
        """From now on count the connection's bodies, and charge the CPU that reading its frames takes."""
        self._muxed.__dict__[MARK] = self
        for task in self._muxed._nursery.child_tasks:
            charge(task, self.peer, self.group)

    def arrive(self, length: int) -> None:
        """A body of `length` bytes is about to be kept. Raises TooMuchUnread where there is no room for it."""
        self._guess += length
        if self._guess <= self._charged:
            return
        self._guess = self._unread() + length
        wanted = -(-self._guess // _STEP) * _STEP
        if wanted <= self._charged:
            self._give(self._charged - wanted)
        elif self._ledger.take(self.peer, self.group, wanted - self._charged, ours=self._wanted()):
            self._charged = wanted
        else:
            self.overrun()
            raise TooMuchUnread

    def settle(self) -> None:
        """Give back what was read since the last estimate."""
        self._guess = self._unread()
        self._give(self._charged - min(self._charged, -(-self._guess // _STEP) * _STEP))

    def reserve(self, amount: int, *, ours: bool) -> bool:
        """Take room for a frame of `amount` bytes that has begun; False where there is none. ours: we asked for it."""
        return self._ledger.take(self.peer, self.group, amount, ours=ours)

    def release(self, amount: int) -> None:
        """Give that room back."""
        self._ledger.give(self.peer, self.group, amount)

    @property
    def closed(self) -> bool:
        return bool(self._muxed.is_closed)

    def _give(self, amount: int) -> None:
        if amount:
            self._ledger.give(self.peer, self.group, amount)
            self._charged -= amount

    def _unread(self) -> int:
        return 0 if self.closed else sum(map(len, self._muxed.stream_buffers.values()))


class Door:
    """The door of one host. Others set its callables."""

    def __init__(self, budgets: Budgets) -> None:
        self.budgets = budgets
        self.valued: Callable[[str], bool] = lambda peer: False  # the node: whether it is a validator's
        self.chosen: Callable[[str], bool] = lambda peer: False  # discovery: whether we dial it on purpose
        self.connections: Callable[[], list[Held]] = list  # discovery: all connections
        self.charge: Callable[[Any, str, str], None] = lambda task, peer, group: None  # Meter.charge
        self.partings = Partings()
        self.leaving: set[str] = set()  # peers whose connection makes room for another one
        self.refused = 0  # connections for which no other made room
        self._names = itertools.count()
        self._knocks: OrderedDict[str, _Knock] = OrderedDict()
        self._intakes: dict[int, Intake] = {}
        budgets.unparsed.settle = self._settle

    # -- before a key is known

    @asynccontextmanager
    async def knock(
        self, host: str | None, group: str, heard: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> AsyncIterator[None]:
        """Holds a half-open place during the handshake of an inbound socket.

        Raises ConnectionAbortedError when that takes longer than HALF_OPEN_S, or when a newer socket gets the place.
        heard: waits for the socket's first byte; before that it takes no turn among the handshakes.
        """
        number = next(self._names)
        knock = _Knock(f"{number}" if group == THIS_MACHINE else host or group, group)
        while not self.budgets.half_open.take(knock.name, group):
            self._give_up(self._oldest(knock))
        self._knocks[str(number)] = knock
        turns, peer = self.budgets.handshakes, knock.name
        try:
            with knock.scope, move_on_after(HALF_OPEN_S) as time:
                await heard()
                while not turns.allows(peer, group, trio.current_time()):
                    await trio.sleep(_TURN_S)
                turns.spend(peer, group, 1, trio.current_time())
                yield
        finally:
            self._knocks.pop(str(number), None)
            self._uncount(knock)
        if knock.scope.cancelled_caught or time.cancelled_caught:
            raise ConnectionAbortedError("the socket did not prove a key in time, or made room for a newer one")

    def _oldest(self, newcomer: _Knock) -> _Knock:
        """The oldest half-open socket of the newcomer's own address or group where that one is full, else of the group
        with most."""
        waiting = [knock for knock in self._knocks.values() if knock.counted]
        budget, ledger = self.budgets.half_open.budget, self.budgets.half_open
        by_peer, by_group = ledger.of(newcomer.name, newcomer.group)
        if by_peer >= budget.peer:
            return next(knock for knock in waiting if knock.name == newcomer.name)
        if newcomer.group and by_group >= budget.group:
            return next(knock for knock in waiting if knock.group == newcomer.group)
        largest = Counter(knock.group for knock in waiting).most_common(1)[0][0]
        return next(knock for knock in waiting if knock.group == largest)

    def _give_up(self, knock: _Knock) -> None:
        self._uncount(knock)
        knock.scope.cancel()

    def _uncount(self, knock: _Knock) -> None:
        if knock.counted:
            knock.counted = False
            self.budgets.half_open.give(knock.name, knock.group)

    # -- once it is known

    def room_for(self, peer: str, group: str) -> tuple[bool, str | None]:
        """(whether a connection of `peer` may stay, the peer that makes room for it or None).

        Both directions count, because a stranger that greets and leaves can make us dial it. The last quarter of the
        places is for connections that we chose ourselves. `peer` may be in the table already.
        """
        if self.valued(peer):
            return True, None
        budget, now = BUDGETS["connections"], trio.current_time()
        others = [one for one in self.connections() if one.peer != peer and one.peer not in self.leaving]
        chosen = self.chosen(peer)
        if not chosen and self._is_crowded(group, others):
            self.refused += 1
            return False, None
        if len(others) < (budget.total if chosen else budget.total - budget.total // 4):
            return True, None
        leaves = first_to_go(others, now, GREETING_GRACE_S)
        if leaves is None:
            self.refused += 1
            return False, None
        return True, leaves.peer

    def _is_crowded(self, group: str, others: list[Held]) -> bool:
        """Whether an address group, or the wide one that it is in, has as many connections as it may."""
        wide = wide_of(group)
        if wide and sum(one.wide == wide for one in others) >= WIDE_PLACES:
            return True
        return bool(group) and sum(one.group == group for one in others) >= BUDGETS["connections"].group

    def admit(self, peer: str, group: str) -> bool:
        """Whether the connection of `peer` stays. A peer that makes room is in `leaving` until it was told why and its
        connection has ended."""
        stays, leaves = self.room_for(peer, group)
        if leaves is not None:
            self.leaving.add(leaves)
        return stays

    def is_stuck(self, peer: str) -> None:
        """`peer` does not read what waits for it: its place is given away."""
        self.partings.say(peer, Why.UNREAD, "it does not read what waits for it")
        self.leaving.add(peer)

    def intake(self, muxed: Any, group: str) -> Intake:
        """The intake of a connection; made where there is none."""
        found = self._intakes.get(id(muxed))
        if found is None:
            peer = str(muxed.peer_id)
            found = self._intakes[id(muxed)] = Intake(
                self.budgets.unparsed, muxed, peer, group, lambda: self.wants(peer),
            )
            found.overrun = lambda: self.partings.say(peer, Why.UNREAD, "it sends more than anybody reads")
        return found

    def heard_at(self, peer: str) -> float:
        """When anything last came from `peer`, in trio's time."""
        return max((intake.heard_at for intake in self._intakes.values() if intake.peer == peer), default=float("-inf"))

    def wants(self, peer: str) -> bool:
        """Whether we want a connection to `peer` ourselves."""
        return self.valued(peer) or self.chosen(peer)

    def pace_s(self, peer: str) -> float:
        """Seconds for which the next frame of `peer` waits: until it owes no CPU. 0 for a valued peer."""
        if self.valued(peer):
            return 0.0
        return self.budgets.work.owed(peer, trio.current_time()) / self.budgets.work.budget.peer

    def sweep(self) -> None:
        """Forget the intakes of closed connections. Their readers keep them until they end."""
        for name, intake in list(self._intakes.items()):
            if intake.closed:
                intake.settle()
                del self._intakes[name]

    def _settle(self) -> None:
        for intake in self._intakes.values():
            intake.settle()

    def status(self) -> dict[str, BudgetRow]:
        """By resource."""
        budget = BUDGETS["connections"]
        row = BudgetRow(
            used=len(self.connections()), of=budget.total, by_group=budget.group, by_wide_group=WIDE_PLACES,
            refused=self.refused,
        )
        return {**self.budgets.status(), "connections": row}
