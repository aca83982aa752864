"""Whose turn it is inside one engine that makes answers and checks: answers first, checks in bounded steps.

Law (TURN-1 to TURN-4 in README.md): a function of times and lengths of steps, which are passed in.

An engine works in steps. A check is one long prefill, which nobody waits for at a screen; its validator only has to
commit to a verdict before a window closes. So answers are in every step, and checks add to some of them. How many is a
share of time, not of tokens: a token of a prefill and one of an answer cost differently on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from p2p.base.serving_limits import (
    CHECK_CHUNK_LEAST,
    CHECK_CHUNK_MOST,
    CHECK_PATIENCE_S,
    CHECK_SHARE,
    CHECK_STEP_S,
    DUE_SHARE,
    LATE_SHARE,
)

ANSWER = 0  # the priority of an answer; that of a check is the time from which on it is due
EVEN = 32  # a chunk is a multiple of it, as kernels like it


@dataclass(slots=True)
class Turns:
    """One for each engine."""

    chunk: int = CHECK_CHUNK_LEAST  # tokens of checks in the next step that has any
    _running: int = 0  # steps with tokens of checks that have not ended
    _ended: float = -math.inf  # the last one that has
    _lasted: float = 0.0

    def tokens(self, now: float, share: float) -> int:
        """How many tokens of checks the next step may have; 0: it is not their turn. share: of the engine's time that
        is theirs; 1: there are no answers."""
        if share >= 1:
            return self.chunk
        return 0 if self._running or now < self._ended + self._lasted * (1 - share) / share else self.chunk

    def begun(self) -> None:
        """A step with tokens of checks began."""
        self._running += 1

    def ended(self, now: float, seconds: float, tokens: int) -> None:
        """It ended, and had so many of them. From it follows how long the next ones may be."""
        self._running -= 1
        self._ended, self._lasted = now, max(seconds, 0.0)
        if seconds > CHECK_STEP_S or (seconds > 0 and 2 * tokens >= self.chunk):  # a short rest of a prompt says little
            fits = int(min(tokens * CHECK_STEP_S / seconds, 2 * self.chunk, CHECK_CHUNK_MOST))
            self.chunk = max(fits - fits % EVEN, CHECK_CHUNK_LEAST)


def is_check(priority: int) -> bool:
    return priority > ANSWER


def priority_of(due: float, clock: float) -> int:
    """The priority of a check that is asked now: when it is due, but soon enough for whoever waits for its scores."""
    return max(math.ceil(min(due, clock + CHECK_PATIENCE_S)), ANSWER + 1)


def share(due: int, since: float, clock: float) -> float:
    """The share that a check gives checks while there are answers. due: its priority; since: when it came; clock: now,
    all three in seconds since 1970. It is due in the middle of its time, so after as long again that is over."""
    if clock < due:
        return CHECK_SHARE
    return DUE_SHARE if clock - due < due - since else LATE_SHARE
