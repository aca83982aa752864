"""Answers that are ready to send. Law: one question at a time for one answer, however many want it; bounded in number
and bytes; an answer's tag changes with any byte of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
import trio

from p2p.base.serving_limits import EXPLORER_CACHE, EXPLORER_CACHE_BYTES

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Ready:
    """One answer as JSON."""

    body: bytes
    tag: str
    until: float


class Cache:
    """Keeps answers for a while."""

    def __init__(self, entries: int = EXPLORER_CACHE, size: int = EXPLORER_CACHE_BYTES) -> None:
        self._most, self._most_bytes = entries, size
        self._kept: OrderedDict[str, Ready] = OrderedDict()
        self._bytes = 0
        self._making: dict[str, trio.Event] = {}

    async def get(self, key: str, seconds: float, make: Callable[[], Awaitable[Any]]) -> Ready:
        """The answer under `key`, made where it is not here or older than `seconds`. Raises what `make` raises; then
        the next who waits tries."""
        while True:
            found = self._kept.get(key)
            if found is not None and trio.current_time() < found.until:
                self._kept.move_to_end(key)
                return found
            if key not in self._making:
                break
            await self._making[key].wait()
        done = self._making[key] = trio.Event()
        try:
            body = _encode(await make())
        finally:
            del self._making[key]
            done.set()
        ready = Ready(body, f'"{sha256(body).hexdigest()[:24]}"', trio.current_time() + seconds)
        if seconds > 0:
            self._keep(key, ready)
        return ready

    def _keep(self, key: str, ready: Ready) -> None:
        before = self._kept.pop(key, None)
        self._bytes += len(ready.body) - (len(before.body) if before else 0)
        self._kept[key] = ready
        while len(self._kept) > self._most or (self._bytes > self._most_bytes and self._kept):
            _, old = self._kept.popitem(last=False)
            self._bytes -= len(old.body)
