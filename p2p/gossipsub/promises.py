"""Messages that a neighbour offered and that we asked it for.

Law: of each IHAVE that is answered one id is watched; when it has come from nobody by its time, the promise is broken.
"""

from __future__ import annotations

from collections import Counter, deque

from p2p.base.limits import MAX_PROMISES


class Promises:
    """Promises in the order of their times."""

    __slots__ = ("_open", "_order")

    def __init__(self) -> None:
        self._open: dict[bytes, dict[str, float]] = {}  # id -> neighbour -> by when
        self._order: deque[tuple[float, str, bytes]] = deque()

    def __len__(self) -> int:
        return len(self._order)

    def make(self, peer: str, id_: bytes, until: float) -> None:
        """`peer` is to bring the message by then. A promise that is open already keeps its time; with MAX_PROMISES of
        them a new one is not watched."""
        of_id = self._open.setdefault(id_, {})
        if peer not in of_id and len(self._order) < MAX_PROMISES:
            of_id[peer] = until
            self._order.append((until, peer, id_))
        if not of_id:
            del self._open[id_]

    def kept(self, id_: bytes) -> None:
        """The message has come, from whomever: all promises of it are kept."""
        self._open.pop(id_, None)

    def broken(self, now: float) -> Counter[str]:
        """How many promises of each neighbour were broken by now; they are forgotten."""
        found: Counter[str] = Counter()
        while self._order and self._order[0][0] <= now:
            until, peer, id_ = self._order.popleft()
            of_id = self._open.get(id_)
            if of_id is not None and of_id.get(peer) == until:
                found[peer] += 1
                del of_id[peer]
                if not of_id:
                    del self._open[id_]
        return found
