"""News for those who watch: server-sent events to a bounded number of listeners.

Law: a listener that does not keep up is dropped, and nothing waits for it. Whoever comes back with the id of the last
event gets what it missed, or is told to begin anew.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from p2p.base.errors import Overloaded
from p2p.base.serving_limits import EXPLORER_AHEAD, EXPLORER_EVENTS, EXPLORER_LISTENERS

RESET = "reset"  # the event that says: what you have is old, load it again


@dataclass(frozen=True, slots=True)
class News:
    """One event."""

    number: int
    name: str
    data: bytes  # JSON


class Feed:
    """Of one explorer."""

    def __init__(self, listeners: int = EXPLORER_LISTENERS, ahead: int = EXPLORER_AHEAD) -> None:
        self._most, self._ahead = listeners, ahead
        self._run = secrets.token_hex(4)  # an id of another run is not one of ours
        self._past: deque[News] = deque(maxlen=EXPLORER_EVENTS)
        self._listeners: set[trio.MemorySendChannel[News]] = set()
        self._number = 0

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def id_of(self, news: News) -> str:
        return f"{self._run}-{news.number}"

    def publish(self, name: str, data: bytes) -> None:
        """Tell everybody. Never waits."""
        self._number += 1
        news = News(self._number, name, data)
        self._past.append(news)
        for listener in list(self._listeners):
            try:
                listener.send_nowait(news)
            except (trio.WouldBlock, trio.BrokenResourceError):
                self._listeners.discard(listener)
                listener.close()

    @asynccontextmanager
    async def listen(self, last_id: str = "") -> AsyncIterator[tuple[list[News], trio.MemoryReceiveChannel[News]]]:
        """(what was missed, what comes). The channel ends for a listener that is too slow. Raises Overloaded."""
        if len(self._listeners) >= self._most:
            raise Overloaded(f"{self._most} others watch already; load the page again later", retry_after=10)
        send, receive = trio.open_memory_channel[News](self._ahead)
        missed = self._missed(last_id)
        self._listeners.add(send)
        try:
            yield missed, receive
        finally:
            self._listeners.discard(send)
            send.close()
            receive.close()

    def _missed(self, last_id: str) -> list[News]:
        """What came after the event `last_id`; a reset where that is not known any more."""
        if not last_id:
            return []
        run, _, number = last_id.partition("-")
        known = number.isascii() and number.isdigit() and len(number) <= 15 and run == self._run
        oldest = self._past[0].number if self._past else self._number + 1
        if not known or not oldest - 1 <= int(number) <= self._number:
            return [News(self._number, RESET, b"{}")]
        return [news for news in self._past if news.number > int(number)]
