"""This peer's batches on their way to the chain. Law: a batch is on disk before it leaves and until the chain has it, so after a crash the
same bytes are said again and their number is given to no others.
"""

from __future__ import annotations

from collections.abc import Mapping

from p2p.base.codec import load
from p2p.base.types import SignedBatch
from p2p.store.batch import Batch
from p2p.store.keys import height_key
from p2p.store.lmdb import Store

_NAME = b"sent/"  # + nonce


class SentStore:
    """By nonce; as many as the outbox has in flight."""

    def __init__(self, store: Store) -> None:
        self._store = store
        found = [(key, raw) for key, raw in store.scan("meta", _NAME) if key.startswith(_NAME)]
        self._kept = {int.from_bytes(key[len(_NAME) :], "big"): raw for key, raw in found}

    def load(self, sender: bytes) -> dict[int, bytes]:
        """Those of this node key: no block takes what a key signed that was given up since, and to wait for it would stop its successor."""
        return {nonce: raw for nonce, raw in self._kept.items() if load(SignedBatch, raw).batch.sender == sender}

    def keep(self, flight: Mapping[int, bytes]) -> None:
        """All that is in flight now. One durable write when something new is, else none: what the chain has goes with the next. Raises
        StorageError."""
        new = {nonce: raw for nonce, raw in flight.items() if self._kept.get(nonce) != raw}
        if not new:
            return
        batch = Batch()
        for nonce in self._kept.keys() - flight.keys():
            batch.put("meta", _NAME + height_key(nonce), None)
        for nonce, raw in new.items():
            batch.put("meta", _NAME + height_key(nonce), raw)
        self._store.commit(batch)
        self._kept = dict(flight)
