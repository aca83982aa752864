"""What was passed on lately. Law: one entry for each content, whoever says it again under whatever retry counter; a fixed number of entries.

Repeats are how lossy gossip is repaired, so the same content passes again after a while, once.
"""

from __future__ import annotations

from collections.abc import Hashable

from p2p.base.limits import MAX_SEEN


class Seen:
    """Contents that were judged right at one height, each with the time (ms) of its last passing."""

    def __init__(self, again_ms: int) -> None:
        self._again_ms = again_ms
        self._last: dict[Hashable, int] = {}

    def is_fresh(self, content: Hashable, now_ms: int) -> bool:
        """Whether it passed so lately that nobody is helped by hearing it again. A clock that jumped makes it stale, not fresh for ever."""
        last = self._last.get(content)
        return last is not None and abs(now_ms - last) < self._again_ms

    def passed(self, content: Hashable, now_ms: int) -> None:
        self._last.pop(content, None)
        if len(self._last) >= MAX_SEEN:
            del self._last[next(iter(self._last))]  # the one that passed longest ago
        self._last[content] = now_ms

    def __len__(self) -> int:
        return len(self._last)
