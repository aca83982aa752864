"""Finds peers to ask where none is named.

Law: what is named beats what is found, and the peer of one's own is asked first: it believes nobody. Nothing is asked
of the network here.

The order: --peer; the peer that runs in the folder; the network's file (--network); `bootstrap` of config.toml; peers
that this folder's client met before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from p2p.base.errors import ConfigError, FolkmootError

if TYPE_CHECKING:
    from p2p.base.genesis import Genesis


def is_own_peer(directory: Path) -> bool:
    """Whether a peer runs in `directory`, as its socket says."""
    from p2p.peer.control import socket_path

    try:
        return socket_path(directory).exists()
    except FolkmootError:
        return False


def own_peer(directory: Path) -> tuple[str, ...]:
    """Where the peer that runs in `directory` can be reached; empty where none runs."""
    from p2p.peer.control import call

    try:
        found = call(directory, {"op": "status"}).get("addresses")
    except FolkmootError:  # none runs there, or it does not answer
        return ()
    return tuple(str(address) for address in found[:8]) if isinstance(found, list) else ()


def peers_for(
    directory: Path, named: str | None, network: Path | None = None, use: str = "to check answers",
) -> tuple[Genesis, tuple[str, ...]]:
    """(genesis of the network, multiaddrs to begin with). named: the peer that the user gave, which is asked alone.
    network: a network's file. Empty addresses: the client knows peers of its own. Raises
    ConfigError naming what to do where there is nobody to ask."""
    from p2p.cli.arguments import read_genesis
    from p2p.client.settings import BOOK, configured_peers

    more: tuple[str, ...] = ()
    if network is not None:
        from p2p.client.network_file import load_network

        file = load_network(network)
        kept = directory / "genesis.cbor"
        genesis, more = file.genesis(kept if kept.exists() and not file.genesis_file else None), file.bootstrap
    else:
        genesis = read_genesis(directory, use)
    if named is not None:
        return genesis, (named,)
    found = (*own_peer(directory), *more, *configured_peers(directory))
    if not found and not (directory / BOOK).exists():
        raise ConfigError(
            f"no peer is known in {directory}: give --peer MULTIADDR, or set `bootstrap` in its config.toml, or start "
            f"a peer there with: folkmoot serve --dir {directory}", field="peer",
        )
    return genesis, tuple(dict.fromkeys(found))
