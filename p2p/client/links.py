"""A client's connections to several peers.

Law: one question goes to one peer; which one, PeerChoice says. A peer that fails a query costs a try, and the next one
is asked; errors that name a mistake of the caller are given out at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio

from p2p.base.errors import FolkmootError, InvalidRequest, Overloaded, RemoteProtocolError, Unavailable
from p2p.base.genesis import Genesis
from p2p.base.keys import Key
from p2p.base.serving_limits import AGENT_WAIT_S, CLIENT_CONNECT_S, CLIENT_PEERS, CLIENT_TRIES
from p2p.client.connection import query
from p2p.client.peer_choice import PeerChoice
from p2p.client.question import id_of
from p2p.client.recent_tips import RecentTips
from p2p.gossip.host import Network, NetworkConfig, open_network

T = TypeVar("T")
# A refusal that names one of these is about the peer that was asked, or about what it has seen of the account.
_ELSEWHERE = ("agent", "draw_height", "client_nonce")
_LOOK_S = 0.05  # between two looks for the first connection


def may_do_elsewhere(error: FolkmootError) -> bool:
    """Whether another peer may do what this one did not: it is overloaded, gone, or broke the protocol."""
    if isinstance(error, InvalidRequest):
        return error.field in _ELSEWHERE
    return isinstance(error, Overloaded | Unavailable | RemoteProtocolError)


@dataclass(slots=True)
class Links:
    """Several peers, one of which is asked at a time."""

    network: Network
    genesis: Genesis
    named: tuple[str, ...] = ()  # peer ids that the user gave
    choice: PeerChoice = field(default_factory=PeerChoice)
    tips: RecentTips = field(default_factory=RecentTips)

    def order(self, prefer: str = "") -> tuple[str, ...]:
        """Peers that can be asked, the best one first. Those without a connection are dialled only where none has
        one."""
        peers = self.network.connected() or self.named
        return self.choice.order(peers, trio.current_time(), prefer)

    def failed(self, peer: str, error: FolkmootError) -> None:
        """Ask others first for a while, where the error is the peer's."""
        if error.field == "executor" or error.code == "not_found":  # it asked everybody drawn; or it has no such file
            return
        pause_s = AGENT_WAIT_S * error.retry_after if isinstance(error, Overloaded) else 0.0
        self.choice.failed(peer, trio.current_time(), pause_s)

    async def query(self, peer: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask one peer. Raises its error."""
        return await query(self.network, peer, body)

    async def ask_any(self, read: Callable[[Callable[[dict[str, Any]], Awaitable[dict[str, Any]]], str], Awaitable[T]],
                      prefer: str = "") -> T:
        """What `read` makes of the first peer with which it succeeds. read: gets a function that asks the peer, and
        the peer's id. Raises the last peer's error, or Unavailable where there is no peer."""
        error: FolkmootError = Unavailable(f"no peer is connected: {self.network.alone()}", field="peers")
        for peer in self.order(prefer)[:CLIENT_TRIES]:
            try:
                return await read(partial(self.query, peer), peer)
            except FolkmootError as raised:
                if not may_do_elsewhere(raised):
                    raise
                error = raised
                self.failed(peer, raised)
        raise error


@asynccontextmanager
async def open_links(genesis: Genesis, peers: Sequence[str], book: Path | None = None) -> AsyncIterator[Links]:
    """Connections to some of `peers` (multiaddrs with /p2p/ID), and to peers that these name. book: where known peers
    are saved.

    Raises ConfigError for what is no address, Unavailable when none is connected after CLIENT_CONNECT_S.
    """
    config = NetworkConfig(Key.generate(), genesis.network, (), (), min_connections=CLIENT_PEERS, book=book)
    async with open_network(config, topic_handlers={}, stream_handlers={}) as network:
        async with trio.open_nursery() as nursery:
            await _connect(network, nursery, peers)
            links = Links(network, genesis, tuple(map(id_of, peers)))
            nursery.start_soon(links.tips.run)
            yield links
            nursery.cancel_scope.cancel()


async def _connect(network: Network, nursery: trio.Nursery, peers: Sequence[str]) -> None:
    """Returns when one peer is connected; the others follow."""
    errors: list[FolkmootError] = []

    async def dial(address: str) -> None:
        try:
            await network.connect(address)
        except FolkmootError as error:  # of one address; the others are enough
            errors.append(error)

    for address in peers:
        nursery.start_soon(dial, address)
    with trio.move_on_after(CLIENT_CONNECT_S):
        while not network.connected():
            if peers and len(errors) == len(peers):
                break
            await trio.sleep(_LOOK_S)
    if not network.connected():
        why = errors[0].message if errors else network.alone()
        raise Unavailable(f"none of {len(peers)} peers can be reached: {why}", field="peers")
