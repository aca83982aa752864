"""Key files locked by a passphrase: where it may come from, what a wrong one says, and that no secret is shown."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from nacl import pwhash

from p2p.base import locked_key
from p2p.base.errors import ConfigError
from p2p.base.genesis import load_genesis
from p2p.base.keys import Domain, Key
from p2p.cli import join
from p2p.cli.account import read_consent
from p2p.cli.main import main
from p2p.joining.identity import Identity
from p2p.joining.target import Target
from testnet.generate import Plan, generate

WORDS = b"five random words are good"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying a passphrase costs little here."""
    monkeypatch.setattr(locked_key.lock, "__kwdefaults__", {
        "ops": pwhash.argon2id.OPSLIMIT_MIN, "memory": pwhash.argon2id.MEMLIMIT_MIN,
    })


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "words"
    file.write_bytes(WORDS + b"\n")
    file.chmod(0o600)
    monkeypatch.setenv("FOLKMOOT_PASSPHRASE_FILE", str(file))
    return file


def test_a_plain_key_is_locked_and_unlocked_and_stays_the_same(tmp_path: Path, words: Path) -> None:
    file, key = tmp_path / "account.key", Key.generate()
    key.save(file)
    before = file.read_bytes()
    assert main(["key", "lock", str(file)]) == 0
    assert key.seed.hex().encode() not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0
    assert Key.public_in(file) == key.public
    assert Key.load(file).seed == key.seed
    assert main(["key", "lock", str(file)]) == 2, "it is locked already"
    assert main(["key", "unlock", str(file)]) == 0
    assert file.read_bytes() == before


def test_a_wrong_passphrase_is_a_sentence(
    tmp_path: Path, words: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "account.key"
    Key.generate().save(file, WORDS)
    before = file.read_bytes()
    words.write_bytes(b"another passphrase")
    assert main(["key", "unlock", str(file)]) == 2
    assert "the passphrase does not open" in capsys.readouterr().err
    assert file.read_bytes() == before


@pytest.mark.parametrize("field", ["public", "ops", "memory", "salt", "nonce", "box"])
def test_a_changed_file_is_refused(tmp_path: Path, words: Path, field: str) -> None:
    file = tmp_path / "account.key"
    Key.generate().save(file, WORDS)
    found = json.loads(file.read_bytes())
    value = found[field]
    if isinstance(value, int):
        found[field] = value + (1 if field == "ops" else 1024)
    else:
        found[field] = ("0" if value[0] != "0" else "1") + value[1:]
    file.write_text(json.dumps(found))
    with pytest.raises(ConfigError):
        Key.load(file)


@pytest.mark.parametrize(
    ("field", "value"), [("ops", 10**6), ("memory", 1 << 40), ("kdf", "none"), ("folkmoot_key", 2)],
)
def test_a_hostile_file_takes_no_memory_and_no_time(tmp_path: Path, words: Path, field: str, value: object) -> None:
    file = tmp_path / "account.key"
    Key.generate().save(file, WORDS)
    file.write_text(json.dumps({**json.loads(file.read_bytes()), field: value}))
    with pytest.raises(ConfigError):
        Key.load(file)


def test_without_a_source_and_a_terminal_the_error_names_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("FOLKMOOT_PASSPHRASE_FILE", "FOLKMOOT_PASSPHRASE_FD", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "account.key"
    Key.generate().save(file, WORDS)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(ConfigError, match="FOLKMOOT_PASSPHRASE_FILE"):
        Key.load(file)


def test_a_passphrase_file_that_others_can_read_is_refused(tmp_path: Path, words: Path) -> None:
    Key.generate().save(tmp_path / "account.key", WORDS)
    words.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read or written by others"):
        Key.load(tmp_path / "account.key")


@pytest.mark.parametrize("source", ["descriptor", "credential"])
def test_a_process_takes_it_from_a_descriptor_or_from_systemd(tmp_path: Path, source: str) -> None:
    file, key = tmp_path / "account.key", Key.generate()
    key.save(file, WORDS)
    env = {name: value for name, value in os.environ.items() if not name.startswith("FOLKMOOT_PASSPHRASE")}
    read, write = os.pipe()
    os.write(write, WORDS + b"\n")
    os.close(write)
    if source == "descriptor":
        env["FOLKMOOT_PASSPHRASE_FD"] = str(read)
    else:
        (tmp_path / "credentials").mkdir()
        (tmp_path / "credentials" / "folkmoot-passphrase").write_bytes(WORDS)
        env["CREDENTIALS_DIRECTORY"] = str(tmp_path / "credentials")
    done = subprocess.run(
        [sys.executable, "-m", "p2p", "key", "unlock", str(file)], env=env, pass_fds=(read,), capture_output=True,
        text=True, timeout=60, check=False,
    )
    os.close(read)
    assert done.returncode == 0, done.stderr
    assert Key.load(file).seed == key.seed
    for secret in (WORDS.decode(), key.seed.hex()):
        assert secret not in done.stdout + done.stderr


def test_init_locks_the_account_where_a_passphrase_is_given(
    tmp_path: Path, words: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["init", str(tmp_path / "a"), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert Key.public_in(tmp_path / "a" / "account.key").hex() == made["account"]
    assert b"argon2id" in (tmp_path / "a" / "account.key").read_bytes()
    assert b"argon2id" not in (tmp_path / "a" / "node.key").read_bytes(), "the peer starts without a passphrase"
    assert main(["init", str(tmp_path / "b"), "--unlocked"]) == 0
    assert b"argon2id" not in (tmp_path / "b" / "account.key").read_bytes()
    assert main(["init", str(tmp_path / "c"), "--account-elsewhere", "--json"]) == 0
    assert not (tmp_path / "c" / "account.key").exists()


def test_join_locks_the_account_by_the_same_rule(tmp_path: Path, words: Path) -> None:
    genesis = load_genesis(generate(Plan(tmp_path / "net", 1))[0] / "genesis.cbor")
    target = Target((), Identity(genesis.network))
    for name, more in (("a", {}), ("b", {"unlocked": True}), ("c", {"account_elsewhere": True})):
        said = dict[str, str]()
        options = argparse.Namespace(**{
            "dir": tmp_path / name, "listen": [], "checkpoint": None, "serve": None, "unlocked": False,
            "account_elsewhere": False, **more,
        })
        folder = join._prepare(options, target, genesis, said.__setitem__)
        file = tmp_path / name / "account.key"
        assert file.exists() == (name != "c") == (folder.account is not None)
        assert (tmp_path / name / "node.key").exists()
        if folder.account is not None:
            assert (b"argon2id" in file.read_bytes()) == (name == "a") == folder.account.is_locked
            assert said["account"].startswith(folder.account.public.hex())
            assert ("folkmoot key lock" in said["account"]) == (name == "b")
    join._open_accounts(join._prepare(options, target, genesis, said.__setitem__), tmp_path / "a")


def test_a_node_consents_to_an_owner_on_another_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, owner = generate(Plan(tmp_path / "net", 4))[0], Key.generate()
    network = load_genesis(folder / "genesis.cbor").network
    assert main(["key", "consent", owner.public.hex(), "--dir", str(folder)]) == 0
    text = capsys.readouterr().out.strip()
    node, signature = read_consent(text, owner, network)
    assert node == Key.load(folder / "node.key").public
    for wrong in (text[:-1] + ("0" if text[-1] != "0" else "1"), "words", ""):
        with pytest.raises(ConfigError, match="folkmoot key consent"):
            read_consent(wrong, owner, network)
    with pytest.raises(ConfigError):
        read_consent(text, Key.generate(), network)
    assert signature == Key.load(folder / "node.key").sign(Domain.NODE, network, _consent(owner))


def _consent(owner: Key) -> bytes:
    from p2p.ledger.rules.ops import consent

    return consent(owner.public)
