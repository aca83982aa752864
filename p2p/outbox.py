"""A peer's records on their way to the chain. Law: nothing queued is lost before its limit; one batch in flight at most is not full.

Records wait here and leave as SignedBatches with nonces that follow each other. While one that is not full is in flight others gather, so a
peer with little to say sends one a block, and a busy one up to MAX_BATCHES_IN_FLIGHT. A batch that no block has taken is sent again, as the same
bytes also by the next life of this peer: others may hold it, and another batch of its number would be lost beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from p2p.codec import encode
from p2p.errors import Overloaded
from p2p.keys import Domain, Key, NetworkId
from p2p.limits import MAX_BATCHES_IN_FLIGHT, MAX_RECORDS_PER_TX, MAX_TX
from p2p.types import VERSION, Batch, Record, RecordKind, SignedBatch

MAX_WAITING = 16 * MAX_RECORDS_PER_TX
AGAIN_HEIGHTS = 2  # a batch that this many blocks did not take is said again
_FRAME = 256  # bytes of a batch beside its records, at most
_EACH = 16  # of a record beside its body, at most


class Outbox:
    """Pure: `put` queues, `due` gives the bytes to send now, new or again; `flight` must be on disk before they leave.
    sent: what was in flight when this peer stopped."""

    def __init__(self, key: Key, network: NetworkId, sent: Mapping[int, bytes] | None = None) -> None:
        self._key = key
        self._network = network
        self._waiting: deque[Record] = deque()
        self._bytes = 0  # of what waits
        # nonce -> transaction, height at which it was sent last; of an earlier life: at once again
        self._flight: dict[int, tuple[bytes, int]] = {nonce: (raw, -AGAIN_HEIGHTS) for nonce, raw in sorted((sent or {}).items())}
        self._last_nonce, self._partial = max(self._flight, default=0), 0  # _partial: nonce of the last one that was not full

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        return len(self._flight)

    @property
    def flight(self) -> dict[int, bytes]:
        """Transactions on their way, by nonce."""
        return {nonce: raw for nonce, (raw, _) in self._flight.items()}

    @property
    def ready(self) -> bool:
        """Whether a new batch may leave now."""
        may = self._is_full() or (bool(self._waiting) and self._partial not in self._flight)
        return may and len(self._flight) < MAX_BATCHES_IN_FLIGHT

    def _is_full(self) -> bool:
        return len(self._waiting) >= MAX_RECORDS_PER_TX or self._bytes + _FRAME > MAX_TX

    def check_room(self) -> None:
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded("too many records wait for the chain; try another peer", field="records")

    def put(self, kind: RecordKind, body: object) -> None:
        """Queue one record (a Message). Raises Overloaded when MAX_WAITING records wait already."""
        self.put_record(Record(kind, encode(body)))

    def put_record(self, record: Record) -> None:
        """The same for a record that is encoded already: of a test's load."""
        self.check_room()
        self._waiting.append(record)
        self._bytes += len(record.body) + _EACH

    def due(self, chain_nonce: int, height: int) -> list[bytes]:
        """Transactions to send now. The chain, at `height`, has this sender's batches up to `chain_nonce`."""
        self._flight = {nonce: sent for nonce, sent in self._flight.items() if nonce > chain_nonce}
        out = []
        for nonce, (raw, sent) in self._flight.items():
            if height - sent >= AGAIN_HEIGHTS:
                self._flight[nonce] = raw, height
                out.append(raw)
        while self.ready:
            out.append(self._next(chain_nonce, height))
        return out

    def _next(self, chain_nonce: int, height: int) -> bytes:
        nonce = max(chain_nonce, self._last_nonce) + 1
        if not self._is_full():
            self._partial = nonce
        records: list[Record] = []
        size = _FRAME
        while self._waiting and len(records) < MAX_RECORDS_PER_TX:
            cost = len(self._waiting[0].body) + _EACH
            if records and size + cost > MAX_TX:
                break
            size += cost
            records.append(self._waiting.popleft())
        self._bytes -= size - _FRAME
        batch = Batch(VERSION, self._network, self._key.public, nonce, tuple(records))
        raw = encode(SignedBatch(batch, self._key.sign(Domain.TX, self._network, encode(batch))))
        self._flight[nonce] = raw, height
        self._last_nonce = nonce
        return raw
