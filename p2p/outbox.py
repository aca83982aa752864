"""A peer's records on their way to the chain. Law: one signed batch in flight per peer; nothing queued is lost before its limit.

Records wait here, leave together as one SignedBatch, and are sent again each height until a block holds the batch.
"""

from __future__ import annotations

from collections import deque

from p2p.codec import encode
from p2p.errors import Overloaded
from p2p.keys import Domain, Key
from p2p.limits import MAX_RECORDS_PER_TX, MAX_TX
from p2p.types import VERSION, Batch, Record, RecordKind, SignedBatch

MAX_WAITING = 16 * MAX_RECORDS_PER_TX


class Outbox:
    """Pure: `put` queues, `next_batch` gives the bytes to send now (new or again), `settle` is told of each height."""

    def __init__(self, key: Key, network: str) -> None:
        self._key = key
        self._network = network
        self._waiting: deque[Record] = deque()
        self._flight: tuple[int, bytes] | None = None
        self._last_nonce = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def in_flight(self) -> bytes | None:
        return self._flight[1] if self._flight else None

    def check_room(self) -> None:
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded("too many records wait for the chain; try another peer", field="records")

    def put(self, kind: RecordKind, body: object) -> None:
        """Queue one record (a Message). Raises Overloaded when MAX_WAITING records wait already."""
        self.check_room()
        self._waiting.append(Record(kind, encode(body)))

    def settle(self, chain_nonce: int) -> None:
        """The chain has this sender's batches up to `chain_nonce`."""
        if self._flight is not None and self._flight[0] <= chain_nonce:
            self._flight = None

    def next_batch(self, chain_nonce: int) -> bytes | None:
        """Bytes of a new transaction when none is in flight and records wait; None otherwise."""
        if self._flight is not None or not self._waiting:
            return None
        nonce = max(chain_nonce, self._last_nonce) + 1
        records: list[Record] = []
        size = 256
        while self._waiting and len(records) < MAX_RECORDS_PER_TX:
            cost = len(self._waiting[0].body) + 16
            if records and size + cost > MAX_TX:
                break
            size += cost
            records.append(self._waiting.popleft())
        batch = Batch(VERSION, self._network, self._key.public, nonce, tuple(records))
        raw = encode(SignedBatch(batch, self._key.sign(Domain.TX, self._network, encode(batch))))
        self._flight, self._last_nonce = (nonce, raw), nonce
        return raw


