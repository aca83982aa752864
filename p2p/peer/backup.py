"""Backups of a peer's folder, and their way back.

Law: a backup is one moment of the store, whole and checked by hashes. What is restored signs nothing until the network
has shown that it may (decision 072). Keys are in a backup only where its owner asks for them.

The file is a tar archive: manifest.json first, then the files it names.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from p2p.base.errors import ConfigError, FolkmootError, StorageError
from p2p.base.files import FILE_MODE, check_own, failure, make_folder, write_file
from p2p.base.keys import Key
from p2p.chain.stores.guard import hold
from p2p.store.batch import Batch
from p2p.store.keys import SCHEMA, SENT_BATCHES
from p2p.store.lmdb import MAP_BYTES, Store, copy_store
from p2p.store.migrations import migrate, plan

FORMAT = 1
MANIFEST = "manifest.json"
STORE = "data.mdb"
PLAIN = ("config.toml", "genesis.cbor", "peers")  # copied where they are there
KEYS = ("node.key", "account.key")
MAX_FILE = 64 << 20  # bytes of one file besides the store
MAX_MANIFEST = 65_536
_CHUNK = 1 << 20


class Member(msgspec.Struct, frozen=True):
    """A file of a backup."""

    name: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup says of itself."""

    format: int
    schema: int  # of the store
    made_ms: int  # when, milliseconds since 1970
    node: str  # the node's public key; empty: it could not be read
    files: tuple[Member, ...]

    @property
    def has_keys(self) -> bool:
        return any(one.name in KEYS for one in self.files)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def make_backup(directory: Path, file: Path, *, with_keys: bool = False) -> Manifest:
    """Write a backup of the peer in `directory`, which may run, to the new `file`. Raises ConfigError, StorageError."""
    if file.exists():
        raise ConfigError(f"{file} exists, and backups are never overwritten; give another name", field="file")
    try:
        next((directory / "data").iterdir(), None)
    except PermissionError as error:
        raise failure(error, "read", directory / "data", "dir") from error
    except OSError:
        pass  # copy_store says that there is no store
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".backup-", dir=file.resolve().parent))
    except OSError as error:
        raise failure(error, "write", file, "file") from error
    try:
        began = _now_ms()
        copy_store(directory / "data", scratch)
        sources = {STORE: scratch / STORE}
        names = (*PLAIN, *(KEYS if with_keys else ()))
        sources |= {name: directory / name for name in names if (directory / name).is_file()}
        if with_keys and "node.key" not in sources:
            raise ConfigError(f"{directory} holds no node.key; leave --keys out", field="keys")
        files = tuple(Member(name, path.stat().st_size, _hash_of(path)) for name, path in sources.items())
        manifest = Manifest(FORMAT, _schema_of(scratch), began, _node_of(directory), files)
        _write(file, scratch / "archive", manifest, sources)
        return manifest
    except OSError as error:
        raise failure(error, "write", file, "file") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(file: Path, draft: Path, manifest: Manifest, sources: dict[str, Path]) -> None:
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as raw:
        with tarfile.open(fileobj=raw, mode="w") as archive:
            text = msgspec.json.encode(manifest)
            _put(archive, MANIFEST, len(text), io.BytesIO(text))
            for one in manifest.files:
                with sources[one.name].open("rb") as content:
                    _put(archive, one.name, one.size, content)
        raw.flush()
        os.fsync(raw.fileno())
    os.link(draft, file)  # never over a file that came meanwhile


def _put(archive: tarfile.TarFile, name: str, size: int, content: BinaryIO) -> None:
    head = tarfile.TarInfo(name)
    head.size, head.mode, head.mtime = size, FILE_MODE, int(time.time())
    archive.addfile(head, content)


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _schema_of(folder: Path) -> int:
    store = Store(folder, any_schema=True)
    try:
        return store.schema
    finally:
        store.close()


def _node_of(directory: Path) -> str:
    """The node's public key, where node.key can be read."""
    try:
        return Key.load(directory / "node.key").public.hex()
    except ConfigError:
        return ""


# -- back --------------------------------------------------------------------------------------------------------------


def read_manifest(file: Path) -> Manifest:
    """What a backup says of itself. Raises ConfigError."""
    with _opened(file) as archive:
        return _manifest(archive, file)


@contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(file, mode="r:") as archive:
            yield archive
    except (tarfile.TarError, EOFError) as error:
        raise ConfigError(f"{file} is no backup, or is cut off: {error}; use another one", field="file") from error
    except OSError as error:
        raise failure(error, "read", file, "file") from error


def _manifest(archive: tarfile.TarFile, file: Path) -> Manifest:
    head = archive.next()
    content = archive.extractfile(head) if head is not None and head.isfile() else None
    if head is None or content is None or head.name != MANIFEST or head.size > MAX_MANIFEST:
        raise ConfigError(f"{file} is no backup: it does not begin with {MANIFEST}", field="file")
    try:
        found = msgspec.json.decode(content.read(), type=Manifest)
    except (msgspec.MsgspecError, json.JSONDecodeError) as error:
        raise ConfigError(f"{file} is no backup: {error}", field="file") from error
    if found.format != FORMAT or found.schema > SCHEMA:
        raise ConfigError(
            f"a newer program made {file} (format {found.format}, schema {found.schema}; this one knows {FORMAT} and"
            f" {SCHEMA}); restore it with that program", field="file",
        )
    names = [one.name for one in found.files]
    good = len(set(names)) == len(names) and set(names) <= {STORE, *PLAIN, *KEYS} and STORE in names
    sizes = all(0 <= one.size <= (MAP_BYTES if one.name == STORE else MAX_FILE) for one in found.files)
    if not good or not sizes:
        raise ConfigError(f"{file} names files that a backup does not have; use another one", field="file")
    return found


def restore(file: Path, directory: Path, say: Callable[[str], None] = lambda text: None) -> Manifest:
    """Make the peer of a backup in `directory`, which holds no store yet. Keys that are there stay; where the backup
    has others, it is refused. The store signs nothing until the network has shown that it may.

    Raises ConfigError, StorageError; then `directory` has no store.
    """
    check_own(directory)
    make_folder(directory)
    data, scratch = directory / "data", directory / "data.restoring"
    if data.exists():
        raise ConfigError(f"{directory} holds a store already; give a new folder", field="dir")
    shutil.rmtree(scratch, ignore_errors=True)  # of a restore that was broken off
    make_folder(scratch)
    try:
        with _opened(file) as archive:
            manifest = _manifest(archive, file)
            for one in manifest.files:
                _extract(archive, one, scratch, file)
        _check_keys(manifest, scratch, directory)
        say("files checked")
        _hold_store(scratch, say)
        for name in (*PLAIN, *KEYS):
            if (scratch / name).exists() and not (directory / name).exists():
                write_file(directory / name, (scratch / name).read_bytes(), field="dir")
            (scratch / name).unlink(missing_ok=True)
        write_file(directory / "node.key.used", b"", field="dir")  # a key that signed: never without its guard
        (scratch / "peer.lock").unlink(missing_ok=True)
        scratch.rename(data)
        return manifest
    except OSError as error:
        raise failure(error, "restore into", directory, "dir") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract(archive: tarfile.TarFile, one: Member, folder: Path, file: Path) -> None:
    head = archive.next()
    content = archive.extractfile(head) if head is not None and head.isfile() else None
    if head is None or content is None or head.name != one.name or head.size != one.size:
        raise ConfigError(f"{file} has not the {one.name} that it names; use another backup", field="file")
    found = hashlib.sha256()
    with os.fdopen(os.open(folder / one.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as out:
        while chunk := content.read(_CHUNK):
            found.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if found.hexdigest() != one.sha256:
        raise ConfigError(f"{one.name} in {file} is damaged: its hash differs; use another backup", field="file")


def _check_keys(manifest: Manifest, scratch: Path, directory: Path) -> None:
    """Raises ConfigError where `directory` would get another key than the store's, or none at all."""
    for name in KEYS:
        mine, theirs = directory / name, scratch / name
        if mine.exists() and theirs.exists() and mine.read_bytes() != theirs.read_bytes():
            raise ConfigError(f"{mine} is another key than the backup's; give a new folder", field="dir")
    if not (directory / "node.key").exists() and not (scratch / "node.key").exists():
        raise ConfigError(
            f"the backup has no keys (it was made without --keys); copy node.key into {directory} first", field="keys",
        )
    node = _node_of(directory if (directory / "node.key").exists() else scratch)
    if manifest.node and node != manifest.node:
        raise ConfigError(f"the backup is of node {manifest.node[:16]}, the key there is {node[:16]}", field="keys")


def _hold_store(folder: Path, say: Callable[[str], None]) -> None:
    """Bring the store forward and close its guard, in a place where no peer looks yet."""
    store = Store(folder, any_schema=True)
    try:
        for text in migrate(store):
            say(text)
        batch = Batch()
        hold(batch, _now_ms())
        for key in store.keys("meta", SENT_BATCHES, MAX_FILE):
            if key.startswith(SENT_BATCHES):
                batch.put("meta", key, None)  # the chain has them, or others like them, long since
        store.commit(batch)
    except FolkmootError as error:
        raise StorageError(f"the backup's store cannot be used: {error.message}", field="file") from error
    finally:
        store.close()


# -- older stores ------------------------------------------------------------------------------------------------------


def bring_forward(directory: Path, backup: Path | None, *, dry_run: bool) -> tuple[int, int, list[str]]:
    """Bring the store in `directory` forward, after a backup. Returns its schema before, the schema after, and what was
    done, or would be. backup: the file; None: one beside the store. Raises StorageError, ConfigError."""
    store = Store(directory / "data", any_schema=True)
    try:
        steps, schema = plan(store), store.schema
    finally:
        store.close()
    if not steps:
        return schema, schema, ["nothing to do"]
    if dry_run:
        return schema, steps[-1].to, [f"schema {step.to}: {step.says}" for step in steps]
    file = backup or directory / f"before-{steps[-1].to}.backup"
    make_backup(directory, file)
    store = Store(directory / "data", any_schema=True)
    try:
        return schema, steps[-1].to, [f"backup: {file}", *migrate(store)]
    finally:
        store.close()
