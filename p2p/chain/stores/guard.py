"""The durable guard: what this key has signed. Law: it never goes back, and it is on disk before a signature leaves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from p2p.base.codec import encode, load
from p2p.base.errors import StorageError
from p2p.base.files import open_output
from p2p.consensus.guard import GuardRecord
from p2p.store.batch import Batch
from p2p.store.keys import height_key
from p2p.store.lmdb import Store


class GuardStore:
    """GuardLog on LMDB. marker: a file next to the key, which says the key has signed before."""

    def __init__(self, store: Store, marker: Path, *, allow_missing: bool = False) -> None:
        self._store = store
        self._marker = marker
        self._last = self._read()
        if self._last is not None:
            self._mark()
        elif marker.exists() and not allow_missing:
            raise StorageError(
                f"{marker} says that this key has signed, but the store holds no guard: starting could sign twice. "
                "Restore the store, or make a new key with folkmoot init", field="guard", code="guard_missing",
            )

    def _read(self) -> GuardRecord | None:
        raw = self._store.read("guard", b"guard")
        return load(GuardRecord, raw) if raw else None

    def load(self) -> GuardRecord | None:
        return self._last

    def inputs(self, height: int) -> list[bytes]:
        """What was logged for `height`, in order."""
        prefix = b"in" + height_key(height)
        return [value for key, value in self._store.scan("guard", prefix) if key.startswith(prefix)]

    def record(self, height: int, inputs: Sequence[bytes], guard: GuardRecord | None) -> None:
        """Append inputs and move the guard in one fsynced transaction. Raises StorageError when the guard would go
        back."""
        batch = Batch()
        start = len(self.inputs(height))
        for at, raw in enumerate(inputs):
            batch.put("guard", b"in" + height_key(height) + height_key(start + at), raw)
        if guard is not None:
            last = self._last
            if last is not None and (guard.height, guard.round, guard.step) < (last.height, last.round, last.step):
                raise StorageError("the guard cannot go back: this would sign twice", field="guard", code="guard_back")
            batch.put("guard", b"guard", encode(guard))
        self._store.commit(batch)
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
        """Forget inputs below `height`; the guard itself stays."""
        batch = Batch()
        for key, _ in self._store.scan("guard", b"in"):
            if key.startswith(b"in") and key < b"in" + height_key(height):
                batch.put("guard", key, None)
        if batch.puts:
            self._store.commit(batch)
