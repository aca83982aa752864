"""Asks a peer: the one that runs in a folder, by its control socket, or any other, over the network.

Law: a command's work is the same for both; it gets a function that asks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from p2p.base.errors import Unavailable
from p2p.cli.arguments import multiaddr, peer_of

if TYPE_CHECKING:
    from p2p.base.keys import NetworkId

MAX_TRIES = 4  # peers that are asked one after the other
T = TypeVar("T")
Ask = Callable[[dict[str, Any]], dict[str, Any]]  # question -> answer; raises the peer's own error, or Unavailable


def asking(directory: Path, address: str | None, network: NetworkId | None, work: Callable[[Ask], T]) -> T:
    """The result of `work`, which asks the peer at `address`, or the one that runs in `directory` where that is None.

    network: the network of the peer at `address`. All questions go over one connection: `work` runs in a thread, the
    questions in the event loop. Raises Unavailable where no peer answers.
    """
    if address is None or network is None:
        from p2p.peer.control import call

        return work(lambda question: call(directory, question))
    peer = peer_of(multiaddr(address))
    import trio

    from p2p.base.keys import Key
    from p2p.cli.tasks import run_async
    from p2p.client.connection import query
    from p2p.gossip.host import NetworkConfig, open_network

    async def connected() -> T:
        config = NetworkConfig(Key.generate(), network, (), (), expected_size=1, min_connections=0)
        async with open_network(config, topic_handlers={}, stream_handlers={}) as host:
            await host.connect(address)
            return await trio.to_thread.run_sync(
                work, lambda question: trio.from_thread.run(query, host, peer, question),
            )

    return run_async(connected)


def asking_any(directory: Path, work: Callable[[Ask], T]) -> T:
    """The result of `work`, which asks the peer that runs in `directory`; where none runs there, the first of the peers
    that its settings name and that can be reached. Raises Unavailable where nobody answers."""
    from p2p.cli.finding import is_own_peer, peers_for

    if is_own_peer(directory) or not (directory / "genesis.cbor").exists():
        return asking(directory, None, None, work)
    genesis, peers = peers_for(directory, None, use="to know the network")
    errors: list[Unavailable] = []
    for address in peers[:MAX_TRIES]:
        try:
            return asking(directory, address, genesis.network, work)
        except Unavailable as error:
            errors.append(error)
    raise errors[0] if errors else Unavailable(f"no peer is known in {directory}; give --peer MULTIADDR", field="peer")
