"""Backups: whole, checked, without keys unless asked for; what is restored signs nothing until the network has shown
that it may."""

from __future__ import annotations

import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from p2p.base.errors import ConfigError, FolkmootError, StorageError
from p2p.base.genesis import load_genesis
from p2p.base.keys import Key
from p2p.chain.chain import Chain
from p2p.chain.stores.guard import HOLD_MARGIN_MS, GuardStore
from p2p.consensus.guard import GuardRecord
from p2p.consensus.messages import VoteType
from p2p.consensus.round import CastVote
from p2p.consensus.signer import Signer
from p2p.consensus.validators import ValidatorSet
from p2p.peer.backup import make_backup, read_manifest, restore
from p2p.peer.key_lock import key_lock
from p2p.peer.restored import Restored
from p2p.store.lmdb import Store
from testnet.generate import Plan, generate

LAST = GuardRecord(7, 1, 2, b"a vote")


@pytest.fixture
def peer(tmp_path: Path) -> Path:
    """A peer's folder with a store and a key that has signed."""
    folder = generate(Plan(tmp_path / "net", 4))[0]
    chain = Chain.open(folder, load_genesis(folder / "genesis.cbor"))
    chain.guard.record(7, [b"an input"], LAST)
    chain.close()
    return folder


def guard_of(folder: Path) -> tuple[Store, GuardStore]:
    store = Store(folder / "data")
    return store, GuardStore(store, folder / "node.key.used")


def test_a_backup_of_a_store_in_use_is_restored_with_its_guard_held(peer: Path, tmp_path: Path) -> None:
    store, _ = guard_of(peer)  # as a running peer has it open; the copy is made by another process
    store.close()
    made = make_backup(peer, tmp_path / "b", with_keys=True)
    assert made.has_keys
    assert (tmp_path / "b").stat().st_mode & 0o077 == 0
    restore(tmp_path / "b", tmp_path / "new")
    for name in ("node.key", "account.key", "config.toml", "genesis.cbor"):
        assert (tmp_path / "new" / name).read_bytes() == (peer / name).read_bytes()
    store, guard = guard_of(tmp_path / "new")
    assert guard.load() == LAST
    assert guard.waits
    assert all(guard.is_held(height) for height in (1, 7, 8, 10**9)), "nothing at all is signed"
    store.close()


def test_the_hold_ends_above_a_height_that_is_later_than_the_restore(peer: Path, tmp_path: Path) -> None:
    restore_of(peer, tmp_path)
    store, guard = guard_of(tmp_path / "new")
    assert guard._hold is not None
    since = guard._hold.since_ms
    assert not guard.decided(20, since + HOLD_MARGIN_MS), "a block that may be older"
    assert guard.is_held(21)
    assert guard.decided(22, since + HOLD_MARGIN_MS + 1)
    store.close()
    store, guard = guard_of(tmp_path / "new")  # it is on disk
    assert not guard.waits
    assert guard.is_held(22), "the old peer may have signed there"
    assert not guard.is_held(23)
    store.close()


def test_the_signer_signs_nothing_while_the_guard_is_held(peer: Path, tmp_path: Path) -> None:
    restore_of(peer, tmp_path)
    key, network = Key.load(peer / "node.key"), load_genesis(peer / "genesis.cbor").network
    store, guard = guard_of(tmp_path / "new")
    signer, cast = Signer(key, network, guard), CastVote(VoteType.PREVOTE, 0, None, -1)
    validators = ValidatorSet.of(((key.public, 1),))
    signer.start_height(30, validators)
    assert signer.sign_vote(cast) is None
    assert signer.is_observing()
    assert guard.decided(30, 2**60)
    assert signer.sign_vote(cast) is None, "the old peer may have signed at that very height"
    signer.start_height(31, validators)
    assert signer.sign_vote(cast) is not None
    store.close()


def restore_of(peer: Path, tmp_path: Path) -> None:
    make_backup(peer, tmp_path / "b", with_keys=True)
    restore(tmp_path / "b", tmp_path / "new")


async def test_only_what_was_decided_here_and_no_twin_end_the_wait(peer: Path, tmp_path: Path) -> None:
    restore_of(peer, tmp_path)
    store, guard = guard_of(tmp_path / "new")
    twin = ["another peer runs with this key"]
    restored = Restored(guard, lambda: twin[0])

    async def taken(block: Any, certificate: Any) -> bool:
        return True

    def block(height: int) -> Any:
        return SimpleNamespace(header=SimpleNamespace(height=height, time_ms=2**60))

    await restored.watching(taken)(block(30), SimpleNamespace(height=30))  # type: ignore[arg-type]
    twin[0] = ""
    restored.committed(block(30))
    assert restored.waits, "sync brought it: it may be old"
    twin[0] = "another"
    restored.committed(block(31))
    assert "stop one of them" in restored.waits
    twin[0] = ""
    restored.committed(block(31))
    assert not restored.waits
    assert not guard.is_held(32)
    store.close()


def test_without_keys_the_backup_has_none_and_needs_the_right_one(peer: Path, tmp_path: Path) -> None:
    make_backup(peer, tmp_path / "b")
    assert {one.name for one in read_manifest(tmp_path / "b").files} <= {
        "data.mdb", "config.toml", "genesis.cbor", "peers",
    }
    with pytest.raises(ConfigError, match="has no keys"):
        restore(tmp_path / "b", tmp_path / "new")
    other = next(path for path in sorted(peer.parent.glob("*/node.key")) if path.parent != peer)
    (tmp_path / "new" / "node.key").write_bytes(other.read_bytes())
    (tmp_path / "new" / "node.key").chmod(0o600)
    with pytest.raises(ConfigError, match="the backup is of node"):
        restore(tmp_path / "b", tmp_path / "new")
    assert not (tmp_path / "new" / "data").exists()
    (tmp_path / "new" / "node.key").write_bytes((peer / "node.key").read_bytes())
    restore(tmp_path / "b", tmp_path / "new")


@pytest.mark.parametrize("damage", ["cut", "changed", "foreign", "path", "twice"])
def test_a_damaged_or_foreign_file_is_refused_and_leaves_no_store(peer: Path, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "b"
    make_backup(peer, file, with_keys=True)
    raw = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(raw[: len(raw) // 2])
    elif damage == "changed":
        raw[len(raw) // 2] ^= 1
        file.write_bytes(raw)
    elif damage == "foreign":
        file.write_bytes(b"no archive" * 200)
    elif damage == "path":
        file.write_bytes(raw.replace(b'"genesis.cbor"', b'"../nesis.cbor"'[:14] + b'"'))
    else:
        file.write_bytes(raw.replace(b'"config.toml"', b'"node.key"   '))
    with pytest.raises(ConfigError):
        restore(file, tmp_path / "new")
    assert not (tmp_path / "new" / "data").exists()


def test_nothing_is_overwritten(peer: Path, tmp_path: Path) -> None:
    make_backup(peer, tmp_path / "b", with_keys=True)
    with pytest.raises(ConfigError, match="exists"):
        make_backup(peer, tmp_path / "b")
    with pytest.raises(ConfigError, match="holds a store already"):
        restore(tmp_path / "b", peer)


def test_a_backup_of_nothing_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FolkmootError, match="holds no store"):
        make_backup(tmp_path, tmp_path / "b")
    with tarfile.open(tmp_path / "empty", "w"):
        pass
    with pytest.raises(ConfigError, match="no backup"):
        restore(tmp_path / "empty", tmp_path / "new")


def test_one_key_runs_once_on_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with key_lock("peer"):
        with pytest.raises(StorageError, match="another peer with this key"):
            with key_lock("peer"):
                pass
        with key_lock("another"):
            pass
    with key_lock("peer"):
        pass
    assert not list(tmp_path.rglob("*.lock"))
