"""Fetches a network's genesis file from peers.

Law: bounded in bytes and time, and checked: a peer can refuse a newcomer, and cannot make it join another network.

Where the network's id is known only peers that greet with it are asked. Where it is not, the one peer that the user
named is asked without a greeting, and the user must say that the hash is the right one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import trio

from p2p.base.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.base.genesis import Genesis
from p2p.base.keys import Key, NetworkId
from p2p.client.connection import query
from p2p.client.question import id_of
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.joining.identity import Identity
from p2p.machine.deadlines import move_on_after
from p2p.wire.answers.genesis import GENESIS_CHUNK, MAX_GENESIS, GenesisAnswer
from p2p.wire.answers.reading import read

FETCH_S = 120.0  # for the whole, dials and refusals included
PEER_S = 30.0  # for one peer, so that a slow one does not take the time of the others
_LOOK_S = 0.1
_PEERS = 8  # connections that a newcomer makes to find one that has the file
NO_NETWORK = NetworkId("unknown@" + "0" * 32)  # of a stranger that greets nobody
Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


async def fetch_part_by_part(ask: Ask, peer: str) -> bytes:
    """The bytes that `peer` gives as the genesis file, at most MAX_GENESIS. Raises its error, or RemoteProtocolError
    where its parts do not fit together."""
    raw, size = bytearray(), 0
    while not raw or len(raw) < size:
        part = read(GenesisAnswer, await ask({"op": "genesis", "offset": len(raw)}), "genesis", peer)
        data = bytes.fromhex(part.data)
        wanted = min(GENESIS_CHUNK, part.size - len(raw))  # whole parts, so that nobody sends a file byte by byte
        if part.offset != len(raw) or size not in (0, part.size) or len(data) != wanted:
            raise RemoteProtocolError(
                f"peer {peer} gave parts of a genesis file that do not fit together, or more than {MAX_GENESIS} bytes",
                field="genesis",
            )
        size = part.size
        raw += data
    return bytes(raw)


async def fetch_genesis(
    bootstrap: Sequence[str], identity: Identity, say: Callable[[str], None] = lambda text: None,
) -> tuple[Genesis, str]:
    """(the genesis, the id of the peer that gave it). say: is told of each peer that does not have it.

    Raises the last peer's error, or Unavailable where nobody answers within FETCH_S.
    """
    errors: list[FolkmootError] = []

    def failed(peer: str, error: FolkmootError) -> None:
        errors.append(error)
        say(f"{peer}: {error.message}")

    with move_on_after(FETCH_S):
        async with _open(identity) as network:
            for address in bootstrap:
                try:
                    await network.connect(address)
                    if not identity.network:
                        return await _from_one(network, id_of(address), identity), id_of(address)
                except FolkmootError as error:
                    failed(address, error)
            if identity.network:
                return await _from_any(network, identity, failed, errors)
    if errors:
        raise errors[-1]
    raise Unavailable(f"nobody gave the genesis file within {FETCH_S:.0f} s", field="genesis")


def _open(identity: Identity) -> AbstractAsyncContextManager[Network]:
    """A client's network; where the id is not known one that greets nobody."""
    is_known = bool(identity.network)
    config = NetworkConfig(
        Key.generate(), NetworkId(identity.network) if is_known else NO_NETWORK, (), (),
        min_connections=_PEERS if is_known else 0, greets=is_known,
    )
    return open_network(config, topic_handlers={}, stream_handlers={})


async def _from_one(network: Network, peer: str, identity: Identity) -> Genesis:
    raw = b""
    with move_on_after(PEER_S):
        raw = await fetch_part_by_part(partial(query, network, peer), peer)
    if not raw:
        raise Unavailable(f"peer {peer} did not give the genesis file within {PEER_S:.0f} s", field="genesis")
    return await trio.to_thread.run_sync(identity.check, raw, f"peer {peer}")


async def _from_any(
    network: Network, identity: Identity, failed: Callable[[str, FolkmootError], None], errors: list[FolkmootError],
) -> tuple[Genesis, str]:
    """Of whoever greets with the network's id, the first that has the right file; a seed has none, and names others.

    Raises the last error where nobody was reached at all.
    """
    asked: set[str] = set()
    while True:
        for peer in network.connected():
            if peer in asked:
                continue
            asked.add(peer)
            try:
                return await _from_one(network, peer, identity), peer
            except FolkmootError as error:
                failed(peer, error)
        if not network.connected() and errors:
            raise errors[-1]
        await trio.sleep(_LOOK_S)
