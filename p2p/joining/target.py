"""What the user wants to join: a peer's address, a network's file, or the name of one that comes with the program.

Law: a name stands for a file that came with the program, never for something that a stranger answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from p2p.base.addresses import check_multiaddr
from p2p.base.errors import ConfigError
from p2p.base.files import exists
from p2p.base.genesis import HASH_DIGITS
from p2p.client.network_file import is_network_id, load_network
from p2p.joining.identity import Identity

NETWORKS = Path(__file__).parents[2] / "bootstrap" / "networks"  # beside p2p in a clone and in a wheel
EXAMPLE = "example"  # nobody runs it

_ADDRESS = ("/ip4/", "/ip6/", "/dns/", "/dns4/", "/dns6/")


@dataclass(frozen=True, slots=True)
class Target:
    """Where to begin, and what is known of the network there."""

    bootstrap: tuple[str, ...]  # multiaddrs with /p2p/ID
    identity: Identity
    genesis_file: Path | None = None  # that lies beside the network's file


def find_target(text: str, genesis_hash: str | None = None) -> Target:
    """text: MULTIADDR, FILE or NAME. genesis_hash: the network's id, or its hash, as the user gave it.

    Raises ConfigError that says what there is.
    """
    given = read_identity(genesis_hash)
    if text.startswith(_ADDRESS):
        return Target((check_multiaddr(text, "target", with_peer=True),), given)
    file = Path(text)
    if not exists(file):
        names = shipped()
        if text not in names:
            known = ", ".join(sorted(names)) or "none does yet"
            what = f"{text[:200]!r} is no multiaddr, no file, and no network that comes with this program ({known})"
            raise ConfigError(f"{what}; ask its founders for the network's file", field="target")
        file = names[text]
    found = load_network(file)
    identity = Identity(found.network if "@" in found.network else "", found.genesis_sha256).joined(given)
    beside = file.parent / found.genesis_file if found.genesis_file else None
    return Target(found.bootstrap, identity, beside if beside is not None and exists(beside) else None)


def shipped() -> dict[str, Path]:
    """Name -> the file of each network that comes with the program, from a clone or an installed wheel; without the
    one that only shows how a file looks."""
    return {file.stem: file for file in sorted(NETWORKS.glob("*.toml")) if file.stem != EXAMPLE}


def read_identity(text: str | None) -> Identity:
    """What --genesis-hash says; None: nothing is known. Raises ConfigError for what is neither an id nor a hash."""
    if text is None:
        return Identity()
    if is_network_id(text):
        return Identity(text)
    digits = text.lower()
    if HASH_DIGITS <= len(digits) <= 64 and set(digits) <= set("0123456789abcdef"):
        return Identity(digits=digits)
    what = f"give the network's id, NAME@HASH, or at least {HASH_DIGITS} hexadecimal digits of its hash"
    raise ConfigError(f"{what}, not {text[:80]!r}", field="genesis_hash")
