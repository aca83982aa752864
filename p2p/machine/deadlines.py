"""Deadlines that a late process widens by its own delay.

Law: nobody is blamed for our own lateness: a wait ends when the other side was silent while we could have heard it.

- LATE-1: a turn of the event loop is own time up to LATE_S. What it takes beyond that, and how much later than asked
  the machine woke us, is lost time. Own time is the clock's time without what was lost.
- LATE-2: a deadline of s seconds is s seconds of own time, and at most MAX_STRETCH times s seconds of the clock.

`fail_after` and `move_on_after` are trio's, with that difference. A turn counts only where the run's clock and the
machine's agree, so under a test's clock nothing is lost but what the test says.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

import trio

from p2p.base.limits import LATE_S, MAX_STRETCH, STRAIN_S

_MARGIN_S = 0.001  # trio looks at its clock a little after us
_DISAGREE = 0.1  # share by which two clocks may differ over one turn
_SPARE_ENTRIES = 256  # ended waits that may stay in the heap before it is made anew


@dataclass(slots=True)
class OwnTime:
    """How much time this process has lost, and how much it loses now. Pure."""

    lost_s: float = 0.0
    _share: float = 0.0  # of the time that is lost now, smoothed over STRAIN_S

    def turn(self, length_s: float, late_s: float) -> None:
        """A turn of the event loop took `length_s` with its sleep, of which `late_s` was work or oversleep. LATE-1."""
        if length_s <= 0:
            return
        lost = min(length_s, max(0.0, late_s - LATE_S))
        self.lost_s += lost
        self._share += (lost / length_s - self._share) * length_s / (STRAIN_S + length_s)

    @property
    def strain(self) -> float:
        """How much longer things take than on time: 1 is on time, MAX_STRETCH the most that is told."""
        return min(float(MAX_STRETCH), 1.0 / max(1.0 - self._share, 1e-9))


@dataclass(slots=True, order=True)
class _Wait:
    at: float  # where the scope's deadline stands
    number: int
    scope: trio.CancelScope = field(compare=False)
    begun: float = field(compare=False)
    seconds: float = field(compare=False)
    lost_s: float = field(compare=False)  # that had been lost when it began
    over: bool = field(default=False, compare=False)

    def due(self, lost_s: float) -> float:
        """LATE-2. When it ends by the clock, if no more is lost."""
        return self.begun + min(self.seconds + lost_s - self.lost_s, self.seconds * MAX_STRETCH)


class Deadlines(trio.abc.Instrument):
    """The open waits of one trio run."""

    def __init__(self) -> None:
        self.own = OwnTime()
        self.watchers: list[Callable[[float, float], None]] = []  # (late_s, length_s) of each turn; for load.py
        self._heap: list[_Wait] = []
        self._open = self._count = 0
        self._clocks = self._now()  # when the turn began
        self._asleep = self._clocks

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), trio.current_time()

    def before_io_wait(self, timeout: float) -> None:
        del timeout
        self._asleep = self._now()

    def after_io_wait(self, timeout: float) -> None:
        """Trio calls this before it ends what is due, so what we were late for is moved here."""
        began, asleep, now = self._clocks, self._asleep, self._now()
        self._clocks = now
        length, by_trio = now[0] - began[0], now[1] - began[1]
        if abs(length - by_trio) <= _DISAGREE * length + _MARGIN_S:
            overslept = max(0.0, now[0] - asleep[0] - timeout)
            late = asleep[0] - began[0] + overslept
            self.own.turn(length, late)
            for watch in self.watchers:
                watch(late, length)
        self._move(now[1])

    def _move(self, now: float) -> None:
        heap = self._heap
        while heap and heap[0].at <= now + _MARGIN_S:
            wait = heapq.heappop(heap)
            due = wait.due(self.own.lost_s)
            if not wait.over and due > now + _MARGIN_S:
                wait.at = wait.scope.deadline = due
                heapq.heappush(heap, wait)

    def begin(self, seconds: float) -> _Wait:
        """A wait of own time begins; its scope is not entered yet."""
        now = trio.current_time()
        self._count += 1
        at = now + seconds
        wait = _Wait(at, self._count, trio.CancelScope(deadline=at), now, seconds, self.own.lost_s)
        heapq.heappush(self._heap, wait)
        self._open += 1
        return wait

    def end(self, wait: _Wait) -> None:
        """Its scope was left."""
        wait.over = True
        self._open -= 1
        if len(self._heap) > 2 * self._open + _SPARE_ENTRIES:
            self._heap = [one for one in self._heap if not one.over]
            heapq.heapify(self._heap)


_OF_RUN: trio.lowlevel.RunVar[Deadlines | None] = trio.lowlevel.RunVar("deadlines", None)


def of_this_run() -> Deadlines:
    """The deadlines of the trio run that calls this; made where there are none."""
    found = _OF_RUN.get()
    if found is None:
        found = Deadlines()
        _OF_RUN.set(found)
        trio.lowlevel.add_instrument(found)
    return found


class move_on_after:
    """As trio.move_on_after, but a late process waits longer (LATE-2). A class, because each frame has one, and a
    generator as context manager costs four times as much."""

    __slots__ = ("_deadlines", "_seconds", "_wait")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> trio.CancelScope:
        self._deadlines = of_this_run()
        self._wait = self._deadlines.begin(self._seconds)
        return self._wait.scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
    ) -> bool:
        self._deadlines.end(self._wait)
        return bool(self._wait.scope.__exit__(kind, error, trace))


class fail_after(move_on_after):
    """As trio.fail_after, but a late process waits longer (LATE-2). Raises trio.TooSlowError."""

    __slots__ = ()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
    ) -> bool:
        caught = super().__exit__(kind, error, trace)
        if self._wait.scope.cancelled_caught:
            raise trio.TooSlowError
        return caught


def own_time() -> float:
    """Seconds of own time (LATE-1), for differences."""
    return trio.current_time() - of_this_run().own.lost_s


def strain() -> float:
    """How much longer things take here than on time: 1 is on time."""
    return of_this_run().own.strain
