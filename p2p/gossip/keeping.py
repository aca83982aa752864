"""Background tasks of one host that keep its connections: dial, greet, ping, exchange addresses, save the address book.

Law: a dead peer is noticed, a lost one is dialled again, and one that does nothing is disconnected.

- DISC-3: two missed pings in a row end a connection, if nothing else came over it meanwhile either: a peer that is only
  late is not gone, and a new connection would cost both sides more.
- DISC-4: lost peers are dialled again within seconds, and so are peers whose ban ended.
- DISC-6: a peer that has not greeted in time, and has no stream open, is disconnected; so is one that owes seconds of
  CPU.
- DISC-7: known peers are saved on disk, so a peer finds its network again without the bootstrap.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
from libp2p.host.ping import ID as PING_PROTOCOL
from libp2p.host.ping import perform_ping_roundtrip
from libp2p.peer.id import ID

from p2p.base.errors import FolkmootError
from p2p.base.files import write_file
from p2p.base.limits import (
    BAN_S,
    BOOK_SAVE_S,
    DHT_INTERVAL_S,
    DHT_REFRESH_TIMEOUT_S,
    DIALS_AT_ONCE,
    EXCHANGE_INTERVAL_S,
    GREETING_GRACE_S,
    MAX_BOOK_FILE,
    MAX_OWED_MS,
    PING_INTERVAL_S,
    PING_MISSES,
    PING_TIMEOUT_S,
)
from p2p.gossip.book import Rank
from p2p.gossip.discovery import Discovery
from p2p.gossip.failures import own_key
from p2p.gossip.farewell import Farewells
from p2p.gossip.guards import drop_connection, host_of_peer, reset_quietly
from p2p.gossip.reach import scope_of

log = logging.getLogger(__name__)
_TICK_S = 0.5  # between two looks at the connections
_EARLY_ROUNDS = 6  # quick rounds of exchange after the start, and half as many of the DHT
_EARLY_EXCHANGE_S = 1.0
_EARLY_DHT_S = 2.0


class Keeper:
    """The background tasks of one host."""

    def __init__(
        self, discovery: Discovery, bootstrap: tuple[tuple[str, str], ...], book_file: Path | None = None,
    ) -> None:
        """bootstrap: (peer, address) pairs that the user named. book_file: where known peers are saved; None:
        nowhere."""
        self._net = discovery
        self._farewells = Farewells(discovery)
        self._bootstrap = bootstrap
        self._file = book_file
        self._written = b""  # what the file contains
        self._greeting: set[str] = set()  # peers that are being greeted
        self._dialling: set[str] = set()  # peers that are being dialled
        self._misses: dict[str, int] = {}  # pings in a row without an answer

    async def run(self) -> None:
        """Run all background tasks; each is started again when it fails."""
        await self._load_book()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._supervise, lambda: self.keep_connected(nursery))
                for task in (self.exchange, self.feed_dht, self.ping_all, self.keep_book):
                    nursery.start_soon(self._supervise, task)
        finally:
            with trio.CancelScope(shield=True):
                await self._save_book()

    async def _supervise(self, task: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await task()
            except Exception:  # one task's failure must not end the host
                log.exception("a discovery task failed and starts again")
            await trio.sleep(_TICK_S)

    async def keep_connected(self, nursery: trio.Nursery) -> None:
        """Each tick: forget lost connections, greet new ones, end some, dial missing ones."""
        for peer, address in self._bootstrap:
            if peer != self._net.me:
                self._net.book.learn(peer, [address], Rank.REACHED)
            elif not any(mine.startswith(address + "/") for mine in self._net.addresses()):
                self._net.note_trouble(peer, own_key())
        while True:
            self._look_at_links(nursery)
            self._dial_missing(nursery)
            await trio.sleep(_TICK_S * random.uniform(0.7, 1.3))  # jitter; not security-relevant

    def _look_at_links(self, nursery: trio.Nursery) -> None:
        net, now, linked = self._net, trio.current_time(), self._net.linked()
        net.door.sweep()
        net.host.get_peerstore()._enforce_peer_limit()  # add_addrs does it too, but not every entry is made there
        net.policy.near = frozenset(scope_of(host_of_peer(net.host, peer) or "") for peer in linked)
        net.since = {peer: net.since.get(peer, now) for peer in linked}
        for peer in net.verified - linked:
            net.verified.discard(peer)
            if peer not in net.dropped:
                net.book.lost(peer, now, dear=net.dear(peer))
        for peer in net.scores.ended(now):
            net.book.lost(peer, now, dear=net.dear(peer))
        net.forget_chosen()
        net.door.leaving &= linked
        net.mute &= linked
        alone = net.left_alone(now)
        for peer in linked:
            ban = net.scores.ban(peer, now)
            if peer in net.door.leaving:
                nursery.start_soon(self._farewells.give_place_away, peer)
            elif ban is not None:
                nursery.start_soon(self._farewells.dismiss, peer, "banned", ban[1], ban[0])
            elif net.door.budgets.work.owed(peer, now) > MAX_OWED_MS and not net.door.valued(peer):
                why = "reading what you send takes more CPU than a peer's share"
                nursery.start_soon(self._farewells.dismiss, peer, "overload", why, BAN_S)
            elif peer in alone:
                nursery.start_soon(drop_connection, net.host, ID.from_string(peer))
            elif not {peer} & (net.verified | self._greeting | net.mute):
                self._greeting.add(peer)
                nursery.start_soon(self._greet_new, peer)
            elif peer in net.mute and now - net.since[peer] > GREETING_GRACE_S and not self._has_stream(peer):
                nursery.start_soon(drop_connection, net.host, ID.from_string(peer))

    def _has_stream(self, peer: str) -> bool:
        return self._net.door.budgets.streams.of(peer)[0] > 0

    def _dial_missing(self, nursery: trio.Nursery) -> None:
        net, now = self._net, trio.current_time()
        missing = net.wanted - len(net.verified) - len(self._dialling)
        excluded = net.linked() | self._dialling | net.dropped | net.left_alone(now) | {net.me}
        slots = DIALS_AT_ONCE - len(self._dialling)
        for peer in net.book.to_dial(excluded, now, wanted=missing, busy=self._dialling, slots=slots):
            if not net.scores.banned(peer, now):
                self._dialling.add(peer)
                nursery.start_soon(self._dial_known, peer, missing > 0 and len(net.chosen) < net.wanted)

    async def _greet_new(self, peer: str) -> None:
        net = self._net
        try:
            await trio.sleep(_TICK_S)  # the side that dialled greets first
            if peer in net.linked() and peer not in net.verified:
                await net.greet(peer)
        except FolkmootError as error:
            log.debug("greeting %s: %s", peer, error)
            net.mute.add(peer)
        finally:
            self._greeting.discard(peer)

    async def _dial_known(self, peer: str, chosen: bool) -> None:
        net = self._net
        try:
            await net.dial(peer, net.book.addresses(peer), chosen=chosen)
        except FolkmootError as error:
            log.debug("dialling %s: %s", peer, error)
        finally:
            self._dialling.discard(peer)

    async def exchange(self) -> None:
        """Ask a random peer whom it knows, more often while connections are missing."""
        early = _EARLY_ROUNDS
        while True:
            short = len(self._net.connected()) < self._net.wanted
            missing_s = _EARLY_EXCHANGE_S if early > 0 else EXCHANGE_INTERVAL_S / 3
            await trio.sleep(missing_s if short else EXCHANGE_INTERVAL_S)
            early -= 1
            peers = self._net.connected()
            if peers:
                try:
                    await self._net.greet(random.choice(peers))
                except FolkmootError as error:
                    log.debug("exchange: %s", error)

    async def feed_dht(self) -> None:
        """Put our connections into the DHT's table, let it search, and copy what it found into the address book."""
        net, rounds = self._net, 0
        while True:
            await trio.sleep(_EARLY_DHT_S if rounds < _EARLY_ROUNDS // 2 else DHT_INTERVAL_S)
            rounds += bool(net.connected())
            with trio.move_on_after(DHT_REFRESH_TIMEOUT_S):
                try:
                    for peer in net.connected():
                        await net.dht.add_peer(ID.from_string(peer))
                    if net.connected():
                        await net.dht.refresh_routing_table()
                except Exception as error:  # it decodes answers of other peers; a bad one ends this round only
                    log.debug("DHT refresh: %r", error)
            store = net.host.get_peerstore()
            known = set(store.peers_with_addrs())
            for target in net.dht.routing_table.get_peer_ids():
                if str(target) not in net.verified and target in known:
                    net.learn_from_dht(str(target), store.addrs(target))

    async def ping_all(self) -> None:
        """DISC-3. Yamux has no keep-alive, so without pings a stopped process would stay connected for ever."""
        while True:
            await trio.sleep(PING_INTERVAL_S)
            linked = self._net.linked()
            self._misses = {p: n for p, n in self._misses.items() if p in linked}
            async with trio.open_nursery() as nursery:
                for peer in linked:
                    nursery.start_soon(self._ping, peer)

    async def _ping(self, peer: str) -> None:
        raw, host, begun = None, self._net.host, trio.current_time()
        try:
            with trio.fail_after(PING_TIMEOUT_S):
                raw = await host.new_stream(ID.from_string(peer), [PING_PROTOCOL])
                await perform_ping_roundtrip(raw)
                await raw.close()
            self._misses.pop(peer, None)
        except Exception as error:  # any error means that there was no pong
            if raw is not None:
                await reset_quietly(raw)
            if self._net.door.heard_at(peer) >= begun:
                self._misses.pop(peer, None)
                return
            self._misses[peer] = self._misses.get(peer, 0) + 1
            log.debug("no pong from %s (%d): %r", peer, self._misses[peer], error)
            if self._misses[peer] >= PING_MISSES:
                self._misses.pop(peer, None)
                log.info("no answer from %s to %d pings: the connection ends, it is dialled again", peer, PING_MISSES)
                await drop_connection(host, ID.from_string(peer))

    # -- the book on disk

    async def keep_book(self) -> None:
        """Save the address book every BOOK_SAVE_S seconds, if it has changed."""
        while True:
            await trio.sleep(BOOK_SAVE_S)
            await self._save_book()

    async def _load_book(self) -> None:
        if self._file is None:
            return
        try:
            raw = await trio.to_thread.run_sync(_read, self._file)
        except FileNotFoundError:
            return
        except OSError as error:  # the peer starts without it
            log.warning("the address book %s cannot be read: %s", self._file, error)
            return
        self._net.book.load(raw, MAX_BOOK_FILE)

    async def _save_book(self) -> None:
        raw, file = self._net.book.dump(MAX_BOOK_FILE), self._file
        if file is None or raw == self._written or not raw:
            return
        try:
            await trio.to_thread.run_sync(lambda: write_file(file, raw, field="book"))
        except FolkmootError as error:  # such as a full disk: the old file stays, and the next round tries again
            log.warning("the address book %s cannot be written: %s", file, error)
            return
        self._written = raw


def _read(file: Path) -> bytes:
    with file.open("rb") as handle:
        return handle.read(MAX_BOOK_FILE)
