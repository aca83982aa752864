"""The store under threads, and on machines with little space: readers see one state, every failure is a
StorageError."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

from p2p.base.errors import StorageError
from p2p.store import lmdb as module
from p2p.store.batch import Batch
from p2p.store.lmdb import LEAST_MAP_BYTES, MAP_BYTES, Store

THREADS, ROUNDS = 8, 12
ROW = 64 * 1024


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "data")
    yield made
    made.close()


def put(store: Store, key: bytes, value: bytes) -> None:
    batch = Batch()
    batch.put("payloads", key, value)
    store.commit(batch)


def test_readers_hold_their_transactions_while_others_make_the_file_grow(store: Store) -> None:
    """Each reader sees one state during its transaction, whatever is written meanwhile."""
    wrong: list[str] = []
    start = threading.Barrier(THREADS)

    def work(me: int) -> None:
        try:
            start.wait()
            for at in range(ROUNDS):
                with store._reading("payloads") as txn, txn.cursor() as cursor:
                    before = [(bytes(k), len(v)) for k, v in cursor.iternext()] if cursor.first() else []
                    if me % 2:  # others write while this transaction is open
                        threading.Event().wait(0)
                    again = [(bytes(k), len(v)) for k, v in cursor.iternext()] if cursor.first() else []
                    if before != again:
                        wrong.append(f"thread {me} saw another state in round {at}")
                put(store, bytes([me, at]), bytes([me]) * ROW)
                if store.read("payloads", bytes([me, at])) != bytes([me]) * ROW:
                    wrong.append(f"thread {me} lost round {at}")
        except Exception as error:  # an exception ends the thread silently: the test must see it
            wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=(me,)) for me in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(store.scan("payloads")) == THREADS * ROUNDS


def test_the_map_never_moves_and_costs_no_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (store.path / "data.mdb").stat()
    assert store._env.info()["map_size"] == MAP_BYTES
    assert size.st_blocks * 512 < 1 << 20
    put(store, b"large", bytes(8 << 20))
    assert store._env.info()["map_size"] == MAP_BYTES
    assert not any("set_mapsize(" in line for line in Path(module.__file__).read_text().splitlines())


def test_a_full_map_is_an_error_and_what_was_there_stays(tmp_path: Path) -> None:
    store = Store(tmp_path, map_bytes=1 << 20)
    put(store, b"a", b"1")
    for _ in range(2):
        with pytest.raises(StorageError) as caught:
            put(store, b"b", bytes(4 << 20))
        assert caught.value.code == "disk_full"
    store.close()
    again = Store(tmp_path, map_bytes=1 << 20)
    assert again.read("payloads", b"a") == b"1"
    put(again, b"a", b"2")
    again.close()


def test_after_a_failure_nothing_is_written(tmp_path: Path) -> None:
    """Code that takes the failure for somebody's wrong record cannot write anything afterwards."""
    store = Store(tmp_path, map_bytes=1 << 20)
    put(store, b"a", b"1")
    with pytest.raises(StorageError):
        put(store, b"b", bytes(4 << 20))
    assert store.failure is not None
    for _ in range(2):
        with pytest.raises(StorageError, match="full"):
            put(store, b"c", b"")
    assert store.read("payloads", b"a") == b"1"
    store.close()


def test_little_address_space_makes_a_smaller_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stock, tried = lmdb.open, list[int]()

    def poor(path: str, *, map_size: int, **more: Any) -> Any:
        tried.append(map_size)
        if map_size > 5 << 30:
            raise lmdb.MemoryError("Cannot allocate memory")
        return stock(path, map_size=map_size, **more)

    monkeypatch.setattr(lmdb, "open", poor)
    store = Store(tmp_path)
    assert store._env.info()["map_size"] == 4 << 30
    store.close()
    monkeypatch.setattr(lmdb, "open", lambda *a, **k: poor(a[0], map_size=6 << 30))
    with pytest.raises(StorageError):
        Store(tmp_path)
    assert min(tried) >= LEAST_MAP_BYTES


@pytest.mark.parametrize("error", [
    lmdb.CorruptedError("page"), lmdb.ReadersFullError("readers"), OSError(5, "Input/output error"),
])
@pytest.mark.parametrize("ask", ["read", "scan", "keys", "walk"])
def test_a_read_that_fails_is_a_storage_error(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception, ask: str,
) -> None:
    class Broken:
        def begin(self, **options: Any) -> Any:
            raise error

        def close(self) -> None:
            return

    whole = store._env
    store._env = Broken()
    with pytest.raises(StorageError):
        {"read": lambda: store.read("meta", b"k"), "scan": lambda: store.scan("meta"),
         "keys": lambda: store.keys("meta", b"", 1),
         "walk": lambda: list(store.walk("meta"))}[ask]()
    store._env = whole
