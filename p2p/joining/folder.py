"""A newcomer's folder: genesis file, settings, keys.

Law: what exists is kept, and must be of the same network; so a second run goes on where the first one stopped.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2p.base import locked_key
from p2p.base.codec import encode
from p2p.base.errors import ConfigError, FolkmootError
from p2p.base.files import check_own, exists, make_folder, read_secret, write_file
from p2p.base.genesis import Genesis, load_genesis
from p2p.base.keys import Key
from p2p.base.toml_file import dump_toml, read_toml
from p2p.joining.identity import Identity
from p2p.peer.config import make_config

GENESIS, CONFIG, NODE, ACCOUNT = "genesis.cbor", "config.toml", "node.key", "account.key"


NewPassphrase = Callable[[Path], bytes | None]  # for the account key that will be in this file; None: it is not locked


@dataclass(slots=True)
class Account:
    """An account's key, which is opened only when it must sign: it may be locked, and the peer does not need it."""

    folder: Path
    public: bytes
    is_locked: bool
    _key: Key | None = None

    @classmethod
    def of(cls, folder: Path, key: Key | None = None) -> Account:
        """Of the account.key in `folder`. key: it, where it is known already. Raises ConfigError."""
        file = folder / ACCOUNT
        locked = locked_key.is_locked(read_secret(file, locked_key.MAX_LOCKED_FILE, field="key"))
        return cls(folder, Key.public_in(file), locked, key)

    def open(self) -> Key:
        """The key; a locked one needs its passphrase the first time (base/passphrase.py). Raises ConfigError."""
        if self._key is None:
            self._key = Key.load(self.folder / ACCOUNT)
        return self._key


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that a peer can be started in."""

    directory: Path
    genesis: Genesis
    node: Key
    account: Account | None  # None: its owner keeps it elsewhere
    made: tuple[str, ...]  # the files that were not there before


def known_genesis(directory: Path, identity: Identity) -> Genesis | None:
    """The genesis that an earlier run put there; None: none. Raises ConfigError where it is of another network."""
    file = directory / GENESIS
    if not exists(file):
        return None
    found = load_genesis(file)
    try:
        return identity.check(encode(found), str(file))
    except FolkmootError as error:
        what = f"{directory} is a folder of the network {found.network}, which is not the one that you want to join"
        raise ConfigError(f"{what}; give another folder with --dir", field="dir") from error


def prepare(
    directory: Path, genesis: Genesis, settings: dict[str, Any], *, account_elsewhere: bool = False,
    new_passphrase: NewPassphrase = lambda file: None,
) -> Folder:
    """Make what is missing. settings: of config.toml, where it does not set them already. account_elsewhere: no
    account key is made. Raises ConfigError, StorageError."""
    check_own(directory)
    make_folder(directory)
    made = []
    if not exists(directory / GENESIS):
        write_file(directory / GENESIS, encode(genesis), field="dir")
        made.append(GENESIS)
    if _settings(directory, settings):
        made.append(CONFIG)
    account = None
    if not exists(directory / NODE):  # the account's first: beside a node's key a missing one is kept elsewhere
        if not (account_elsewhere or exists(directory / ACCOUNT)):
            account = Key.generate()
            account.save(directory / ACCOUNT, new_passphrase(directory / ACCOUNT))
            made.append(ACCOUNT)
        Key.generate().save(directory / NODE)
        made.append(NODE)
    owner = Account.of(directory, account) if exists(directory / ACCOUNT) else None
    return Folder(directory, genesis, Key.load(directory / NODE), owner, tuple(made))


def _settings(directory: Path, wanted: dict[str, Any]) -> bool:
    """Add to config.toml what it does not set. Returns whether it was made. Raises ConfigError where it sets something
    else that the user has just asked for."""
    file = directory / CONFIG
    is_new = not exists(file)
    has = {} if is_new else read_toml(file, field="config")
    for name in ("model", "model_path", "ml_node", "engine"):
        if name in wanted and name in has and has[name] != wanted[name]:
            what = f"{file} sets {name} = {has[name]!r}, and you ask for {wanted[name]!r}"
            raise ConfigError(f"{what}; change that line, or give another folder", field=name)
    missing = {name: value for name, value in wanted.items() if name not in has}
    make_config(directory, {**has, **missing})
    if missing:
        old = "" if is_new else file.read_text(encoding="utf-8-sig")
        text = dump_toml(missing) + old  # before the old text, whose end may be inside a table
        assert tomllib.loads(text) == {**has, **missing}
        write_file(file, text.encode(), field="dir")
    return is_new
