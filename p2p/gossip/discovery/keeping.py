"""Background tasks of one host that keep its connections: dial, greet, end what is dead, save the address book.

Law: a dead peer is noticed, a lost one is dialled again, and one that does nothing is disconnected.

- DISC-3: a silent connection ends, where this process was on time to hear it (PULSE-2): a peer that is only late is not
  gone, and a new connection would cost both sides more.
- DISC-4: lost peers are dialled again within seconds, and so are peers whose ban ended; all dials are paced (PACE-1).
- DISC-6: a peer that has not greeted in time, and has no stream open, is disconnected; so is one that owes seconds of
  CPU. A validator, or a peer with a stream, is greeted again instead: it may be late, and a new connection would
  make it later.
- DISC-7: known peers are saved on disk, anchors first, so a peer finds its network again without the bootstrap.
- DISC-8: a peer with a book dials that first. The bootstrap is dialled where the book is empty, or when after
  BOOK_FIRST_S fewer than two peers are connected. Peers that start together begin within START_SPREAD_S.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
from libp2p.peer.id import ID

from p2p.base.errors import FolkmootError, Unavailable
from p2p.base.files import write_file
from p2p.base.limits import (
    BAN_S,
    BOOK_FIRST_S,
    BOOK_SAVE_S,
    DIALS_A_SECOND,
    DIALS_AT_ONCE,
    DIALS_BURST,
    GREETING_GRACE_S,
    MAX_BOOK_FILE,
    MAX_OWED_MS,
    START_SPREAD_S,
)
from p2p.gossip.connections.failures import own_key
from p2p.gossip.connections.guards import drop_connection, near_scopes
from p2p.gossip.connections.pace import Bucket, share
from p2p.gossip.connections.partings import Why
from p2p.gossip.connections.pulse import Silence
from p2p.gossip.discovery import book_file, slots
from p2p.gossip.discovery.book import Rank
from p2p.gossip.discovery.discovery import Discovery
from p2p.gossip.discovery.farewell import Farewells
from p2p.gossip.discovery.finding import Finder
from p2p.gossip.discovery.outside import Asking
from p2p.machine.deadlines import own_time

log = logging.getLogger(__name__)
_TICK_S = 0.5  # between two looks at the connections
_COMPANY = 2  # connected peers with which nobody asks the bootstrap


class Keeper:
    """The background tasks of one host."""

    def __init__(
        self, discovery: Discovery, bootstrap: tuple[tuple[str, str], ...], book_file: Path | None = None,
        asking: Asking | None = None,
    ) -> None:
        """bootstrap: (peer, address) pairs that the user named. book_file: where known peers are saved; None:
        nowhere. asking: finds out how others reach this peer; None: nobody is asked."""
        self._net = discovery
        self._asking = asking
        self._farewells = Farewells(discovery)
        self._finder = Finder(discovery)
        self._bootstrap = bootstrap
        self._bucket = Bucket(DIALS_A_SECOND, DIALS_BURST)
        self._partners = slots.Partners(discovery.me)
        self._silence = Silence()
        self._file = book_file
        self._written = b""  # what the file contains
        self._greeting: set[str] = set()  # peers that are being greeted
        self._mute_since: dict[str, float] = {}  # when greeting a peer failed, in own time
        self._dialling: set[str] = set()  # peers that are being dialled
        self._links: dict[str, object] = {}  # connections at the last look, by peer

    async def run(self) -> None:
        """Run all background tasks; each is started again when it fails."""
        await self._load_book()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._supervise, lambda: self.keep_connected(nursery))
                asking = (self._asking.witnesses, self._asking.relays) if self._asking else ()
                for task in (self._finder.exchange, self._finder.search, self.keep_book, *asking):
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
        await trio.sleep(START_SPREAD_S * share(self._net.me, "start"))  # DISC-8
        begun = own_time()
        asked = False
        while True:
            late = own_time() - begun >= BOOK_FIRST_S and len(self._net.verified) < _COMPANY
            if not asked and (late or not len(self._net.book)):
                self._ask_bootstrap()
                asked = True
            self._look_at_links(nursery)
            self._dial_missing(nursery)
            await trio.sleep(_TICK_S * random.uniform(0.7, 1.3))  # jitter; not security-relevant

    def _ask_bootstrap(self) -> None:
        """From now on what the user named is in the book as if we had reached it."""
        net, now = self._net, trio.current_time()
        for peer, address in self._bootstrap:
            if peer != net.me:
                net.book.learn(peer, [address], Rank.REACHED, now=now)
            elif not any(mine.startswith(address + "/") for mine in net.addresses()):
                net.note_trouble(peer, own_key())

    def _look_at_links(self, nursery: trio.Nursery) -> None:
        net, now, linked = self._net, trio.current_time(), self._net.linked()
        net.door.sweep()
        net.host.get_peerstore()._enforce_peer_limit()  # add_addrs does it too, but not every entry is made there
        net.policy.near = near_scopes(net.host)
        net.since = {peer: net.since.get(peer, now) for peer in linked}
        net.note_carriers()
        self._note_ends(linked)
        for peer in net.verified - linked:
            net.verified.discard(peer)
            if peer not in net.dropped:
                net.book.lost(peer, now, dear=net.dear(peer))
        for peer in net.scores.ended(now):
            net.book.lost(peer, now, dear=net.dear(peer))
        net.forget_chosen()
        net.door.leaving &= linked
        net.mute &= linked
        self._mute_since = {peer: at for peer, at in self._mute_since.items() if peer in net.mute}
        alone, dead = net.left_alone(now), self._silence.look(((p, net.door.heard_at(p)) for p in linked), own_time())
        for peer in linked:
            ban = net.scores.ban(peer, now)
            if peer in net.door.leaving:
                nursery.start_soon(self._farewells.give_place_away, peer)
            elif ban is not None:
                nursery.start_soon(self._farewells.dismiss, peer, "banned", ban[1], ban[0])
            elif net.door.budgets.work.owed(peer, now) > MAX_OWED_MS and not net.door.valued(peer):
                why = "reading what you send takes more CPU than a peer's share"
                nursery.start_soon(self._farewells.dismiss, peer, "overload", why, BAN_S)
            elif peer in dead:
                self._end(nursery, peer, Why.SILENT)
            elif peer in alone:
                self._end(nursery, peer, Why.REFUSED)
            elif net.greets and not {peer} & (net.verified | self._greeting | net.mute):
                self._greeting.add(peer)
                nursery.start_soon(self._greet_new, peer)
            elif peer in net.mute and own_time() - self._mute_since.get(peer, 0.0) > GREETING_GRACE_S:
                if net.dear(peer) or self._has_stream(peer):
                    net.mute.discard(peer)
                else:
                    self._end(nursery, peer, Why.MUTE)

    def _note_ends(self, linked: set[str]) -> None:
        """PARTING-1: count the connections that are gone since the last look, also where there is a new one."""
        table = self._net.host.get_network().connections
        links: dict[str, object] = {str(peer): made[0] for peer, made in table.items() if made}
        for peer, link in self._links.items():
            if links.get(peer) is not link:
                if peer in links:
                    self._net.door.partings.say(peer, Why.REPLACED)
                self._net.door.partings.ended(peer)
        self._links = links
        self._net.door.partings.forget(linked)

    def _end(self, nursery: trio.Nursery, peer: str, why: Why) -> None:
        self._net.door.partings.say(peer, why)
        nursery.start_soon(drop_connection, self._net.host, ID.from_string(peer))

    def _has_stream(self, peer: str) -> bool:
        return self._net.door.budgets.streams.of(peer)[0] > 0

    def _dial_missing(self, nursery: trio.Nursery) -> None:
        net, now, held = self._net, trio.current_time(), self._net.held()
        linked = net.linked()
        partners = net.missing = self._partners.missing(net.partners(), linked, now)
        net.empty = max(0, net.wanted - len(slots.own(held)))
        empty = net.empty - len(self._dialling - partners)
        excluded = linked | self._dialling | net.dropped | net.left_alone(now) | {net.me}
        due = net.book.to_dial(
            excluded, now, wanted=empty, busy=self._dialling, slots=DIALS_AT_ONCE - len(self._dialling),
            needed=self._partners.due(now), taken=slots.groups_taken(held), company=bool(net.verified),
        )
        for peer in due:
            if net.scores.banned(peer, now):
                continue
            if not self._bucket.take(own_time()):  # PACE-1: the others have their turn at a later look
                net.counts["waited"] += 1
                return
            self._dialling.add(peer)
            nursery.start_soon(self._dial_known, peer, peer not in partners and empty > 0)
            empty -= peer not in partners

    async def _greet_new(self, peer: str) -> None:
        net = self._net
        try:
            await trio.sleep(_TICK_S)  # the side that dialled greets first
            if peer in net.linked() and peer not in net.verified:
                await self._greet_twice(peer)
        except FolkmootError as error:
            log.debug("greeting %s: %s", peer, error)
            net.mute.add(peer)
            self._mute_since[peer] = own_time()
        finally:
            self._greeting.discard(peer)

    async def _greet_twice(self, peer: str) -> None:
        """A peer that is still starting may be too late for one greeting. Raises FolkmootError."""
        try:
            await self._net.greet(peer)
        except Unavailable as error:
            log.debug("greeting %s again: %s", peer, error)
            if peer in self._net.linked() and peer not in self._net.verified:
                await self._net.greet(peer)

    async def _dial_known(self, peer: str, chosen: bool) -> None:
        net = self._net
        try:
            await net.dial(peer, net.book.addresses(peer), chosen=chosen)
        except FolkmootError as error:
            log.debug("dialling %s: %s", peer, error)
        finally:
            self._dialling.discard(peer)

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
        book_file.load(self._net.book, raw, MAX_BOOK_FILE, _epoch(), trio.current_time())

    async def _save_book(self) -> None:
        file, anchors = self._file, slots.anchors(self._net.held(), trio.current_time())
        if file is None:
            return
        raw = book_file.dump(self._net.book, anchors or self._net.book.anchors, MAX_BOOK_FILE, _epoch())
        if raw == self._written or not raw:
            return
        try:
            await trio.to_thread.run_sync(lambda: write_file(file, raw, field="book"))
        except FolkmootError as error:  # such as a full disk: the old file stays, and the next round tries again
            log.warning("the address book %s cannot be written: %s", file, error)
            return
        self._written = raw


def _epoch() -> float:
    """What is added to trio's time to make it seconds since 1970."""
    return time.time() - trio.current_time()


def _read(file: Path) -> bytes:
    with file.open("rb") as handle:
        return handle.read(MAX_BOOK_FILE)
