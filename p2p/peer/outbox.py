"""A peer's records on their way to the chain.

Law: nothing queued is lost before its limit, nothing is repeated for ever; at most one batch in flight is not full.

Records wait here and leave as SignedBatches with consecutive nonces. While a batch that is not full is in flight,
further records gather, so a peer with little to say sends one batch a block, and a busy one up to
MAX_BATCHES_IN_FLIGHT. A batch that no block has taken is sent again as the same bytes, also after a restart: others may
hold it, and another batch with its nonce would be lost. After TX_TTL_HEIGHTS it is no longer sent; after
OUTBOX_TTL_HEIGHTS, when all others have forgotten it, it is given up with the batches after it. A peer that may not
send keeps its records as long, then gives them up too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import structlog

from p2p.base.codec import encode
from p2p.base.errors import Overloaded
from p2p.base.keys import Domain, Key, NetworkId
from p2p.base.limits import (
    MAX_BATCHES_IN_FLIGHT,
    MAX_RECORDS_PER_TX,
    MAX_TX,
    MAX_WAITING,
    MAX_WORK_RECORDS,
    OUTBOX_TTL_HEIGHTS,
    TX_TTL_HEIGHTS,
)
from p2p.base.types import VERSION, Batch, Record, RecordKind, SignedBatch

AGAIN_HEIGHTS = 2  # a batch that so many blocks did not take is sent again
_FRAME = 256  # bytes of a batch besides its records, at most
_EACH = 16  # bytes of a record besides its body, at most
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Sent:
    """A batch in flight."""

    raw: bytes
    first: int | None = None  # height at which this process sent it first; None: not yet
    last: int | None = None  # and last

    def is_due(self, height: int) -> bool:
        if self.first is None or self.last is None:
            return True
        return height - self.last >= AGAIN_HEIGHTS and height - self.first < TX_TTL_HEIGHTS

    def is_lost(self, height: int) -> bool:
        """Whether it is time to give it up."""
        return self.first is not None and height - self.first >= OUTBOX_TTL_HEIGHTS


class Room:
    """Places in an outbox that are held before their records exist."""

    def __init__(self, outbox: Outbox, left: int) -> None:
        self._outbox, self.left = outbox, left

    def put(self, kind: RecordKind, body: object) -> None:
        """Use one of the places. Once they are used up it is as `Outbox.put`."""
        if self.left:
            self.left -= 1
            self._outbox.put_held(Record(kind, encode(body)))
        else:
            self._outbox.put(kind, body)


class Outbox:
    """`put` queues a record; `due` gives the bytes to send now, new or again. `flight` must be on disk before they
    leave."""

    def __init__(
        self, key: Key, network: NetworkId, sent: Mapping[int, bytes] | None = None,
        on_record: Callable[[], None] = lambda: None,
    ) -> None:
        """sent: by nonce, the batches in flight when this peer stopped. on_record: called after each record."""
        self._key = key
        self._network = network
        self._on_record = on_record
        self._waiting: deque[Record] = deque()
        self._bytes = 0  # of the records that wait
        self._held = 0  # places held for records that do not exist yet
        # by nonce; batches of an earlier process are due at once
        self._flight: dict[int, _Sent] = {nonce: _Sent(raw) for nonce, raw in sorted((sent or {}).items())}
        self._mute_since: int | None = None  # height from which this peer may not send
        self._seen: deque[int] = deque()  # since then: the height from which on each record waits
        self._last_nonce = max(self._flight, default=0)
        self._partial = 0  # nonce of the last batch that was not full

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
        """Whether a new batch can leave now."""
        if self._mute_since is not None:
            return False
        may = self._is_full() or (bool(self._waiting) and self._partial not in self._flight)
        return may and len(self._flight) < MAX_BATCHES_IN_FLIGHT

    def _is_full(self) -> bool:
        return len(self._waiting) >= MAX_RECORDS_PER_TX or self._bytes + _FRAME > MAX_TX

    def _check_room(self, records: int, most: int) -> None:
        if len(self._waiting) + self._held + records > most:
            raise Overloaded("too many records wait for the chain here; try another peer", field="records")

    @contextmanager
    def hold(self, records: int) -> Iterator[Room]:
        """Hold places for so many records while the block runs, so that the result of its work is never refused. Raises
        Overloaded when MAX_WORK_RECORDS wait or are held: the rest is for records that no request causes, such as
        verdicts."""
        self._check_room(records, MAX_WORK_RECORDS)
        room = Room(self, records)
        self._held += records
        try:
            yield room
        finally:
            self._held -= room.left

    def put(self, kind: RecordKind, body: object) -> None:
        """Queue one record (a Message). Raises Overloaded when MAX_WAITING records wait already, or have room held for
        them."""
        self.put_record(Record(kind, encode(body)))

    def offer(self, kind: RecordKind, body: object) -> bool:
        """As `put` for a record on which nobody depends. False if it has no place besides those held."""
        try:
            self._check_room(1, MAX_WORK_RECORDS)
        except Overloaded:
            return False
        self.put(kind, body)
        return True

    def put_record(self, record: Record) -> None:
        """As `put` for a record that is encoded already (a test's load)."""
        self._check_room(1, MAX_WAITING)
        self._append(record)

    def put_held(self, record: Record) -> None:
        """A record for which a Room held a place."""
        self._held -= 1
        self._append(record)

    def _append(self, record: Record) -> None:
        self._waiting.append(record)
        self._bytes += len(record.body) + _EACH
        self._on_record()

    def due(self, chain_nonce: int, height: int, *, may_send: bool = True) -> list[bytes]:
        """Transactions to send now. The chain, at `height`, has this sender's batches up to `chain_nonce`. may_send:
        whether the chain would take more of them."""
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
        """This peer may not send now. Each record is kept for OUTBOX_TTL_HEIGHTS, for the peer may be registered
        meanwhile."""
        self._mute_since = height if self._mute_since is None else self._mute_since
        self._seen.extend([height] * (len(self._waiting) - len(self._seen)))
        old = sum(height - seen >= OUTBOX_TTL_HEIGHTS for seen in self._seen)
        if old or (self._flight and height - self._mute_since >= OUTBOX_TTL_HEIGHTS):
            self._give_up("this peer is not registered", old)
        for _ in range(old):
            self._seen.popleft()
            self._bytes -= len(self._waiting.popleft().body) + _EACH

    def _give_up(self, why: str, waiting: int = 0) -> None:
        """Drop all batches in flight: if one is not taken, those after it are not either. waiting: records dropped
        besides, for the log."""
        log.warning("this peer gives up records for the chain", batches=len(self._flight), waiting=waiting, reason=why)
        self._flight.clear()
        self._last_nonce = 0

    def _next(self, chain_nonce: int, height: int) -> bytes:
        """A new batch of the oldest records, signed; it is in flight from now on."""
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
