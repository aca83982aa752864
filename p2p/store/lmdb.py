"""One LMDB environment. Law: a commit is whole and on disk when it returns, or nothing of it exists; one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import lmdb

from p2p.errors import ConfigError, StorageError
from p2p.files import FILE_MODE, make_folder
from p2p.store.batch import Batch
from p2p.store.keys import DATABASES, SCHEMA

WALK_ROWS = 64
FIRST_MAP_BYTES = 64 << 20
MAX_MAP_BYTES = 64 << 30


class Store:
    """Open directory `path`. Raises StorageError: code 'locked' (another process), 'schema', 'disk_full', 'storage'."""

    def __init__(self, path: Path, *, map_bytes: int = FIRST_MAP_BYTES, max_map_bytes: int = MAX_MAP_BYTES) -> None:
        try:
            make_folder(path)
            self._lock = os.open(path / "peer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except (OSError, ConfigError) as error:
            raise StorageError(f"cannot open {path}: {error}", field="directory") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise StorageError(
                f"{path} is in use by another process; stop that peer first", field="directory", code="locked"
            ) from error
        self.path = path
        self._map_bytes, self._max_map_bytes = map_bytes, max_map_bytes
        try:
            self._open()
        except StorageError:
            os.close(self._lock)
            raise

    def _open(self) -> None:
        try:
            size = max(self._map_bytes, _size_on_disk(self.path / "data.mdb"))
            self._map_bytes = size
            self._env = lmdb.open(str(self.path), map_size=size, max_dbs=len(DATABASES), metasync=True, sync=True, max_readers=64, mode=FILE_MODE)
            self._check_whole()
            self._dbs = {name: self._env.open_db(name.encode()) for name in DATABASES}
        except (lmdb.Error, OSError) as error:
            raise _storage_error(error, "open") from error
        found = self.read("meta", b"schema")
        if found is None:
            batch = Batch()
            batch.put("meta", b"schema", bytes([SCHEMA]))
            self.commit(batch)
        elif found != bytes([SCHEMA]):
            raise StorageError(f"the store has schema {found[0]}, this program writes {SCHEMA}", field="schema", code="schema")

    def _check_whole(self) -> None:
        """LMDB maps the file and would read past the end of a cut one: refuse it instead, and repair nothing silently."""
        pages, found = self._env.info()["last_pgno"] + 1, _size_on_disk(self.path / "data.mdb")
        if found < pages * self._env.stat()["psize"]:
            self._env.close()
            raise StorageError(
                f"{self.path}/data.mdb is cut off: it has {found} of {pages * 4096} bytes; restore it from a copy, or start this peer anew "
                "with a new key", field="store", code="truncated",
            )

    def read(self, database: str, key: bytes) -> bytes | None:
        with self._env.begin(db=self._dbs[database]) as txn:
            value: bytes | None = txn.get(key)
            return value

    def scan(self, database: str, start: bytes = b"") -> list[tuple[bytes, bytes]]:
        """Pairs from `start` in key order. For small databases (the guard's) and tests."""
        with self._env.begin(db=self._dbs[database]) as txn, txn.cursor() as cursor:
            if not cursor.set_range(start):
                return []
            return [(bytes(k), bytes(v)) for k, v in cursor]

    def keys(self, database: str, start: bytes, most: int) -> list[bytes]:
        """Up to `most` keys from `start` in order."""
        with self._env.begin(db=self._dbs[database]) as txn, txn.cursor() as cursor:
            found = cursor.iternext(keys=True, values=False) if cursor.set_range(start) else iter(())
            return [bytes(key) for key in islice(found, most)]

    def walk(self, database: str) -> Iterator[tuple[bytes, bytes]]:
        """All pairs in key order, a few at a time, of a database that nobody writes to meanwhile. Between two pairs others may run."""
        start: bytes | None = b""
        while start is not None:
            with self._env.begin(db=self._dbs[database]) as txn, txn.cursor() as cursor:
                some = [(bytes(k), bytes(v)) for k, v in islice(cursor, WALK_ROWS)] if cursor.set_range(start) else []
            yield from some
            start = some[-1][0] + b"\0" if len(some) == WALK_ROWS else None

    def commit(self, batch: Batch) -> None:
        """Write all of `batch`, fsynced. The map grows when it is full, up to its limit."""
        while True:
            try:
                with self._env.begin(write=True) as txn:
                    for (database, key), value in batch.puts.items():
                        if value is None:
                            txn.delete(key, db=self._dbs[database])
                        else:
                            txn.put(key, value, db=self._dbs[database])
                return
            except lmdb.MapFullError as error:
                if self._map_bytes * 2 > self._max_map_bytes:
                    raise StorageError(
                        "the store is full; free space or raise its limit, then start again", field="store", code="disk_full"
                    ) from error
                self._map_bytes *= 2
                self._env.set_mapsize(self._map_bytes)
            except (lmdb.Error, OSError) as error:
                raise _storage_error(error) from error

    def close(self) -> None:
        self._env.close()
        os.close(self._lock)


def _size_on_disk(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _storage_error(error: Exception, verb: str = "write") -> StorageError:
    full = isinstance(error, lmdb.DiskError) or "No space left" in str(error) or "Input/output" in str(error)
    return StorageError(
        f"cannot {verb}: {error}; " + ("free space on the disk, then start again" if full else "restore the store from a copy"),
        field="store", code="disk_full" if full else "storage",
    )
