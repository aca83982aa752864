"""The outbound gossip streams: one to each connected peer, kept open, with one writer each.

Law: whatever one neighbour takes or does not take delays no other one, and waits in the router's bounded queue.

- LINK-1: each connection has one outbound stream. One that ends while the connection lasts is opened again after a
  pause, and begins with our subscriptions.
- LINK-2: what is due leaves at once after a quiet moment, else with all that became due within TICK_S, as one RPC in
  one write. What we hand on for others waits for up to FORWARD_S by lot, votes excepted: most neighbours get it from
  its author too, and a copy that comes from one meanwhile cancels ours (MSG-7). Where we are connected to nearly the
  whole network it waits for up to DENSE_FORWARD_S, since flood publishing reaches nearly all.
- LINK-3: an RPC that a neighbour does not take within UNREAD_S ends its connection.
- LINK-4: a peer that does not speak gossip is no neighbour: nothing is kept for it, and it is not listened to.
- LINK-5: penalty points beyond those of one fault are subtracted from its score (P5): it leaves the mesh, and is
  graylisted before it is banned.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import trio
from libp2p.abc import INotifee
from libp2p.peer.id import ID

from p2p.base.limits import (
    MAX_CONNECTIONS,
    MAX_RPC_WRITE,
    MAX_WANTED_PEERS,
    REDIAL_FIRST_S,
    REDIAL_MAX_S,
    STREAM_OPEN_TIMEOUT_S,
    UNREAD_S,
)
from p2p.gossip.connections.budget import relay_of
from p2p.gossip.connections.door import Door
from p2p.gossip.connections.guards import group_at, host_of, reset_quietly
from p2p.gossip.connections.reach import PUBLIC, scope_of
from p2p.gossip.rpc_codec import encode, varint
from p2p.gossipsub.router import Router
from p2p.gossipsub.rpc import Rpc, Subscription, Version
from p2p.machine.deadlines import fail_after, move_on_after

log = logging.getLogger(__name__)
PROTOCOLS: Final = {"/meshsub/1.2.0": Version.V1_2, "/meshsub/1.1.0": Version.V1_1}  # the preferred one first
TICK_S: Final = 0.02  # between two rounds of writes
FORWARD_S: Final = 0.04  # for which what is forwarded waits, at most
DENSE_FORWARD_S: Final = 0.25  # the same where connections are DENSE
DENSE: Final = 0.8  # of the peers that are expected in the network
FORGIVEN: Final = 15.0  # penalty points that change no score
_WAIT_FOR_ROOM_S: Final = 0.05  # between two looks for room in the budget of outgoing bytes


@dataclass(eq=False, slots=True)
class _Link:
    """A connected peer."""

    peer: str
    group: str  # its address group
    in_public: bool  # many peers of one private network are no attack
    outbound: bool  # we dialled it
    connection: Any
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    due: trio.Event = field(default_factory=trio.Event)
    speaks: bool = True  # gossip, as far as we know
    opened: int = 0  # streams so far


def _link(peer: str, connection: Any) -> _Link:
    host, group = host_of(connection.muxed_conn), group_at(connection.muxed_conn)
    outbound = "OUTBOUND" in str(connection.direction).upper()
    in_public = scope_of(host or "") == PUBLIC or bool(relay_of(group))
    return _Link(peer, group, in_public, outbound, connection)


class Neighbours(INotifee):  # type: ignore[misc]  # the library publishes no types
    """The links of one host."""

    def __init__(
        self, host: Any, router: Router, door: Door, topics: Sequence[str],
        points: Callable[[str], float] = lambda peer: 0.0, size: int = MAX_CONNECTIONS,
    ) -> None:
        """topics: those that this host has joined. points: the penalty points of a peer (P5). size: of the network, as
        expected."""
        self._size = size
        self._host, self._router, self._door, self._points = host, router, door, points
        self._hello = Rpc(subscriptions=tuple(Subscription(topic, True) for topic in topics))
        self._links: dict[str, _Link] = {}
        self._nursery: trio.Nursery | None = None
        self._due = trio.Event()  # set when something is to leave now
        self._later, self._nap = math.inf, trio.CancelScope()  # when something is to leave at the latest

    async def run(self) -> None:
        """Keep a stream to each connected peer until cancelled."""
        self._host.get_network().register_notifee(self)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self.look()
            await self._tick()

    def stir(self, *, soon: bool = False) -> None:
        """Something may be due. Call it after the router was told anything. soon: it is for others to have, and may
        wait for FORWARD_S."""
        if not self._router.due():
            return
        if soon:
            most_s = DENSE_FORWARD_S if len(self._links) + 1 >= DENSE * self._size else FORWARD_S
            self._later = min(self._later, trio.current_time() + random.uniform(TICK_S, most_s))
            self._nap.deadline = self._later
        else:
            self._due.set()

    def listens(self, peer: str) -> bool:
        """Whether a connected peer is a neighbour, as far as we know. Its first RPC may come before our own stream to
        it is open."""
        if peer not in self._links:
            self.look()
        link = self._links.get(peer)
        return link is not None and link.speaks

    def look(self) -> None:
        """Begin links to new connections, end those of closed ones, and say whom we want."""
        table = self._host.get_network().connections
        current = {str(peer): connections[0] for peer, connections in list(table.items()) if connections}
        for peer, link in list(self._links.items()):
            if current.get(peer) is not link.connection:
                self._end(link)
        for peer, connection in current.items():
            if peer not in self._links and self._nursery is not None:
                link = self._links[peer] = _link(peer, connection)
                self._introduce(link, Version.V1_1)
                self._nursery.start_soon(self._keep, link)
        wanted = set(sorted(peer for peer in self._links if self._door.wants(peer))[:MAX_WANTED_PEERS])
        for peer in self._links:
            self._router.wants(peer, peer in wanted)
            self._router.app_score(peer, -max(0.0, self._points(peer) - FORGIVEN))

    def _introduce(self, link: _Link, version: Version) -> None:
        self._router.add_peer(
            link.peer, version=version, outbound=link.outbound, group=link.group if link.in_public else "",
            now=trio.current_time(),
        )

    def _end(self, link: _Link) -> None:
        link.scope.cancel()
        if self._links.get(link.peer) is link:
            del self._links[link.peer]
            self._router.remove_peer(link.peer, trio.current_time())

    # -- one link

    async def _keep(self, link: _Link) -> None:
        pause_s = REDIAL_FIRST_S
        with link.scope:
            while True:
                try:
                    await self._use_stream(link)
                except trio.TooSlowError:
                    self._door.is_stuck(link.peer)
                except Exception as error:  # the library raises dozens of types, KeyError among them
                    log.debug("the gossip stream to %s: %r", link.peer, error)
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, REDIAL_MAX_S)

    async def _use_stream(self, link: _Link) -> None:
        """Open a stream and write to it until it breaks."""
        peer = ID.from_string(link.peer)
        try:
            with move_on_after(STREAM_OPEN_TIMEOUT_S) as limit:
                stream = await self._host.new_stream(peer, list(PROTOCOLS))
        except Exception:
            self._mute(link)
            raise
        if limit.cancelled_caught:
            self._mute(link)
            return
        try:
            version = PROTOCOLS[str(stream.get_protocol())]
            link.speaks = True
            self._introduce(link, version)
            link.opened += 1
            if link.opened > 1:
                await self._send(link, stream, self._hello)
            await self._write_all(link, stream)
        finally:
            await reset_quietly(stream)

    def _mute(self, link: _Link) -> None:
        """No stream could be opened: nothing waits for it any more (LINK-4)."""
        link.speaks, link.opened = False, 0
        self._router.remove_peer(link.peer, trio.current_time())

    async def _write_all(self, link: _Link, stream: Any) -> None:
        while True:
            while (rpc := self._router.take(link.peer, MAX_RPC_WRITE)) is not None:
                await self._send(link, stream, rpc)
            await link.due.wait()
            link.due = trio.Event()

    async def _send(self, link: _Link, stream: Any, rpc: Rpc) -> None:
        raw = encode(rpc)
        frame = varint(len(raw)) + raw
        outgoing, size = self._door.budgets.outgoing, len(frame)
        with fail_after(UNREAD_S):
            while not outgoing.take(link.peer, link.group, size, ours=True):
                await trio.sleep(_WAIT_FOR_ROOM_S)
            try:
                await stream.write(frame)
            finally:
                outgoing.give(link.peer, link.group, size)

    async def _tick(self) -> None:
        """LINK-2: wake the writers that have something to send, at most once in TICK_S."""
        last = float("-inf")
        while True:
            with trio.CancelScope(deadline=self._later) as self._nap:
                await self._due.wait()
            await trio.sleep(max(0.0, last + TICK_S - trio.current_time()))
            self._due, self._later = trio.Event(), math.inf
            last = trio.current_time()
            for peer in self._router.due():
                link = self._links.get(peer)
                if link is not None:
                    link.due.set()

    # -- what the library tells

    async def connected(self, network: Any, conn: Any) -> None:
        self.look()

    async def disconnected(self, network: Any, conn: Any) -> None:
        self.look()

    async def opened_stream(self, network: Any, stream: Any) -> None: ...

    async def closed_stream(self, network: Any, stream: Any) -> None: ...

    async def listen(self, network: Any, multiaddr: Any) -> None: ...

    async def listen_close(self, network: Any, multiaddr: Any) -> None: ...
