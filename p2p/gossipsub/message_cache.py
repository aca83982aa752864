"""Messages of the last heartbeats, for those that ask (the specification's mcache).

Law: a message is kept for `length` heartbeats; where all together are too large, the oldest goes.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from p2p.base.limits import MAX_CACHE_BYTES
from p2p.gossipsub.outbound import Item


class MessageCache:
    """Messages by id, and by the heartbeat in which they came."""

    __slots__ = ("_items", "_length", "_sent", "_windows", "bytes")

    def __init__(self, length: int) -> None:
        """length: heartbeats."""
        self._length = length
        self._items: dict[bytes, Item] = {}
        self._sent: dict[bytes, dict[str, int]] = {}  # id -> neighbour -> how often it was sent for an IWANT
        self._windows: deque[deque[bytes]] = deque([deque()])  # the newest first
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Keep a message; one that is kept already stays as it is."""
        id_ = item[0]
        if id_ in self._items:
            return
        self._items[id_] = item
        self._windows[0].append(id_)
        self.bytes += item[2]
        while self.bytes > MAX_CACHE_BYTES:
            oldest = next(window for window in reversed(self._windows) if window)
            self._drop(oldest.popleft())

    def get(self, id_: bytes) -> Item | None:
        """A message that is kept."""
        return self._items.get(id_)

    def may_send(self, id_: bytes, peer: str, most: int) -> bool:
        """Count one more transmission of a kept message to a neighbour; False above `most`."""
        counts = self._sent.setdefault(id_, {})
        if counts.get(peer, 0) >= most:
            return False
        counts[peer] = counts.get(peer, 0) + 1
        return True

    def recent(self, heartbeats: int) -> dict[str, list[bytes]]:
        """Topic -> ids of the messages of the last heartbeats, this one included; the newest heartbeat first."""
        found: dict[str, list[bytes]] = {}
        for window in islice(self._windows, heartbeats):
            for id_ in window:
                found.setdefault(self._items[id_][1].topic, []).append(id_)
        return found

    def shift(self) -> None:
        """A heartbeat has passed."""
        self._windows.appendleft(deque())
        while len(self._windows) > self._length:
            for id_ in self._windows.pop():
                self._drop(id_)

    def _drop(self, id_: bytes) -> None:
        self.bytes -= self._items.pop(id_)[2]
        self._sent.pop(id_, None)
