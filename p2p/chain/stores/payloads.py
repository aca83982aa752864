"""What this peer keeps for checks: payloads (prompt and artifact), its verdicts, planted faults.

Law: a payload goes with the block that lets its inference leave the state, or when the chain did not know it for a
whole epoch. A block looks at MAX_SWEPT of them, so no block waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from p2p.chain.stores import payload_keys
from p2p.ledger.inferences.pruning import Left
from p2p.ledger.state import keys as state_keys
from p2p.store.batch import Batch
from p2p.store.keys import height_key
from p2p.store.lmdb import Store

MAX_SWEPT = 64


class Payloads:
    """The database `payloads` of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._from = b""  # where the next sweep begins

    def read(self, key: bytes) -> bytes | None:
        return self._store.read("payloads", key)

    def put(self, key: bytes, value: bytes) -> None:
        batch = Batch()
        batch.put("payloads", key, value)
        self._store.commit(batch)

    def drop(self, keys: Iterable[bytes]) -> None:
        """They are not wanted any more; one that is not here is no error."""
        batch = Batch()
        for key in keys:
            _drop(batch, key)
        self._store.commit(batch)

    def prune(self, batch: Batch, left: Iterable[Left]) -> None:
        """Add to a block's `batch` that what is kept of these inferences goes."""
        for one in left:
            _drop(batch, one.inference_id)
            for committee in one.inference.committees:
                _drop(batch, payload_keys.verdict(one.inference_id, committee.height))

    def sweep(self, batch: Batch, height: int, patience: int) -> None:
        """Look at the next few. One whose inference is not in the state below this block goes when that was so
        `patience` heights before as well: its Start was never decided, or it left while this peer was away."""
        keys = self._store.keys("payloads", self._from, MAX_SWEPT)
        self._from = keys[-1] + b"\0" if len(keys) == MAX_SWEPT else b""
        for key in keys:
            inference_id = payload_keys.inference_of(key)
            if inference_id is None:
                continue
            since = self.read(payload_keys.unknown_since(key))
            if self._store.read("state", state_keys.inference(inference_id)) is not None:
                if since is not None:
                    batch.put("payloads", payload_keys.unknown_since(key), None)
            elif since is None:
                batch.put("payloads", payload_keys.unknown_since(key), height_key(height))
            elif height - int.from_bytes(since, "big") >= patience:
                _drop(batch, key)


def _drop(batch: Batch, key: bytes) -> None:
    batch.put("payloads", key, None)
    batch.put("payloads", payload_keys.unknown_since(key), None)
