"""A newcomer's folder: genesis file, settings, keys.

Law: what exists is kept, and must be of the same network; so a second run goes on where the first one stopped.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2p.base.codec import encode
from p2p.base.errors import ConfigError, FolkmootError
from p2p.base.files import check_own, exists, make_folder, write_file
from p2p.base.genesis import Genesis, load_genesis
from p2p.base.keys import Key
from p2p.base.toml_file import dump_toml, read_toml
from p2p.joining.identity import Identity
from p2p.peer.config import make_config

GENESIS, CONFIG, NODE, ACCOUNT = "genesis.cbor", "config.toml", "node.key", "account.key"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that a peer can be started in."""

    directory: Path
    genesis: Genesis
    node: Key
    account: Key | None  # None: its owner keeps it elsewhere
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


def prepare(directory: Path, genesis: Genesis, settings: dict[str, Any]) -> Folder:
    """Make what is missing. settings: of config.toml, where it does not set them already. Raises ConfigError,
    StorageError."""
    check_own(directory)
    make_folder(directory)
    made = []
    if not exists(directory / GENESIS):
        write_file(directory / GENESIS, encode(genesis), field="dir")
        made.append(GENESIS)
    if _settings(directory, settings):
        made.append(CONFIG)
    if not exists(directory / NODE):  # the account's first: beside a node's key a missing one is kept elsewhere
        for name in (ACCOUNT, NODE):
            if not exists(directory / name):
                Key.generate().save(directory / name)
                made.append(name)
    account = Key.load(directory / ACCOUNT) if exists(directory / ACCOUNT) else None
    return Folder(directory, genesis, Key.load(directory / NODE), account, tuple(made))


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
