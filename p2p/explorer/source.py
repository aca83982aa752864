"""Where the explorer's facts come from: the questions that any stranger may ask a peer.

Law: read only; every question has a time limit, few are asked at once, and what visitors cause has a rate.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import trio
from msgspec import Struct

from p2p.base.errors import Overloaded, Unavailable
from p2p.base.serving_limits import EXPLORER_ASK_S, EXPLORER_ASKS, EXPLORER_ASKS_A_SECOND
from p2p.client.links import Links
from p2p.wire.answers.reading import read

T = TypeVar("T", bound=Struct)
Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Source(Protocol):
    """One network, as its peers tell it."""

    @property
    def network(self) -> str:
        """Its id, which has the genesis hash in it."""
        ...

    async def ask(self, kind: type[T], body: dict[str, Any]) -> T:
        """What some peer answers. Raises FolkmootError."""
        ...

    async def ask_peer(self, peer: str, kind: type[T], body: dict[str, Any]) -> T:
        """What this peer answers. Raises FolkmootError."""
        ...

    def peers(self) -> tuple[str, ...]:
        """Ids of the peers that are connected."""
        ...


class LinksSource:
    """Over a client's connections. prefer: the peer that is asked first, where it answers."""

    def __init__(self, links: Links, prefer: str = "") -> None:
        self._links = links
        self._prefer = prefer
        self._slots = trio.CapacityLimiter(EXPLORER_ASKS)

    @property
    def network(self) -> str:
        return str(self._links.genesis.network)

    def peers(self) -> tuple[str, ...]:
        return self._links.network.connected()

    async def ask(self, kind: type[T], body: dict[str, Any]) -> T:
        async def asked(ask: Ask, peer: str) -> T:
            return read(kind, await ask(body), body["op"], peer)

        return await self._within(lambda: self._links.ask_any(asked, self._prefer))

    async def ask_peer(self, peer: str, kind: type[T], body: dict[str, Any]) -> T:
        async def asked() -> T:
            return read(kind, await self._links.query(peer, body), body["op"], peer)

        return await self._within(asked)

    async def _within(self, asked: Callable[[], Awaitable[T]]) -> T:
        with trio.move_on_after(EXPLORER_ASK_S):
            async with self._slots:
                return await asked()
        raise Unavailable(f"no peer answered within {EXPLORER_ASK_S:g} s; ask again", field="peers", code="timeout")


class Rate:
    """So many a second, and no more than one second's at once. Raises Overloaded above it."""

    def __init__(self, a_second: float = EXPLORER_ASKS_A_SECOND) -> None:
        self._most = self._left = a_second
        self._at = trio.current_time()

    def take(self) -> None:
        now = trio.current_time()
        self._left = min(self._most, self._left + (now - self._at) * self._most)
        self._at = now
        if self._left < 1:
            raise Overloaded("visitors ask more than these pages answer in a second; ask again soon", retry_after=1)
        self._left -= 1


class Metered:
    """The same source for visitors, at a rate."""

    def __init__(self, source: Source, rate: Rate) -> None:
        self._source, self._rate = source, rate

    @property
    def network(self) -> str:
        return self._source.network

    def peers(self) -> tuple[str, ...]:
        return self._source.peers()

    async def ask(self, kind: type[T], body: dict[str, Any]) -> T:
        self._rate.take()
        return await self._source.ask(kind, body)

    async def ask_peer(self, peer: str, kind: type[T], body: dict[str, Any]) -> T:
        self._rate.take()
        return await self._source.ask_peer(peer, kind, body)
