"""What the past says of the next jobs of one model: tokens a second, and how much of what is allowed is used.

Law: every number is between fixed bounds, whatever was measured. Old measurements count less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from p2p.base.serving_limits import RATE_HALF_S, RETRY_LEAST_S, RETRY_MOST_S
from p2p.scheduling.classes import CLIENTS
from p2p.scheduling.jobs import Job

LEARN = 1 / 32  # weight of the newest answer's length
MARGIN, SLACK = 1.5, 0.05  # times the usual share that is reserved, and a share in any case


@dataclass(slots=True)
class Rate:
    """Tokens a second of all ML nodes of one model together, over the time in which they had work."""

    _tokens: float = 0.0
    _seconds: float = 0.0
    _at: float | None = None

    def advance(self, now: float, *, busy: bool) -> None:
        """Time has passed; busy: at least one job ran in it. A clock that goes back counts as one that stood."""
        passed = max(0.0, now - self._at) if self._at is not None else 0.0
        self._at = now if self._at is None else max(now, self._at)
        if busy and passed:
            fade = 0.5 ** (passed / RATE_HALF_S)
            self._tokens, self._seconds = self._tokens * fade, self._seconds * fade + passed

    def note(self, tokens: int) -> None:
        """A job ended that used so many."""
        self._tokens += tokens

    @property
    def per_s(self) -> float | None:
        """None: nothing was measured."""
        return self._tokens / self._seconds if self._tokens > 0 and self._seconds > 0 else None

    def wait_s(self, tokens: float) -> float:
        """For so many tokens of work; 0 while nothing was measured."""
        return tokens / self.per_s if self.per_s is not None else 0.0


@dataclass(slots=True)
class Lengths:
    """How much of what they allow answers to clients use. Reserving all of it would leave most of a KV cache empty:
    clients allow thousands of tokens and get hundreds. Where the guess is too low the engine itself makes room by
    breaking a request off and computing it again, and `Node` sees its usage at each look."""

    share: float = 1.0  # of prompt_tokens + max_tokens

    def note(self, job: Job, tokens: int) -> None:
        """`job` used so many, prompt included."""
        if job.kind in CLIENTS and job.tokens > 0:
            self.share += (min(tokens / job.tokens, 1.0) - self.share) * LEARN

    def need(self, job: Job) -> int:
        """Tokens to reserve for `job`: at least its prompt and one, at most all it allows."""
        if job.kind not in CLIENTS:
            return max(job.tokens, 1)
        expected = math.ceil(job.tokens * min(1.0, self.share * MARGIN + SLACK))
        return min(max(expected, job.prompt_tokens + 1), max(job.tokens, 1))


def hint(seconds: float) -> int:
    """A time to wait as a Busy names it."""
    return min(max(math.ceil(round(seconds, 3)), RETRY_LEAST_S), RETRY_MOST_S)
