"""A peer's records on their way to the chain. Law: nothing queued is lost before its limit, nothing is repeated for ever; one batch in flight at
most is not full.

Records wait here and leave as SignedBatches with nonces that follow each other. While one that is not full is in flight others gather, so a
peer with little to say sends one a block, and a busy one up to MAX_BATCHES_IN_FLIGHT. A batch that no block has taken is sent again, as the same
bytes also by the next life of this peer: others may hold it, and another batch of its number would be lost beside it. After TX_TTL_HEIGHTS it
is not said any more, and when all others must have forgotten it, it is given up with what came after it. A peer that may not send keeps what
waits as long, then gives it up as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import structlog

from p2p.base.codec import encode
from p2p.base.errors import Overloaded
from p2p.base.keys import Domain, Key, NetworkId
from p2p.base.limits import MAX_BATCHES_IN_FLIGHT, MAX_RECORDS_PER_TX, MAX_TX, MAX_WAITING, MAX_WORK_RECORDS, OUTBOX_TTL_HEIGHTS, TX_TTL_HEIGHTS
from p2p.base.types import VERSION, Batch, Record, RecordKind, SignedBatch

AGAIN_HEIGHTS = 2  # a batch that this many blocks did not take is said again
_FRAME = 256  # bytes of a batch beside its records, at most
_EACH = 16  # of a record beside its body, at most
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Sent:
    """A batch in flight, and the heights at which this life said it first and last; None: not yet."""

    raw: bytes
    first: int | None = None
    last: int | None = None

    def is_due(self, height: int) -> bool:
        if self.first is None or self.last is None:
            return True
        return height - self.last >= AGAIN_HEIGHTS and height - self.first < TX_TTL_HEIGHTS

    def is_lost(self, height: int) -> bool:
        return self.first is not None and height - self.first >= OUTBOX_TTL_HEIGHTS


class Room:
    """Places of an outbox, held before the records are there."""

    def __init__(self, outbox: Outbox, left: int) -> None:
        self._outbox, self.left = outbox, left

    def put(self, kind: RecordKind, body: object) -> None:
        """One of them is used; what goes beyond them is a record like any other."""
        if self.left:
            self.left -= 1
            self._outbox.put_held(Record(kind, encode(body)))
        else:
            self._outbox.put(kind, body)


class Outbox:
    """Pure: `put` queues, `due` gives the bytes to send now, new or again; `flight` must be on disk before they leave.
    sent: what was in flight when this peer stopped."""

    def __init__(self, key: Key, network: NetworkId, sent: Mapping[int, bytes] | None = None) -> None:
        self._key = key
        self._network = network
        self._waiting: deque[Record] = deque()
        self._bytes, self._held = 0, 0  # of what waits; records that have room and are not there yet
        # by nonce; of an earlier life: at once again
        self._flight: dict[int, _Sent] = {nonce: _Sent(raw) for nonce, raw in sorted((sent or {}).items())}
        self._mute_since: int | None = None  # height from which this peer may not send
        self._seen: deque[int] = deque()  # of each record that waits meanwhile, from when on it does
        self._last_nonce, self._partial = max(self._flight, default=0), 0  # _partial: nonce of the last one that was not full

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        return len(self._flight)

    @property
    def flight(self) -> dict[int, bytes]:
        """Transactions on their way, by nonce."""
        return {nonce: sent.raw for nonce, sent in self._flight.items()}

    @property
    def ready(self) -> bool:
        """Whether a new batch may leave now."""
        if self._mute_since is not None:
            return False
        may = self._is_full() or (bool(self._waiting) and self._partial not in self._flight)
        return may and len(self._flight) < MAX_BATCHES_IN_FLIGHT

    def _is_full(self) -> bool:
        return len(self._waiting) >= MAX_RECORDS_PER_TX or self._bytes + _FRAME > MAX_TX

    def _check_room(self, records: int, most: int) -> None:
        if len(self._waiting) + self._held + records > most:
            raise Overloaded("too many records wait for the chain; try another peer", field="records")

    @contextmanager
    def hold(self, records: int) -> Iterator[Room]:
        """Room for so many, for what is inside: it is taken before the work, so that what the work comes to is never refused. Raises Overloaded: a
        part is left to what nobody asked for, a validator's verdicts."""
        self._check_room(records, MAX_WORK_RECORDS)
        room = Room(self, records)
        self._held += records
        try:
            yield room
        finally:
            self._held -= room.left

    def put(self, kind: RecordKind, body: object) -> None:
        """Queue one record (a Message). Raises Overloaded when MAX_WAITING records wait already, or have room held for them."""
        self.put_record(Record(kind, encode(body)))

    def offer(self, kind: RecordKind, body: object) -> bool:
        """The same for what nobody depends on: whether there is room beside what is held."""
        try:
            self._check_room(1, MAX_WORK_RECORDS)
        except Overloaded:
            return False
        self.put(kind, body)
        return True

    def put_record(self, record: Record) -> None:
        """The same for a record that is encoded already: of a test's load."""
        self._check_room(1, MAX_WAITING)
        self._append(record)

    def put_held(self, record: Record) -> None:
        """Of a Room."""
        self._held -= 1
        self._append(record)

    def _append(self, record: Record) -> None:
        self._waiting.append(record)
        self._bytes += len(record.body) + _EACH

    def due(self, chain_nonce: int, height: int, *, may_send: bool = True) -> list[bytes]:
        """Transactions to send now. The chain, at `height`, has this sender's batches up to `chain_nonce`. may_send: it would take more."""
        self._flight = {nonce: sent for nonce, sent in self._flight.items() if nonce > chain_nonce}
        if not may_send:
            self._wait(height)
            return []
        self._mute_since = None
        self._seen.clear()
        if any(sent.is_lost(height) for sent in self._flight.values()):
            self._give_up(f"no block took them in {OUTBOX_TTL_HEIGHTS} heights")
        out = []
        for nonce, sent in self._flight.items():
            if sent.is_due(height):
                first = height if sent.first is None else sent.first
                self._flight[nonce] = replace(sent, first=first, last=height)
                out.append(sent.raw)
        while self.ready:
            out.append(self._next(chain_nonce, height))
        return out

    def _wait(self, height: int) -> None:
        """It may be registered soon, and say then what it has to say: each record is kept as long, whatever was given up before it."""
        self._mute_since = height if self._mute_since is None else self._mute_since
        self._seen.extend([height] * (len(self._waiting) - len(self._seen)))
        old = sum(height - seen >= OUTBOX_TTL_HEIGHTS for seen in self._seen)
        if old or (self._flight and height - self._mute_since >= OUTBOX_TTL_HEIGHTS):
            self._give_up("this peer is not registered", old)
        for _ in range(old):
            self._seen.popleft()
            self._bytes -= len(self._waiting.popleft().body) + _EACH

    def _give_up(self, why: str, waiting: int = 0) -> None:
        """What is in flight, all of it: a batch after one that is not taken is not taken either. waiting: records that never left."""
        log.warning("records for the chain are given up", batches=len(self._flight), waiting=waiting, reason=why)
        self._flight.clear()
        self._last_nonce = 0

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
        self._flight[nonce] = _Sent(raw, height, height)
        self._last_nonce = nonce
        return raw
