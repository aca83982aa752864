"""Finds addresses of peers that are missing: by greetings first, by the DHT where those do not help.

Law: a peer that misses nothing asks nobody.

- FIND-1: the DHT is searched only while a connection is missing and the book has nobody to dial for it: for the
  validators without an address that works, DHT_FINDS at a time, else for peers near our own key. One search at a time;
  the first comes DHT_FIRST_S after the start, the next DHT_INTERVAL_S later, in own time and shortened by PACE-2, and
  while nothing changes each after twice as long, up to DHT_MAX_S.
- FIND-2: what the DHT's table needs to answer others is put into it without asking anybody: our connections. The
  library's own refresh, a search for each bucket, stays off.
- FIND-3: a random peer is asked whom it knows EXCHANGE_FIRST_S after something began to be missing, then after twice as
  long each time, up to EXCHANGE_MAX_S; the same when nothing is missing.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Collection

import trio
from libp2p.peer.id import ID

from p2p.base.errors import FolkmootError
from p2p.base.limits import (
    DHT_FINDS,
    DHT_FIRST_S,
    DHT_INTERVAL_S,
    DHT_MAX_S,
    DHT_TIMEOUT_S,
    EXCHANGE_FIRST_S,
    EXCHANGE_MAX_S,
)
from p2p.gossip.connections.pace import Backoff, shortened
from p2p.gossip.discovery.book import AddressBook
from p2p.gossip.discovery.discovery import Discovery
from p2p.machine.deadlines import move_on_after, own_time

log = logging.getLogger(__name__)
_LOOK_S = 0.5  # between two looks at whether something is missing


def unknown(book: AddressBook, peers: Collection[str]) -> list[str]:
    """Those of `peers` whose addresses are not known, or are stale (BOOK-9)."""
    return sorted(p for p in peers if not book.addresses(p) or book.stale(p))


async def _nothing() -> None:
    """In place of the library's refresh."""


class Finder:
    """The searches of one host."""

    def __init__(self, discovery: Discovery) -> None:
        self._net = discovery
        self._searches = 0
        self._fed: set[str] = set()  # connected peers that were put into the DHT's table
        discovery.dht.refresh_routing_table = _nothing  # FIND-2

    async def exchange(self) -> None:
        """FIND-3."""
        wait = Backoff(EXCHANGE_FIRST_S, EXCHANGE_MAX_S)
        while True:
            lacking = self._lacking()
            due = own_time() + wait.next_s(lacking)
            while own_time() < due:
                await trio.sleep(_LOOK_S)
                if (now_lacking := self._lacking()) != lacking:
                    lacking = now_lacking
                    due = min(due, own_time() + wait.next_s(lacking))
            peers = self._net.connected()
            if peers:
                try:
                    await self._net.greet(random.choice(peers))
                except FolkmootError as error:
                    log.debug("exchange: %s", error)

    def _lacking(self) -> tuple[bool, tuple[str, ...]]:
        """Whether slots are empty, and which validators nobody has named yet."""
        return self._net.empty > 0, tuple(unknown(self._net.book, self._net.missing))

    async def search(self) -> None:
        """FIND-1, FIND-2."""
        net, due, wait = self._net, own_time() + DHT_FIRST_S, Backoff(DHT_INTERVAL_S, DHT_MAX_S)
        while True:
            await trio.sleep(_LOOK_S)
            await self._feed()
            if own_time() < due or not net.connected():
                continue
            has_room, lost = lacking = self._lacking()
            due = own_time() + shortened(wait.next_s(lacking), net.me, self._searches)
            if lost or (has_room and not net.candidates()):
                self._searches += 1
                net.counts["searches"] += 1
                with move_on_after(DHT_TIMEOUT_S):
                    await self._ask(lost)

    async def _feed(self) -> None:
        net = self._net
        now = net.verified & net.linked()
        for peer in now - self._fed:
            await net.dht.add_peer(ID.from_string(peer))
        self._fed = now

    async def _ask(self, lost: tuple[str, ...]) -> None:
        """Search, and copy what was found into the address book."""
        net = self._net
        for peer in random.sample(lost, min(DHT_FINDS, len(lost))):
            await net.find(peer)
        if lost:
            return
        try:
            await net.dht.peer_routing.find_closest_peers_network(ID.from_string(net.me).to_bytes())
        except Exception as error:  # it decodes answers of other peers; a bad one ends this search only
            log.debug("DHT search: %r", error)
        store = net.host.get_peerstore()
        known = set(store.peers_with_addrs())
        for target in net.dht.routing_table.get_peer_ids():
            if str(target) not in net.verified and target in known:
                net.learn_from_dht(str(target), store.addrs(target))
