"""A lock that costs nothing while nobody else wants it.

Law: a free lock takes no turn of the event loop, but for one use in SPELL, so that nobody keeps the loop to himself.

Trio's own lock ends a turn of the loop each time: all other tasks run, and the system is asked for news. On the way of
a small frame that is most of what the frame costs.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

import trio

SPELL: Final = 16  # uses of one lock, of which one lets the other tasks run


class Lock:
    """Held by one task at a time; others wait in the order in which they came. Use it as `async with lock`."""

    __slots__ = ("_lock", "_spell", "_uses")

    def __init__(self, spell: int = SPELL) -> None:
        """spell: 0 where what is done under the lock takes a turn itself."""
        self._lock = trio.Lock()
        self._spell = spell
        self._uses = 0

    async def __aenter__(self) -> None:
        self._uses += 1
        if self._spell and self._uses % self._spell == 0:
            await trio.lowlevel.checkpoint()
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
    ) -> None:
        self._lock.release()
