"""Which peer to ask for history.

Law: a peer that lied is not asked for a while; a slow one is asked when nobody quicker is there, and its pauses grow.
When all are slow, this peer's own way is slow: then the one that was slow least often is asked, with patience.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from p2p.base.limits import AVOID_S, MAX_KNOWN_PEERS, SLOW_MAX_S

T = TypeVar("T")
_DOUBLINGS = 16  # then SLOW_MAX_S was reached long ago


@dataclass(slots=True)
class _Slow:
    until_s: float
    times: int


class Sources:
    """Times are of a clock that never goes back."""

    def __init__(self) -> None:
        self._liars: dict[str, float] = {}
        self._slow: dict[str, _Slow] = {}

    def pick(self, connected: Sequence[str], now_s: float) -> tuple[str, bool] | None:
        """(whom to ask, whether with patience); None: nobody."""
        self._liars = {peer: until for peer, until in self._liars.items() if until > now_s}
        honest = [peer for peer in connected if peer not in self._liars]
        quick = [peer for peer in honest if peer not in self._slow or self._slow[peer].until_s <= now_s]
        if quick:
            return random.choice(quick), False  # no secret: any of them will do
        if not honest:
            return None
        return min(honest, key=lambda peer: (self._slow[peer].times, self._slow[peer].until_s)), True

    def lied(self, peer: str, now_s: float) -> None:
        _remember(self._liars, peer, now_s + AVOID_S)

    def was_slow(self, peer: str, now_s: float) -> None:
        times = self._slow[peer].times + 1 if peer in self._slow else 1
        _remember(self._slow, peer, _Slow(now_s + min(AVOID_S * 2.0 ** min(times - 1, _DOUBLINGS), SLOW_MAX_S), times))

    def was_quick(self, peer: str) -> None:
        """It gave something, in time."""
        self._slow.pop(peer, None)


def _remember(book: dict[str, T], peer: str, what: T) -> None:
    """Keys are free to make, so the oldest entry goes when there are many."""
    book.pop(peer, None)
    if len(book) >= MAX_KNOWN_PEERS:
        del book[next(iter(book))]
    book[peer] = what
