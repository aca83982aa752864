"""Who sent a message besides the one that brought it first, and what became of it.

Law: nobody counts twice for one message, and what is remembered is bounded in number and in time.

Pure: the caller passes the time. Source: libp2p specification, gossipsub v1.1, P3 and P4.

- SCORE-11: a copy counts for its sender as near-first while the message is judged, and for the topic's window after
  it was accepted. When it is rejected, all who sent it answer for it, and whoever sends it later. An ignored message
  is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum

from p2p.base.limits import MAX_DELIVERY_RECORDS


class State(Enum):
    """What became of a message."""

    JUDGED = "being judged"
    VALID = "valid"
    INVALID = "invalid"


class Record:
    """One message: its state, since when, and who sent it."""

    __slots__ = ("expires", "senders", "since", "state")

    def __init__(self, expires: float) -> None:
        self.expires = expires
        self.state = State.JUDGED
        self.since = 0.0  # when it was accepted
        self.senders: list[str] = []  # a mesh's worth: a list is smaller than a set


class Deliveries:
    """The records of messages seen lately, oldest first."""

    __slots__ = ("_keep", "_records")

    def __init__(self, keep_s: float) -> None:
        """keep_s: seconds for which a message is remembered."""
        self._keep = keep_s
        self._records: OrderedDict[bytes, Record] = OrderedDict()  # a dict finds its first slowly

    def __len__(self) -> int:
        return len(self._records)

    def of(self, message: bytes, now: float) -> Record:
        """The record of this message id; a new one takes the place of the oldest where they are too many."""
        record = self._records.get(message)
        if record is None:
            if len(self._records) >= MAX_DELIVERY_RECORDS:
                del self._records[next(iter(self._records))]
            record = self._records[message] = Record(now + self._keep)
        return record

    def forget(self, message: bytes) -> None:
        """Nothing is known about this message any more."""
        self._records.pop(message, None)

    def expire(self, now: float) -> None:
        """Drop what is older than keep_s."""
        while self._records:
            oldest = next(iter(self._records))
            if self._records[oldest].expires > now:
                return
            del self._records[oldest]
