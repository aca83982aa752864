"""Keeps this peer's batches on disk until the chain has them.

Law: a batch is on disk before it leaves, so after a crash the same bytes are sent again and no other batch gets its
nonce.
"""

from __future__ import annotations

from collections.abc import Mapping

from p2p.base.codec import load
from p2p.base.types import SignedBatch
from p2p.store.batch import Batch
from p2p.store.keys import SENT_BATCHES, sent_batch
from p2p.store.lmdb import Store


class SentStore:
    """At most as many batches as the outbox has in flight."""

    def __init__(self, store: Store) -> None:
        self._store = store
        found = [(key, raw) for key, raw in store.scan("meta", SENT_BATCHES) if key.startswith(SENT_BATCHES)]
        self._kept = {int.from_bytes(key[len(SENT_BATCHES) :], "big"): raw for key, raw in found}

    def load(self, sender: bytes) -> dict[int, bytes]:
        """By nonce, the batches signed by `sender`. The node key may have changed: no block takes what the old key
        signed, and batches of the new one would wait for it."""
        return {nonce: raw for nonce, raw in self._kept.items() if load(SignedBatch, raw).batch.sender == sender}

    def keep(self, flight: Mapping[int, bytes]) -> None:
        """Keep exactly `flight`, by nonce. Writes once, durably, if something is new; what the chain has by now is
        deleted with the next write. Raises StorageError."""
        new = {nonce: raw for nonce, raw in flight.items() if self._kept.get(nonce) != raw}
        if not new:
            return
        batch = Batch()
        for nonce in self._kept.keys() - flight.keys():
            batch.put("meta", sent_batch(nonce), None)
        for nonce, raw in new.items():
            batch.put("meta", sent_batch(nonce), raw)
        self._store.commit(batch)
        self._kept = dict(flight)
