"""Nobody else on the machine can read what commands and peers write. Real commands, and a real peer."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2p.base.errors import ConfigError, StorageError
from p2p.base.files import check_output, check_own, make_folder, narrow_tree, open_output, read_file, write_file
from p2p.base.keys import Key
from p2p.client.nonces import Nonces
from p2p.peer.control import call
from p2p.store.batch import Batch
from p2p.store.lmdb import Store
from testnet.generate import Plan, generate
from tests.net_lab import until


def wide(directory: Path) -> list[str]:
    """All below `directory`, itself included, that others may read, write or enter. Names, for the message."""
    entries = [directory, *directory.rglob("*")]
    modes = {path: path.lstat().st_mode for path in entries if not path.is_symlink()}
    return [f"{path} {stat.S_IMODE(mode):o}" for path, mode in modes.items() if mode & 0o077]


@pytest.fixture(autouse=True)
def loose_umask() -> Iterator[None]:
    """Modes must not depend on the umask of the caller."""
    old = os.umask(0)
    yield
    os.umask(old)


def served(folder: Path) -> subprocess.Popen[bytes]:
    peer = subprocess.Popen(
        [sys.executable, "-m", "p2p", "serve", "--dir", str(folder), "--listen", "/ip4/127.0.0.1/tcp/0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    until(lambda: peer.poll() is not None or call(folder, {"op": "status"})["height"] >= 0)
    assert peer.poll() is None, "it ended at once"
    return peer


@pytest.mark.network
def test_nobody_else_can_read_what_init_and_serve_have_made(tmp_path: Path) -> None:
    given = generate(Plan(tmp_path / "net", 1, serving=False))[0] / "genesis.cbor"
    given.chmod(0o644)
    folder = tmp_path / "peer"
    argv = [sys.executable, "-m", "p2p", "init", str(folder), "--genesis", str(given)]
    done = subprocess.run(argv, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert wide(folder) == []
    peer = served(folder)
    try:
        assert (folder / "data" / "data.mdb").exists()
        assert (folder / "log" / "folkmoot.log").exists() or not list((folder / "log").iterdir())
        assert wide(folder) == []
    finally:
        peer.terminate()
        assert peer.wait(30) == 0
    for path in (folder, folder / "data", folder / "log"):
        path.chmod(0o755)
    for path in (folder / "data" / "data.mdb", folder / "config.toml", folder / "genesis.cbor"):
        path.chmod(0o644)
    peer = served(folder)  # what an older version left is narrowed
    try:
        assert wide(folder) == []
    finally:
        peer.terminate()
        assert peer.wait(30) == 0


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o622])
def test_a_key_that_others_could_read_is_refused_and_named(tmp_path: Path, mode: int) -> None:
    Key.generate().save(tmp_path / "node.key")
    assert Key.load(tmp_path / "node.key")
    (tmp_path / "node.key").chmod(mode)
    narrow_tree(tmp_path)  # does not hide it
    with pytest.raises(ConfigError, match=r"node\.key can be read .*chmod 600"):
        Key.load(tmp_path / "node.key")


@pytest.mark.parametrize("damage", [
    b"", b"\xff\xfe", b"ab" * 31, b"ab" * 33, b"zz" * 32, "\u00e9".encode() * 32, b"ab" * 4096,
])
def test_a_damaged_key_is_named(tmp_path: Path, damage: bytes) -> None:
    write_file(tmp_path / "node.key", damage, field="key")
    with pytest.raises(ConfigError, match=r"node\.key"):
        Key.load(tmp_path / "node.key")


def test_what_is_no_key_at_all_is_named_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "folder").mkdir()
    for name in ("fifo", "folder", "absent", "x" * 300, "nul\0"):
        with pytest.raises(ConfigError):
            Key.load(tmp_path / name)


def test_links_are_not_followed_and_other_things_in_the_folder_are_let_alone(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "peer"
    outside.mkdir(mode=0o755)
    (outside / "page").write_text("x")
    (folder / "site").mkdir(parents=True, mode=0o755)
    (folder / "data").symlink_to(outside)
    (folder / "link").symlink_to(outside / "page")
    (folder / "config.toml").write_text("x")
    before = {path: path.stat().st_mode for path in (outside, outside / "page", folder / "site")}
    narrow_tree(folder)
    assert {path: path.stat().st_mode for path in before} == before
    assert not (folder.stat().st_mode | (folder / "config.toml").stat().st_mode) & 0o077


def test_everybodys_folder_is_no_peers_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(ConfigError, match="belongs to other users"):
        check_own(tmp_path)
    argv = [sys.executable, "-m", "p2p", "init", str(tmp_path)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr[:12]) == (2, "error: dir: ")
    assert list(tmp_path.iterdir()) == []
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777


def test_store_and_nonces_are_private_from_the_first_byte(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    batch = Batch()
    batch.put("payloads", b"k", b"v")
    store.commit(batch)
    store.close()
    Nonces(tmp_path / "nonces").take(b"a" * 32, 1)
    assert wide(tmp_path / "data") == wide(tmp_path / "nonces") == []


def test_a_write_is_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "f"
    write_file(file, b"old", field="x")
    with pytest.raises(ConfigError):
        write_file(tmp_path / "no" / "f", b"new", field="x")
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError):
        write_file(file, b"new", field="x")
    assert file.is_dir()


@pytest.mark.parametrize("path", ["/etc/hostname", "/proc/self/x", "/dev/null/x", "x" * 300, "a\0b"])
def test_a_folder_that_cannot_be_is_a_typed_error(path: str) -> None:
    with pytest.raises((ConfigError, StorageError)) as caught:
        make_folder(Path(path))
    assert caught.value.field == "dir"


def test_the_users_own_file_keeps_its_mode_and_a_new_one_is_private(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"x")
    old.chmod(0o644)
    for path in (old, tmp_path / "new"):
        os.close(open_output(path))
    assert [stat.S_IMODE(p.stat().st_mode) for p in (old, tmp_path / "new")] == [0o644, 0o600]
    write_file(old, b"x" * 11, field="x")
    with pytest.raises(ConfigError, match="more than"):
        read_file(old, 10, field="x")


def test_a_look_whether_a_file_can_be_written_leaves_links_as_they_were(tmp_path: Path) -> None:
    """Before: a dangling link was removed, and an empty file left where it pointed."""
    link, target, kept = tmp_path / "link", tmp_path / "target", tmp_path / "kept"
    link.symlink_to(target)
    check_output(link, field="save")
    assert link.is_symlink()
    assert not target.exists()
    kept.write_text("mine")
    for path in (kept, tmp_path / "new", Path("/dev/null")):
        check_output(path, field="save")
    assert (kept.read_text(), sorted(tmp_path.iterdir())) == ("mine", [kept, link])
    link.unlink()
    link.symlink_to(link)
    with pytest.raises(ConfigError):
        check_output(link, field="save")
