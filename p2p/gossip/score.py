"""Penalties and bans. Law: points fade with time, a full score bans for a fixed time, memory is bounded.

Pure: the caller passes the time. Rule SCORE-1: 100 points ban for 60 s. SCORE-2: one point fades each second.
RATE-1: an origin's messages above the rate are ignored, not punished: a forwarder cannot know our clock.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from p2p.limits import BAN_POINTS, BAN_S, GOSSIP_RATE_PER_ORIGIN, MAX_SCORED_PEERS

_FADE_PER_S: Final = 1.0


class Scores:
    """Who misbehaved how much, and until when they are banned."""

    __slots__ = ("_banned_until", "_points")

    def __init__(self) -> None:
        self._points: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._banned_until: OrderedDict[str, float] = OrderedDict()

    def penalise(self, peer: str, points: int, now: float) -> bool:
        """Add `points`; True when this bans the peer now."""
        assert points >= 0
        held, since = self._points.pop(peer, (0.0, now))
        total = max(0.0, held - (now - since) * _FADE_PER_S) + points
        if total >= BAN_POINTS:
            fresh = not self.banned(peer, now)
            self._banned_until.pop(peer, None)
            self._banned_until[peer] = now + BAN_S
            _trim(self._banned_until)
            return fresh
        self._points[peer] = (total, now)
        _trim(self._points)
        return False

    def points(self, peer: str, now: float) -> float:
        held, since = self._points.get(peer, (0.0, now))
        return max(0.0, held - (now - since) * _FADE_PER_S)

    def banned(self, peer: str, now: float) -> bool:
        return self._banned_until.get(peer, now) > now


class RateLimit:
    """A token bucket for each origin: a second's worth of burst."""

    __slots__ = ("_buckets", "_rate")

    def __init__(self, rate: float = GOSSIP_RATE_PER_ORIGIN) -> None:
        self._rate = float(rate)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, origin: str, now: float) -> bool:
        """Take one token from `origin`'s bucket if there is one."""
        tokens, since = self._buckets.pop(origin, (self._rate, now))
        tokens = min(self._rate, tokens + max(0.0, now - since) * self._rate)
        allowed = tokens >= 1.0
        self._buckets[origin] = (tokens - 1.0 if allowed else tokens, now)
        _trim(self._buckets)
        return allowed


def _trim(table: OrderedDict[str, tuple[float, float]] | OrderedDict[str, float]) -> None:
    while len(table) > MAX_SCORED_PEERS:
        table.popitem(last=False)
