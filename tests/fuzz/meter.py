"""What an input costs. Law: counted, never timed: executed lines of our Python and bytes held at the peak; the same on a busy machine.

Above `lines` the work is ended from inside the tracer, so that a loop as long as a number says does not hang the run. A guard of CPU
seconds ends what loops in C, where no line is executed; it is far above anything honest.
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
    """Not an Exception: no boundary of the code under test may take it for an ordinary failure."""


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
    """lines: executed. signatures: verified, each as dear as some hundred lines. held: bytes at the peak above what was held before; -1 where
    memory was not looked at."""

    lines: int = 0
    signatures: int = 0
    held: int = -1
    over: bool = False


@contextmanager
def aside() -> Iterator[None]:
    """What the world does for itself in the midst of a metered input is not counted."""
    before = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(before)


@contextmanager
def metered(cost: Cost, lines: int, *, memory: bool = False) -> Iterator[None]:
    """Count into `cost` what the block does; above `lines` it is ended and cost.over is set. memory: look at that too (slow)."""

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
