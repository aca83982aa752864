"""Ids of messages that were judged lately.

Law: an id is remembered for at least the time that is set, unless there are too many; then the older half goes.

Ids live in two generations, so nothing is sorted or searched by age: when a generation is full or old enough it becomes
the older one, and the older one is forgotten.
"""

from __future__ import annotations


class Seen:
    """A set of ids with the time of each."""

    __slots__ = ("_began", "_half", "_keep_s", "_new", "_old")

    def __init__(self, keep_s: float, most: int) -> None:
        """keep_s: seconds; most: ids at once."""
        self._keep_s, self._half = keep_s, most // 2
        self._new: dict[bytes, float] = {}
        self._old: dict[bytes, float] = {}
        self._began = float("-inf")  # when _new began

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def add(self, id_: bytes, at: float) -> None:
        """Remember an id. at: what `when` says of it."""
        if len(self._new) >= self._half:
            self._old, self._new = self._new, {}
        self._new[id_] = at

    def when(self, id_: bytes) -> float | None:
        """The time that was given with an id, None for one that is not remembered."""
        at = self._new.get(id_)
        return at if at is not None or not self._old else self._old.get(id_)

    def turn(self, now: float) -> None:
        """Forget what is old. To be called about once a second."""
        if now - self._began >= self._keep_s:
            self._old, self._new, self._began = self._new, {}, now
