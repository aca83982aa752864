"""Snapshots in the store.

Law: the last two epochs' are kept; one transaction writes a whole one, one transaction installs one.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2p.base.codec import encode, load
from p2p.ledger.state.snapshot import Manifest
from p2p.store.batch import Batch
from p2p.store.keys import height_key
from p2p.store.lmdb import Store

KEPT = 2


def keep(store: Store, batch: Batch, made: Manifest, chunks: Sequence[bytes], epoch_blocks: int) -> None:
    """Add a snapshot to `batch`; drop the one that is too old."""
    batch.put("snapshots", _name(made.height), encode(made))
    for index, chunk in enumerate(chunks):
        batch.put("snapshots", _name(made.height, index), chunk)
    old = made.height - KEPT * epoch_blocks
    found = manifest(store, old)
    if found is not None:
        batch.put("snapshots", _name(old), None)
        for index in range(len(found.chunks)):
            batch.put("snapshots", _name(old, index), None)


def manifest(store: Store, height: int) -> Manifest | None:
    raw = store.read("snapshots", _name(height)) if height > 0 else None
    return load(Manifest, raw) if raw else None


def chunk(store: Store, height: int, index: int) -> bytes | None:
    return store.read("snapshots", _name(height, index))


def _name(height: int, index: int | None = None) -> bytes:
    return height_key(height) + (b"" if index is None else index.to_bytes(4, "big"))
