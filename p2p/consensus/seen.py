"""What was passed on lately. Law: one entry per content, whoever repeats it; at most MAX_SEEN entries.

Repeats are how lossy gossip is repaired. So the same content passes again after a while, once.
"""

from __future__ import annotations

from collections.abc import Hashable

from p2p.base.limits import MAX_SEEN


class Seen:
    """Contents that were judged right, each with the time (ms) at which it was passed on last. again_ms: for so
    long it is not passed on again."""

    def __init__(self, again_ms: int) -> None:
        self._again_ms = again_ms
        self._last: dict[Hashable, int] = {}

    def is_fresh(self, content: Hashable, now_ms: int) -> bool:
        """Whether a content was passed on so lately that a repeat helps nobody. After a jump of the clock, in
        either direction, it is not: else it would stay fresh for ever."""
        last = self._last.get(content)
        return last is not None and abs(now_ms - last) < self._again_ms

    def passed(self, content: Hashable, now_ms: int) -> None:
        self._last.pop(content, None)
        if len(self._last) >= MAX_SEEN:
            del self._last[next(iter(self._last))]  # the one passed on longest ago
        self._last[content] = now_ms

    def __len__(self) -> int:
        return len(self._last)
