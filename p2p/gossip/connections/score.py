"""Penalty points, bans, the rate of each forwarder's gossip, and peers that share a key.

Law: points fade with time, a full score bans for a fixed time, every ban has a reason, and memory is bounded.

Pure: the caller passes the time.

- SCORE-1: 100 points ban for 60 s.
- SCORE-2: one point fades each second.
- SCORE-3: one fault costs at most a quarter of a ban, and only what is wrong for every peer costs anything.
- RATE-1: messages that a forwarder brings first above the rate are ignored, not punished: it passes on what others
  say, and another forwarder may bring them later. Only accepted messages count, so old ones that somebody repeats cost
  nobody. Each topic has its own bucket, so a flood of transactions does not reduce votes. What one author may say is
  bounded by who knows the author, the handlers (decision 048).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from p2p.base.limits import (
    BAN_POINTS,
    BAN_S,
    GOSSIP_RATE_PER_FORWARDER,
    MAX_SCORED_PEERS,
)

_FADE_PER_S: Final = 1.0
_MOST_AT_ONCE: Final = BAN_POINTS // 4  # points for one fault


class Scores:
    """The penalty points of each peer, and its ban with the reason."""

    __slots__ = ("_banned", "_points")

    def __init__(self) -> None:
        self._points: OrderedDict[str, tuple[float, float]] = OrderedDict()  # peer -> (points, at which time)
        self._banned: OrderedDict[str, tuple[float, str]] = OrderedDict()  # peer -> (until, why)

    def penalise(self, peer: str, points: int, now: float, why: str = "") -> bool:
        """Add `points`. True where this bans the peer, for `why`, and it was not banned before."""
        assert points >= 0
        held, since = self._points.pop(peer, (0.0, now))
        total = max(0.0, held - (now - since) * _FADE_PER_S) + min(points, _MOST_AT_ONCE)
        if total >= BAN_POINTS:
            fresh = not self.banned(peer, now)
            self._banned.pop(peer, None)
            self._banned[peer] = (now + BAN_S, why)
            _trim(self._banned)
            return fresh
        self._points[peer] = (total, now)
        _trim(self._points)
        return False

    def points(self, peer: str, now: float) -> float:
        """The points of `peer` now."""
        held, since = self._points.get(peer, (0.0, now))
        return max(0.0, held - (now - since) * _FADE_PER_S)

    def banned(self, peer: str, now: float) -> bool:
        """Whether `peer` is banned now."""
        return self._banned.get(peer, (now, ""))[0] > now

    def ban(self, peer: str, now: float) -> tuple[float, str] | None:
        """(seconds left, why) while `peer` is banned."""
        until, why = self._banned.get(peer, (now, ""))
        return (until - now, why) if until > now else None

    def bans(self, now: float) -> dict[str, tuple[float, str]]:
        """peer -> (seconds left, why) for every ban."""
        return {peer: (until - now, why) for peer, (until, why) in self._banned.items() if until > now}

    def ended(self, now: float) -> tuple[str, ...]:
        """Peers whose ban has ended since the last call."""
        over = tuple(peer for peer, (until, _) in self._banned.items() if until <= now)
        for peer in over:
            del self._banned[peer]
        return over


class RateLimit:
    """A token bucket for each forwarder, which holds one second's worth."""

    __slots__ = ("_buckets", "_rate")

    def __init__(self, rate: float = GOSSIP_RATE_PER_FORWARDER) -> None:
        self._rate = float(rate)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, forwarder: str, now: float) -> bool:
        """Whether `forwarder` has a token."""
        return self._tokens(forwarder, now) >= 1.0

    def spend(self, forwarder: str, now: float) -> None:
        """Take one token of `forwarder`."""
        tokens = self._tokens(forwarder, now)
        self._buckets.pop(forwarder, None)
        self._buckets[forwarder] = (max(0.0, tokens - 1.0), now)
        _trim(self._buckets)

    def _tokens(self, forwarder: str, now: float) -> float:
        tokens, since = self._buckets.get(forwarder, (self._rate, now))
        return min(self._rate, tokens + max(0.0, now - since) * self._rate)


class Twins:
    """Finds two peers that run with one key.

    Each run of a peer greets with its own random number. A number that comes back after another one was heard in
    between is not a restart.
    """

    __slots__ = ("_last", "_told")

    def __init__(self) -> None:
        self._last: OrderedDict[str, tuple[bytes, bytes]] = OrderedDict()  # peer -> (current number, the one before)
        self._told: OrderedDict[str, float] = OrderedDict()  # peer -> until when it counts as running twice

    def heard(self, peer: str, start: bytes, now: float) -> bool:
        """`peer` greeted with the number `start`: whether its key runs twice."""
        current, before = self._last.pop(peer, (start, b""))
        if start == before:
            self._told[peer] = now + BAN_S
            _trim(self._told)
        self._last[peer] = (start, current if start != current else before)
        _trim(self._last)
        return self._told.get(peer, now) > now


def _trim(table: OrderedDict[str, Any]) -> None:
    while len(table) > MAX_SCORED_PEERS:
        table.popitem(last=False)
