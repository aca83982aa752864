"""Where a client's key, genesis file and peers come from.

Law: what is given beats what the folder says; what is missing is named, with what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from p2p.base.addresses import check_multiaddr
from p2p.base.errors import ConfigError
from p2p.base.genesis import Genesis, load_genesis
from p2p.base.keys import Key
from p2p.base.toml_file import read_toml
from p2p.client.known_prices import KnownPrices
from p2p.client.nonces import Nonces
from p2p.client.question import Payer

BOOK = "client-peers"  # the file of known peers; a peer of one's own in the same folder has another
MODELS = "models"  # the folder of tokenizers and templates


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What a client is opened with."""

    folder: Path  # for nonces, prices, known peers, models' files
    genesis: Genesis
    payer: Payer
    peers: tuple[str, ...]  # multiaddrs with /p2p/ID

    @property
    def book(self) -> Path:
        return self.folder / BOOK

    @property
    def models(self) -> Path:
        return self.folder / MODELS


def client_settings(
    folder: Path, genesis: Genesis | None, key: Key | None, peers: Sequence[str] | None, account: bytes | None,
) -> ClientSettings:
    """From a folder as `folkmoot init` makes it. genesis, key, peers: instead of genesis.cbor, account.key and the
    bootstrap of config.toml. account: that pays, where the key is a hot key of it. Raises ConfigError."""
    found = genesis if genesis is not None else load_genesis(folder / "genesis.cbor")
    signer = key if key is not None else Key.load(folder / "account.key")
    payer = Payer(signer, Nonces(folder / "nonces"), KnownPrices(folder / "prices"), account)
    return ClientSettings(folder, found, payer, addresses(folder, peers))


def addresses(folder: Path, peers: Sequence[str] | None) -> tuple[str, ...]:
    """Peers to begin with: `peers`, or the folder's bootstrap. Raises ConfigError where nobody is named or known."""
    found = tuple(peers) if peers is not None else configured_peers(folder)
    if not found and not (folder / BOOK).exists():
        raise ConfigError(
            f"no peer is named: give peers=[MULTIADDR, ...], or bootstrap in {folder / 'config.toml'}", field="peers",
        )
    for address in found:
        check_multiaddr(address, "peers", with_peer=True)
    return found


def configured_peers(folder: Path) -> tuple[str, ...]:
    """The bootstrap of config.toml. Raises ConfigError where it is no list of multiaddrs."""
    file = folder / "config.toml"
    if not file.exists():
        return ()
    found = read_toml(file, field="config").get("bootstrap", [])
    if not isinstance(found, list) or not all(isinstance(address, str) for address in found):
        raise ConfigError(f"bootstrap in {file} is a list of multiaddrs", field="bootstrap")
    return tuple(found)
