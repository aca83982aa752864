"""An event that can happen again and again. Law: whoever waits when it is set wakes once; nothing is stored for later
waiters."""

from __future__ import annotations

import trio


class Wakeup:
    """Check your condition, then `wait`, without an await in between: then no wakeup is lost."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        """Wake all tasks that wait now."""
        event, self._event = self._event, trio.Event()
        event.set()

    async def wait(self) -> None:
        await self._event.wait()
