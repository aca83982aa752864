"""The store of one peer: one LMDB environment, for one process and any of its threads.

Law: when a commit returns, all of it is on disk; when it raises, nothing of it is.

The map has its full size from the start. It takes address space, not disk: the file grows only as it is written. A map
must not be resized while any thread holds a transaction, and our threads do (payloads, verdicts), so it never is. Where
the system gives less address space the map is smaller; a full map is a StorageError like a full disk. After a failed
read or write every commit fails. Each decision, vote and signature is written before it leaves, so code that takes the
error for somebody else's fault still cannot sign anything afterwards.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import lmdb

from p2p.base.errors import ConfigError, StorageError
from p2p.base.files import FILE_MODE, make_folder
from p2p.store.batch import Batch
from p2p.store.keys import DATABASES, MIGRATING, SCHEMA, SCHEMA_KEY

WALK_ROWS = 64  # pairs that `walk` reads in one transaction
MAP_BYTES = 64 << 30  # largest store; by the default rules two epochs are kept, some hundred MB at full load
MAX_READERS = 126  # threads with a transaction: trio has 40 at most, each library its own
LEAST_MAP_BYTES = 1 << 30  # no store is opened with less
PAGE_BYTES = 4096  # of the data file, for a message


class Store:
    """An open store.

    `failure` is its first error: the peer, which watches it, then halts.
    """

    def __init__(self, path: Path, *, map_bytes: int = MAP_BYTES, any_schema: bool = False) -> None:
        """Open the store in directory `path`, or make it there. any_schema: whatever schema it has, to migrate it.

        Raises StorageError with code 'locked' (another process has it open), 'schema', 'truncated', 'disk_full' or
        'storage'.
        """
        self.failure: StorageError | None = None
        try:
            make_folder(path)
            self._lock = os.open(path / "peer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except PermissionError as error:
            what = f"cannot open {path}: {error.strerror}; run this as the user that owns it"
            raise StorageError(what, field="directory") from error
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
        try:
            self._open(map_bytes, any_schema=any_schema)
        except StorageError:
            os.close(self._lock)
            raise

    def _open(self, map_bytes: int, *, any_schema: bool) -> None:
        try:
            self._env = self._mapped(map_bytes)
            self._check_whole()
            self._dbs = {name: self._env.open_db(name.encode()) for name in DATABASES}
        except (lmdb.Error, OSError) as error:
            raise _storage_error(error, "open") from error
        found = self.read("meta", SCHEMA_KEY)
        if found is None:
            batch = Batch()
            batch.put("meta", SCHEMA_KEY, bytes([SCHEMA]))
            self.commit(batch)
        elif not any_schema and found != bytes([SCHEMA]):
            self._env.close()
            raise StorageError(
                f"{self.path} has schema {found[0]}, this program uses schema {SCHEMA}; {_advice(found[0])}",
                field="schema", code="schema",
            )

        elif not any_schema and self.read("meta", MIGRATING) is not None:
            self._env.close()
            raise StorageError(
                f"a migration of {self.path} was broken off; finish it with: folkmoot store migrate --dir DIR",
                field="schema", code="schema",
            )

    @property
    def schema(self) -> int:
        """Of what is stored."""
        return (self.read("meta", SCHEMA_KEY) or bytes([SCHEMA]))[0]

    def _mapped(self, map_bytes: int) -> lmdb.Environment:
        """The environment, with as large a map as the system gives, up to `map_bytes`."""
        while True:
            try:
                return lmdb.open(
                    str(self.path), map_size=map_bytes, max_dbs=len(DATABASES), metasync=True, sync=True,
                    max_readers=MAX_READERS, mode=FILE_MODE,
                )
            except (lmdb.MemoryError, MemoryError):
                map_bytes //= 2
                if map_bytes < max(LEAST_MAP_BYTES, 2 * _size_on_disk(self.path / "data.mdb")):
                    raise

    @contextmanager
    def _reading(self, database: str) -> Iterator[Any]:
        """A read transaction. Raises StorageError for an error of the file or the disk, and remembers it."""
        try:
            with self._env.begin(db=self._dbs[database]) as txn:
                yield txn
        except (lmdb.Error, OSError) as error:
            raise self._failed(_storage_error(error, "read")) from error

    def _failed(self, error: StorageError) -> StorageError:
        self.failure = self.failure or error
        return error

    def _check_whole(self) -> None:
        """Refuse a data file that is cut off: LMDB maps it and would read past its end."""
        pages, found = self._env.info()["last_pgno"] + 1, _size_on_disk(self.path / "data.mdb")
        if found < pages * self._env.stat()["psize"]:
            self._env.close()
            raise StorageError(
                f"{self.path}/data.mdb is cut off: it has {found} of {pages * PAGE_BYTES} bytes; restore a backup"
                " (folkmoot restore), or make a new peer with a new key", field="store", code="truncated",
            )

    def read(self, database: str, key: bytes) -> bytes | None:
        """The value of `key`, or None. Raises StorageError, as all reads here do."""
        with self._reading(database) as txn:
            value: bytes | None = txn.get(key)
            return value

    def scan(self, database: str, start: bytes = b"") -> list[tuple[bytes, bytes]]:
        """All pairs from key `start` on, in key order. For small databases (the guard's) and for tests."""
        with self._reading(database) as txn, txn.cursor() as cursor:
            if not cursor.set_range(start):
                return []
            return [(bytes(k), bytes(v)) for k, v in cursor]

    def keys(self, database: str, start: bytes, most: int) -> list[bytes]:
        """Up to `most` keys from `start` on, in order."""
        with self._reading(database) as txn, txn.cursor() as cursor:
            found = cursor.iternext(keys=True, values=False) if cursor.set_range(start) else iter(())
            return [bytes(key) for key in islice(found, most)]

    def walk(self, database: str) -> Iterator[tuple[bytes, bytes]]:
        """All pairs in key order, a few per transaction. Nobody may write to the database meanwhile."""
        start: bytes | None = b""
        while start is not None:
            with self._reading(database) as txn, txn.cursor() as cursor:
                some = [(bytes(k), bytes(v)) for k, v in islice(cursor, WALK_ROWS)] if cursor.set_range(start) else []
            yield from some
            start = some[-1][0] + b"\0" if len(some) == WALK_ROWS else None

    def commit(self, batch: Batch) -> None:
        """Write all of `batch` as one fsynced transaction. Raises StorageError; after that every commit does."""
        if self.failure is not None:
            raise StorageError(self.failure.message, field=self.failure.field, code=self.failure.code)
        try:
            with self._env.begin(write=True) as txn:
                for (database, key), value in batch.puts.items():
                    if value is None:
                        txn.delete(key, db=self._dbs[database])
                    else:
                        txn.put(key, value, db=self._dbs[database])
        except lmdb.MapFullError as error:
            full = "the store is full; free space, or raise MAP_BYTES in p2p/store/lmdb.py, then start again"
            raise self._failed(StorageError(full, field="store", code="disk_full")) from error
        except (lmdb.Error, OSError) as error:
            raise self._failed(_storage_error(error)) from error

    def close(self) -> None:
        self._env.close()
        os.close(self._lock)


def _advice(schema: int) -> str:
    if schema > SCHEMA:
        return "a newer program wrote it: start it with that program, or restore a backup of this program's time"
    return "bring it forward with: folkmoot store migrate --dir DIR (it makes a backup before)"


def copy_store(path: Path, target: Path) -> None:
    """Copy the store in directory `path`, as it is at one moment, into the new folder `target`; a peer may run on it
    and go on writing meanwhile. Raises StorageError, ConfigError."""
    if not (path / "data.mdb").exists():
        raise StorageError(f"{path} holds no store; give the folder of a peer that has run", field="dir")
    make_folder(target)
    try:
        env = lmdb.open(str(path), readonly=True, max_dbs=len(DATABASES), max_readers=MAX_READERS, mode=FILE_MODE)
        try:
            env.copy(str(target), compact=True)
        finally:
            env.close()
    except (lmdb.Error, OSError) as error:
        raise _storage_error(error, "copy") from error


def _size_on_disk(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _storage_error(error: Exception, verb: str = "write") -> StorageError:
    full = isinstance(error, lmdb.DiskError) or "No space left" in str(error) or "Input/output" in str(error)
    remedy = "free space on the disk, then start again" if full else "restore a backup (folkmoot restore)"
    return StorageError(
        f"cannot {verb} the store: {error}; {remedy}", field="store", code="disk_full" if full else "storage",
    )
