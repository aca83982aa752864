"""Measures the cost of an input in executed lines of our Python and in bytes held at the peak.

Law: costs are counted, never timed, so they are the same on a busy machine.

Above `lines` the tracer itself ends the work, so that a loop whose length comes from the input does not hang the run.
A limit of CPU seconds ends loops in C, where no line is executed; it is far above the cost of any honest input.
"""

from __future__ import annotations

import signal
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from nacl.signing import VerifyKey

from p2p.base import keys

STUCK_CPU_S = 60.0
Tracer = Callable[[FrameType, str, Any], Any]


class OverBudget(BaseException):
    """The input cost too much. No Exception, so that the code under test cannot catch it as an ordinary failure."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one input may cost: a constant and a share for each of its bytes."""

    lines: int
    lines_per_byte: float
    bytes_held: int
    held_per_byte: float

    def for_size(self, size: int) -> tuple[int, int]:
        """(lines, bytes) for an input of `size` bytes."""
        return self.lines + int(self.lines_per_byte * size), self.bytes_held + int(self.held_per_byte * size)


@dataclass(slots=True)
class Cost:
    """What one input did cost."""

    lines: int = 0  # executed
    signatures: int = 0  # verified; each costs as much as some hundred lines
    held: int = -1  # bytes at the peak above what was held before; -1 where memory was not measured
    over: bool = False  # it was ended above its budget


@contextmanager
def aside() -> Iterator[None]:
    """Do not count what the test world does itself while an input is metered."""
    before = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(before)


@contextmanager
def metered(cost: Cost, lines: int, *, memory: bool = False) -> Iterator[None]:
    """Count into `cost` what the block does; above `lines` the block is ended and cost.over is set.

    memory: measure it too (slow).
    """

    def local(frame: FrameType, event: str, arg: Any) -> Any:
        del frame, arg
        if event == "line":
            cost.lines += 1
            if cost.lines > lines:
                raise OverBudget
        return local

    def stuck(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise OverBudget

    class Counted(VerifyKey):
        def verify(self, *args: Any, **words: Any) -> bytes:
            cost.signatures += 1
            return super().verify(*args, **words)

    before, verifier = sys.gettrace(), keys.VerifyKey
    keys.VerifyKey = Counted  # type: ignore[misc]  # the one verifier of the whole package
    handler = signal.signal(signal.SIGVTALRM, stuck)
    signal.setitimer(signal.ITIMER_VIRTUAL, STUCK_CPU_S)
    base = 0
    if memory:
        tracemalloc.start()
        base = tracemalloc.get_traced_memory()[0]
    try:
        sys.settrace(local)
        yield
    except OverBudget:
        cost.over = True
    finally:
        sys.settrace(before)
        keys.VerifyKey = verifier  # type: ignore[misc]
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, handler)
        if memory:
            cost.held = tracemalloc.get_traced_memory()[1] - base
            tracemalloc.stop()
