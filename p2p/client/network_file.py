"""A file that says how to join a network: its id, its genesis and where to begin.

Law: what is joined is what the file's hash says. `folkmoot join` and `folkmoot init DIR --network-file FILE` read one;
bootstrap/networks/example.toml explains each key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from p2p.base.addresses import check_multiaddr
from p2p.base.codec import encode
from p2p.base.errors import ConfigError
from p2p.base.genesis import HASH_DIGITS, NETWORK_NAME, Genesis, check_network_name, load_genesis
from p2p.base.toml_file import dump_toml, read_toml


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """What such a file says."""

    source: Path  # the file itself
    network: str  # id (NAME@HASH), or the name where genesis_sha256 is there
    bootstrap: tuple[str, ...]  # multiaddrs
    genesis_sha256: str = ""  # of the genesis file's bytes, hexadecimal; empty: the id alone says which file is meant
    genesis_file: str = ""  # its name in the same folder; empty: it must be given

    def genesis(self, given: Path | None) -> Genesis:
        """The genesis of `given`, or of the file that is named here. Raises ConfigError where it has another hash."""
        if given is None and not self.genesis_file:
            raise ConfigError(f"{self.source} names no genesis file; give it with --genesis", field="genesis")
        file = given or self.source.parent / self.genesis_file
        found = load_genesis(file)
        is_named = self.network in (found.name, found.network)
        is_meant = self.genesis_sha256 in ("", hashlib.sha256(encode(found)).hexdigest())
        if not is_meant or not is_named:
            raise ConfigError(
                f"{file} is not the genesis of {self.network!r}: {self.source} names another hash", field="genesis"
            )
        return found


def load_network(file: Path) -> NetworkFile:
    """Raises ConfigError naming the key that is missing, unknown or wrong."""
    table = read_toml(file, field="network_file")
    known = {f.name for f in fields(NetworkFile)} - {"source"}
    needed = {"network", "bootstrap"}
    for name in sorted((needed - table.keys()) | (table.keys() - known)):
        what = "is not known" if name in table else "is missing"
        raise ConfigError(f"{name!r} {what} in {file}; there are {', '.join(sorted(known))}", field="network_file")
    return _checked(file, table)


def _checked(file: Path, table: dict[str, Any]) -> NetworkFile:
    network, bootstrap = table["network"], table["bootstrap"]
    digest, name = table.get("genesis_sha256", ""), table.get("genesis_file", "")
    if not isinstance(network, str):
        raise ConfigError("the network's id, NAME@HASH, is wanted", field="network")
    check_network_name(network.partition("@")[0])
    if "@" in network and not is_network_id(network):
        raise ConfigError(f"after '@' an id has {HASH_DIGITS} hexadecimal digits", field="network")
    if "@" not in network and not digest:
        raise ConfigError("it needs the genesis file's hash: give the id, NAME@HASH, as `network`", field="network")
    if not isinstance(bootstrap, list) or not all(isinstance(address, str) for address in bootstrap):
        raise ConfigError("a list of multiaddrs is wanted", field="bootstrap")
    for address in bootstrap:
        check_multiaddr(address, "bootstrap", with_peer=True)
    if not isinstance(digest, str) or (digest and not _is_hex(digest, 64)):
        raise ConfigError("64 hexadecimal digits are wanted", field="genesis_sha256")
    if not isinstance(name, str) or Path(name).name != name or not name.isprintable():
        raise ConfigError("the name of a file in the same folder is wanted", field="genesis_file")
    return NetworkFile(file, network, tuple(bootstrap), digest, name)


def is_network_id(text: str) -> bool:
    """Whether `text` is NAME@HASH, the name and hash of a genesis file."""
    name, _, digits = text.partition("@")
    return bool(NETWORK_NAME.match(name)) and _is_hex(digits, HASH_DIGITS)


def _is_hex(text: str, digits: int) -> bool:
    return len(text) == digits and set(text) <= set("0123456789abcdef")


def dump_network(genesis: Genesis, bootstrap: tuple[str, ...], genesis_file: str = "") -> str:
    """The text of a network's file, for whoever begins a network."""
    sha256 = hashlib.sha256(encode(genesis)).hexdigest()
    table = {"network": genesis.network, "bootstrap": list(bootstrap), "genesis_sha256": sha256}
    return dump_toml({**table, "genesis_file": genesis_file} if genesis_file else table)
