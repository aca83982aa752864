"""Which honest message reached which honest peer, when, and over how many hops.

Law: a peer counts for a message when it was up, without a break, from the publication until the deadline.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

DEADLINE_MS = 6000  # six heartbeats
_NEVER = -1


class _Message:
    __slots__ = ("at_ms", "hops", "publisher", "when")

    def __init__(self, publisher: int, at_ms: int, size: int) -> None:
        self.publisher, self.at_ms = publisher, at_ms
        self.when = array("i", [_NEVER]) * size  # ms of the first delivery, by the peer's index
        self.hops = array("b", [0]) * size


@dataclass(frozen=True, slots=True)
class Reach:
    """Of all pairs of a message and an honest peer that counts for it. Times in seconds."""

    messages: int
    pairs: int
    in_time: float  # share that arrived by the deadline
    ever: float  # share that arrived at all
    p50: float
    p99: float
    worst: float  # of those that arrived
    hops: float  # mean
    most_hops: int
    incomplete: int  # messages that some peer did not get in time


class Book:
    """size: honest peers and attackers together; honest ones come first."""

    def __init__(self, honest: int, size: int) -> None:
        self._honest, self._size = honest, size
        self._messages: dict[bytes, _Message] = {}
        self._lives: list[list[tuple[int, int]]] = [[] for _ in range(honest)]  # (from, to) in ms
        self._since: list[int | None] = [None] * honest
        self.indexes: dict[str, int] = {f"p{index}": index for index in range(honest)}

    def begins(self, index: int, ms: int) -> None:
        self._since[index] = ms

    def ends(self, index: int, ms: int) -> None:
        since = self._since[index]
        assert since is not None
        self._lives[index].append((since, ms))
        self._since[index] = None

    def published(self, id_: bytes, index: int, ms: int) -> None:
        message = self._messages[id_] = _Message(index, ms, self._size)
        message.when[index] = ms

    def delivered(self, id_: bytes, index: int, sender: str, ms: int) -> None:
        """Index got it from `sender`, as the first of all copies."""
        message = self._messages[id_]
        if message.when[index] == _NEVER:
            message.when[index] = ms
            message.hops[index] = min(127, message.hops[self.indexes[sender]] + 1)

    def reach(self, from_ms: int, to_ms: int, *, of: range | None = None) -> Reach:
        """Of messages published in that time. of: only these peers' deliveries; all honest ones where it is None."""
        took: list[int] = []
        hops: list[int] = []
        pairs = in_time = incomplete = count = 0
        for message in self._messages.values():
            if not from_ms <= message.at_ms < to_ms:
                continue
            count += 1
            complete = True
            for index in of or range(self._honest):
                if index == message.publisher or not self._was_up(index, message.at_ms, message.at_ms + DEADLINE_MS):
                    continue
                pairs += 1
                late = message.when[index] - message.at_ms
                if message.when[index] == _NEVER or late > DEADLINE_MS:
                    complete = False
                else:
                    in_time += 1
                if message.when[index] != _NEVER:
                    took.append(late)
                    hops.append(message.hops[index])
            incomplete += not complete
        took.sort()
        return Reach(
            count, pairs, in_time / max(1, pairs), len(took) / max(1, pairs),
            _at(took, 0.5), _at(took, 0.99), _at(took, 1.0),
            sum(hops) / max(1, len(hops)), max(hops, default=0), incomplete,
        )

    def _was_up(self, index: int, from_ms: int, to_ms: int) -> bool:
        since = self._since[index]
        if since is not None and since <= from_ms:
            return True
        return any(began <= from_ms and to_ms <= ended for began, ended in self._lives[index])


def _at(took_ms: list[int], share: float) -> float:
    """Seconds within which that share arrived."""
    return took_ms[min(len(took_ms) - 1, int(share * len(took_ms)))] / 1000 if took_ms else 0.0
