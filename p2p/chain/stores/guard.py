"""The durable guard: what this key has signed. Law: it never goes back, and it is on disk before a signature leaves.

A guard from a backup does not know what its key signed after the backup. `folkmoot restore` therefore writes a hold
into it: nothing is signed until the network has decided a height that nobody could have signed before the restore
(decision 072).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from p2p.base.codec import Message, encode, load
from p2p.base.errors import StorageError
from p2p.base.files import open_output
from p2p.base.types import U64
from p2p.consensus.guard import GuardRecord
from p2p.store.batch import Batch
from p2p.store.keys import height_key
from p2p.store.lmdb import Store

# A block's time may be so much ahead of the moment when it was proposed, and this machine's clock behind the network's:
# only a block that is later than the restore by more than this counts.
HOLD_MARGIN_MS = 2_000
_HOLD = b"hold"


class Hold(Message, frozen=True):
    """The store was restored from a backup."""

    since_ms: U64  # when, milliseconds since 1970
    until: U64  # nothing is signed up to this height; 0: not known yet, so nothing is signed at all


def hold(batch: Batch, since_ms: int) -> None:
    """Add to `batch` that the guard of this store may be old."""
    batch.put("guard", _HOLD, encode(Hold(since_ms, 0)))


class GuardStore:
    """GuardLog on LMDB. marker: a file next to the key, which says the key has signed before."""

    def __init__(self, store: Store, marker: Path, *, allow_missing: bool = False) -> None:
        self._store = store
        self._marker = marker
        self._over = 0  # inputs below this height go with the next record
        self._last = self._read()
        raw = store.read("guard", _HOLD)
        self._hold = load(Hold, raw) if raw else None
        if self._last is not None:
            self._mark()
        elif marker.exists() and not allow_missing:
            raise StorageError(
                f"{marker} says that this key has signed, but the store holds no guard: starting could sign twice. "
                "Restore a backup (folkmoot restore), or make a new key with folkmoot init", field="guard",
                code="guard_missing",
            )

    def _read(self) -> GuardRecord | None:
        raw = self._store.read("guard", b"guard")
        return load(GuardRecord, raw) if raw else None

    def load(self) -> GuardRecord | None:
        return self._last

    def is_held(self, height: int) -> bool:
        """Whether nothing may be signed at this height: before the backup was restored, this key may have signed
        there."""
        return self._hold is not None and (not self._hold.until or height <= self._hold.until)

    @property
    def waits(self) -> bool:
        """Whether nothing at all is signed yet."""
        return self._hold is not None and not self._hold.until

    def decided(self, height: int, time_ms: int) -> bool:
        """The network has decided a height while this peer listened. Whether that ends the wait: whoever used this key
        before the restore had signed at no height above it. On disk when it returns. Raises StorageError."""
        if self._hold is None or not self.waits or time_ms <= self._hold.since_ms + HOLD_MARGIN_MS:
            return False
        batch, found = Batch(), Hold(self._hold.since_ms, height)
        batch.put("guard", _HOLD, encode(found))
        self._store.commit(batch)
        self._hold = found
        return True

    def inputs(self, height: int) -> list[bytes]:
        """What was logged for `height`, in order."""
        prefix = b"in" + height_key(height)
        return [value for key, value in self._store.scan("guard", prefix) if key.startswith(prefix)]

    def record(self, height: int, inputs: Sequence[bytes], guard: GuardRecord | None) -> None:
        """Append inputs and move the guard in one fsynced transaction. Raises StorageError when the guard would go
        back."""
        batch = self._without_old()
        start = len(self.inputs(height))
        for at, raw in enumerate(inputs):
            batch.put("guard", b"in" + height_key(height) + height_key(start + at), raw)
        if guard is not None:
            last = self._last
            if last is not None and (guard.height, guard.round, guard.step) < (last.height, last.round, last.step):
                raise StorageError("the guard cannot go back: this would sign twice", field="guard", code="guard_back")
            batch.put("guard", b"guard", encode(guard))
        self._store.commit(batch)
        self._over = 0
        if guard is not None:
            if self._last is None:
                self._mark()  # after the commit: a guard without a marker, as a crash in between leaves it, is harmless
            self._last = guard

    def _mark(self) -> None:
        """Durable before the first signature leaves."""
        if self._marker.exists():
            return
        try:
            with os.fdopen(open_output(self._marker), "wb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"cannot write {self._marker}: {error}", field="guard") from error

    def prune(self, height: int) -> None:
        """Forget inputs below `height`, in the transaction of the next record: by itself it would be one more write to
        the disk for each block, and what is there a second longer harms nobody. The guard itself stays."""
        self._over = max(self._over, height)

    def _without_old(self) -> Batch:
        """A transaction that forgets what is over."""
        batch, end = Batch(), b"in" + height_key(self._over)
        if self._over:
            for key, _ in self._store.scan("guard", b"in"):
                if key.startswith(b"in") and key < end:
                    batch.put("guard", key, None)
        return batch
