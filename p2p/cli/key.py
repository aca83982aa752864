"""key: lock and unlock key files, show whose they are, and let a node consent to an owner on another machine.

Law: no secret is printed, and none is taken from the command line; base/passphrase.py says where passphrases come from.
A file is replaced whole, or not at all.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from p2p.base.errors import ConfigError
from p2p.cli.arguments import default_dir, read_genesis, read_id
from p2p.cli.output import aligned, show


def register(commands: Any) -> None:
    command = commands.add_parser("key")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (text, run) in _ACTIONS.items():
        action = actions.add_parser(name, help=text)
        action.add_argument("file", type=Path, metavar="FILE", help="the key file, such as account.key")
        action.set_defaults(run=run)
    consent = actions.add_parser("consent", help="print words by which an account elsewhere can register this node")
    consent.add_argument("account", metavar="ACCOUNT", help="the owner's public key, 64 hexadecimal digits")
    consent.add_argument(
        "--dir", type=Path, default=default_dir(), help="the folder with node.key (default: %(default)s)",
    )
    consent.set_defaults(run=run_consent)


def run_show(options: argparse.Namespace) -> int:
    from p2p.base.files import read_secret
    from p2p.base.keys import Key, peer_id
    from p2p.base.locked_key import MAX_LOCKED_FILE, is_locked

    public = Key.public_in(options.file)
    locked = is_locked(read_secret(options.file, MAX_LOCKED_FILE, field="key"))
    _say(options, public, locked=locked, peer=peer_id(public))
    return 0


def _say(options: argparse.Namespace, public: bytes, *, locked: bool, peer: str = "") -> None:
    said: dict[str, Any] = {"file": str(options.file), "public": public.hex(), "locked": locked}
    said |= {"peer_id": peer} if peer else {}
    show(options, said, lambda: aligned({**said, "locked": "yes" if locked else "no"}, 8))


def run_lock(options: argparse.Namespace) -> int:
    """Raises ConfigError, StorageError."""
    from p2p.base.files import read_secret, write_file
    from p2p.base.keys import Key
    from p2p.base.locked_key import MAX_LOCKED_FILE, is_locked
    from p2p.base.passphrase import passphrase

    if is_locked(read_secret(options.file, MAX_LOCKED_FILE, field="key")):
        raise ConfigError(f"{options.file} is locked already; unlock it first to change its passphrase", field="file")
    key = Key.load(options.file)
    content = key.locked(passphrase(str(options.file), again=True))
    write_file(options.file, content, field="file")
    if Key.public_in(options.file) != key.public:
        raise ConfigError(f"{options.file} was not written as it should be; use a copy", field="file")
    _say(options, key.public, locked=True)
    return 0


def run_unlock(options: argparse.Namespace) -> int:
    """Raises ConfigError, StorageError."""
    from p2p.base.files import write_file
    from p2p.base.keys import Key

    key = Key.load(options.file)
    write_file(options.file, key.plain(), field="file")
    _say(options, key.public, locked=False)
    return 0


def run_consent(options: argparse.Namespace) -> int:
    from p2p.base.keys import Domain, Key
    from p2p.ledger.rules.ops import consent

    owner = read_id(options.account, "account")
    network = read_genesis(options.dir, "to know for which network to sign").network
    node = Key.load(options.dir / "node.key")
    words = f"{node.public.hex()}:{node.sign(Domain.NODE, network, consent(owner)).hex()}"
    show(options, {"consent": words}, lambda: words)
    return 0


_ACTIONS = {
    "show": ("the public key of a file, and whether it is locked", run_show),
    "lock": ("lock a key by a passphrase", run_lock),
    "unlock": ("write a key without its passphrase", run_unlock),
}
