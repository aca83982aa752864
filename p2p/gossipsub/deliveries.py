"""Who brought a message that was accepted lately.

Law: nobody counts twice for one message, and what is remembered is bounded in number and in time.

Pure: the caller passes the time. Source: libp2p specification, gossipsub v1.1, P3.

- SCORE-11: a copy counts for its sender as near-first within the topic's window after the message was accepted, once.
  (Copies that come before that, and all senders of a rejected message, the router names when it judges.)
"""

from __future__ import annotations

from collections import OrderedDict

from p2p.base.limits import MAX_DELIVERY_RECORDS


class Deliveries:
    """Accepted messages, the oldest first: since when, and who brought them."""

    __slots__ = ("_keep", "_records")

    def __init__(self, keep_s: float) -> None:
        """keep_s: seconds for which a message is remembered."""
        self._keep = keep_s
        # A dict finds its first entry slowly; for a few names a list is smaller than a set.
        self._records: OrderedDict[bytes, tuple[float, list[str]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def first(self, id: bytes, peer: str, now: float) -> None:
        """The message is accepted, and `peer` brought it. The oldest record goes where there are too many."""
        if len(self._records) >= MAX_DELIVERY_RECORDS:
            del self._records[next(iter(self._records))]
        self._records[id] = now, [peer]

    def copy(self, id: bytes, peer: str, now: float) -> float | None:
        """How many seconds after its acceptance `peer` brings a message; None where it brought it before, or nothing
        is remembered."""
        record = self._records.get(id)
        if record is None or peer in record[1]:
            return None
        record[1].append(peer)
        return now - record[0]

    def expire(self, now: float) -> None:
        """Drop what is older than keep_s."""
        while self._records:
            oldest = next(iter(self._records))
            if now - self._records[oldest][0] <= self._keep:
                return
            del self._records[oldest]
