"""Paces what a peer begins of its own accord: dials, searches, greetings.

Law: however much there is to do, it begins at a steady rate, and two peers never begin in step.

Pure: the caller passes own time (machine/deadlines.py), so a late peer begins less.

- PACE-1: all background dials of a peer draw from one token bucket: DIALS_A_SECOND, and DIALS_BURST at once.
- PACE-2: a wait is shortened by up to half of it, by a hash of the keys of both peers and a count. So peers that lost
  the same peer at the same moment do not dial it at the same moment, and a test can say when they do.
"""

from __future__ import annotations

from hashlib import sha256

_ROUNDING = 1e-9  # of a token: half a second at two a second is one, whatever floats say


class Bucket:
    """A token bucket."""

    __slots__ = ("_at", "_burst", "_left", "_rate", "waited")

    def __init__(self, rate: float, burst: int) -> None:
        """rate: tokens a second; burst: tokens that it holds at most, and at the beginning."""
        self._rate, self._burst = rate, burst
        self._left, self._at = float(burst), float("-inf")
        self.waited = 0  # times that there was no token

    def left(self, own_s: float) -> int:
        """Whole tokens at this time."""
        if own_s > self._at:
            passed = own_s - self._at if self._at > float("-inf") else 0.0
            self._left, self._at = min(float(self._burst), self._left + passed * self._rate), own_s
        return int(self._left + _ROUNDING)

    def take(self, own_s: float) -> bool:
        """Take one; False where there is none."""
        if not self.left(own_s):
            self.waited += 1
            return False
        self._left -= 1.0
        return True


class Backoff:
    """A wait that doubles while nothing changes, and starts again when something does."""

    __slots__ = ("_first_s", "_most_s", "_seen", "_times")

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s, self._most_s = first_s, most_s
        self._seen: object = None
        self._times = 0

    def next_s(self, seen: object) -> float:
        """How long to wait now. seen: what is missing; another value than last time starts again."""
        self._times = 0 if seen != self._seen else self._times + 1
        self._seen = seen
        return min(self._most_s, self._first_s * float(1 << min(self._times, 16)))


def share(*texts: object) -> float:
    """A number from 0 to 1 that depends on `texts` alone."""
    digest = sha256("\0".join(map(str, texts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def shortened(wait_s: float, *texts: object) -> float:
    """PACE-2: between half of `wait_s` and all of it."""
    return wait_s * (1.0 - share(*texts) / 2)


def is_first(me: str, other: str) -> bool:
    """Whether `me` is the one of two peers that dials the other first: each is first for about half of the others."""
    low, high = sorted((me, other))
    return (share(low, high) < 0.5) is (me == low)
