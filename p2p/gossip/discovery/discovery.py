"""Finds peers and connects to them: dials, greets, learns addresses, and keeps the reason of each failure.

Law: one bootstrap address is enough, and nothing fails without a reason that `status` shows.

- DISC-1: addresses come from greetings and from the DHT; both are hearsay until we have dialled them.
- DISC-2: a peer is `verified` once it has greeted with our network id. Others may be clients; they are neither counted
  nor named to other peers.
"""

from __future__ import annotations

import logging
import random
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import trio
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2p.base.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.base.keys import NetworkId
from p2p.base.limits import (
    BAN_S,
    DHT_TIMEOUT_S,
    HELLO_TIMEOUT_S,
    MAX_CHOSEN,
    MAX_HELLO,
    MAX_REFUSED_S,
    MAX_TROUBLES,
    RESERVATION_S,
    STREAM_OPEN_TIMEOUT_S,
)
from p2p.gossip.connections import reach
from p2p.gossip.connections.budget import Held
from p2p.gossip.connections.door import Door
from p2p.gossip.connections.failures import own_key
from p2p.gossip.connections.guards import drop_connection, group_at, host_of_peer, near_scopes, relay_at
from p2p.gossip.connections.opening import begin, no_stream
from p2p.gossip.connections.partings import Why
from p2p.gossip.connections.reach import DialPolicy, all_near, may_name, relay_in, scope_at
from p2p.gossip.connections.score import Scores, Twins
from p2p.gossip.connections.streams import Stream
from p2p.gossip.connections.topics import PEERS_PROTOCOL
from p2p.gossip.discovery.book import AddressBook, Rank, bare_address, seen_addresses
from p2p.gossip.discovery.dialling import Dialler
from p2p.gossip.discovery.handshake import (
    Entry,
    Goodbye,
    Refusal,
    pack_hello,
    pack_refusal,
    pack_welcome,
    parse_opening,
    parse_reply,
)
from p2p.gossip.relays.outside import Outside
from p2p.machine.deadlines import fail_after, move_on_after

log = logging.getLogger(__name__)
DELIVERY_S = 0.5  # for a last message to arrive before the connection ends
_START_BYTES = 8  # of the random number of this run


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a peer is not connected."""

    until: float  # it is not dialled before this time
    code: str
    message: str
    by_them: bool = False  # the peer itself gave the reason


class Discovery:
    """The connections of one host, and what it knows about other peers."""

    def __init__(
        self, host: Any, dht: Any, network: NetworkId, scores: Scores, wanted: int, door: Door, policy: DialPolicy,
    ) -> None:
        self.host = host
        self.dht = dht
        self.network = network
        self.scores = scores
        self.wanted = wanted  # connections of our own choice to aim for (SLOT-1)
        self.partners: Callable[[], Collection[str]] = tuple  # peers that we want all connections to (SLOT-4)
        self.empty = 0  # slots of our own without a connection, at the keeper's last look
        self.missing: set[str] = set()  # partners without a connection, at that look
        self.counts = Counter[str]()  # dials and searches since the start
        self.door = door
        self.policy = policy
        self.me = str(host.get_id())
        self.book = AddressBook(self.me)
        self.start = secrets.token_bytes(_START_BYTES)  # of this run: it tells a restart from a copy of the key
        self.verified: set[str] = set()
        self.since: dict[str, float] = {}  # when a connection was first seen
        self.dropped: set[str] = set()  # ended by our caller: not dialled again as lost
        self.mute: set[str] = set()  # connected, but without a greeting: a client of another kind
        self.troubles: OrderedDict[str, Trouble] = OrderedDict()
        self.bootstrap: tuple[tuple[str, str], ...] = ()  # (peer, address) that the user named
        self.twin = ""  # a sentence, when another peer runs with our key
        self._twins = Twins()
        self._dialling: Counter[str] = Counter()
        self.chosen: set[str] = set()  # connected, or being dialled, on purpose
        self.outside = Outside(self.me)
        self.dialler = Dialler(self)
        self.carriers: set[str] = set()  # at the keeper's last look, and since
        self.is_lodger: Callable[[str], bool] = lambda peer: False  # whether we are its relay
        self.greets = True  # False: a stranger that does not know the network's id yet
        door.chosen = self.wants
        door.connections = self.held

    # -- facts

    def connected(self) -> tuple[str, ...]:
        """Connected peers that have greeted with our network id, sorted."""
        return tuple(sorted(self.verified & self.linked()))

    def linked(self) -> set[str]:
        """All connected peers."""
        return {str(peer) for peer in self.host.get_connected_peers()}

    def bound(self) -> tuple[str, ...]:
        """The multiaddrs that this host listens on."""
        return reach.texts(self.host.get_addrs())

    def ports(self) -> dict[bool, int]:
        """By whether it is IPv6: the first port that this host listens on."""
        return {family: port for family, port in map(reach.family_and_port, reversed(self.bound())) if port}

    def addresses(self) -> tuple[str, ...]:
        """Where others can dial us, with /p2p/ID."""
        own = reach.dialable(self.bound(), reach.interface_hosts())
        return self.outside.to_name(own, trio.current_time())

    def held(self) -> list[Held]:
        """All connections, for the door."""
        out, now = [], trio.current_time()
        for name, one in self.table():
            group = group_at(one.muxed_conn)
            dialled = "OUTBOUND" in str(one.direction).upper()
            mine = dialled and name in self.chosen
            ours = mine or (dialled and self.door.valued(name))
            stays = mine or self.carries(name) or self.dear(name) or self.is_lodger(name)
            out.append(Held(name, group, self.since.get(name, now), name in self.verified, stays, ours))
        return out

    def table(self) -> list[tuple[str, Any]]:
        """(peer, connection) of each of the library's connections."""
        return [(str(peer), one) for peer, found in list(self.host.get_network().connections.items()) for one in found]

    def note_carriers(self) -> None:
        """See which relays our connections lead through."""
        self.carriers = {relay_at(one.muxed_conn) for _, one in self.table()} - {""}

    def carries(self, peer: str) -> bool:
        """Whether `peer` is a relay through which a connection of ours leads, or is about to."""
        return peer in self.carriers or peer in self.dialler.through

    def wants(self, peer: str) -> bool:
        """Whether we want a connection to `peer` ourselves."""
        return peer in self.chosen or self.carries(peer) or self.dear(peer)

    def candidates(self) -> int:
        """Peers of the book that may be dialled for a slot, now or later."""
        out = self.linked() | self.dropped | self.left_alone(trio.current_time()) | {self.me}
        return sum(peer not in out for peer, _, _, _ in self.book.entries())

    def dear(self, peer: str) -> bool:
        """Whether it is a validator, our relay, or was named by the user: its connection stays, and is dialled again
        when it was lost, whichever side dialled it first."""
        is_ours = peer in self.outside.holding.places or any(peer == name for name, _ in self.bootstrap)
        return is_ours or self.door.valued(peer)

    def left_alone(self, now: float) -> set[str]:
        """Peers that are not dialled now: they told us so, or are of another network."""
        return {peer for peer, trouble in self.troubles.items() if trouble.until > now}

    # -- dialling

    async def dial(self, peer: str, addresses: tuple[str, ...], *, chosen: bool = False) -> None:
        """Connect and greet.

        chosen: we want this peer, so its connection does not make room for a newcomer; at most MAX_CHOSEN are chosen.
        Raises Unavailable, or the RemoteProtocolError with which the other side refuses us.
        """
        now, linked = trio.current_time(), peer in self.linked()
        if peer == self.me:
            raise own_key()
        ban = self.scores.ban(peer, now)
        if ban is not None:
            raise Unavailable(
                f"this peer is banned for another {ban[0]:.0f} s: {ban[1]}", field="peer", code="banned",
            )
        fresh = chosen and not linked and peer not in self.chosen and len(self.chosen) < MAX_CHOSEN
        self._dialling[peer] += 1
        self.counts["dials"] += not linked
        self.chosen.update([peer] if fresh else ())
        try:
            if not linked:
                await self.dialler.connect(peer, addresses)
            if self.greets and peer not in self.verified:
                await self.greet(peer)
        except FolkmootError as error:
            if not linked:
                self.counts["failed"] += 1
                self.book.dialled(peer, False, trio.current_time(), company=bool(self.verified))
            self.note_trouble(peer, error)
            raise
        finally:
            self._dialling[peer] -= 1
            self.forget_chosen()
        self.dropped.discard(peer)
        if not linked:
            self.book.dialled(peer, True, now)

    def forget_chosen(self) -> None:
        """Keep in `chosen` only peers that are connected or being dialled."""
        self._dialling += Counter()
        self.chosen &= self.linked() | set(self._dialling)

    async def disconnect(self, peer: str) -> None:
        """End the connection on our caller's wish; the peer is not dialled again as lost."""
        self.dropped.add(peer)
        self.verified.discard(peer)
        self.door.partings.say(peer, Why.ASKED)
        await drop_connection(self.host, ID.from_string(peer))

    def note_trouble(self, peer: str, error: FolkmootError) -> None:
        """Keep the reason why `peer` is not connected, and log it once."""
        old = self.troubles.pop(peer, None)
        if old is not None and old.by_them and old.until > trio.current_time():
            self.troubles[peer] = old  # the reason that the peer itself gave is the better one
            return
        self.troubles[peer] = Trouble(old.until if old is not None else 0.0, error.code, error.message)
        if old is None or old.code != error.code:
            log.warning("no connection to %s: %s", peer, error.message)
        self._bound_troubles()

    def _bound_troubles(self) -> None:
        while len(self.troubles) > MAX_TROUBLES:
            self.troubles.popitem(last=False)

    # -- greeting

    async def greet(self, peer: str) -> None:
        """Greet a connected peer, and learn whom it knows. Raises FolkmootError where it does not accept us."""
        self.counts["greetings"] += 1
        stream = await self.open_raw(peer, PEERS_PROTOCOL, HELLO_TIMEOUT_S)
        try:
            await stream.send(pack_hello(self.network, self.addresses(), self.start))
            reply = parse_reply(await stream.receive(limit=MAX_HELLO, timeout_s=HELLO_TIMEOUT_S))
        except FolkmootError:
            await stream.reset()
            said = self.troubles.get(peer)
            if said is not None and said.by_them and said.until > trio.current_time():
                raise RemoteProtocolError(said.message, field="peer", code=said.code, penalty=0) from None
            raise
        await stream.close()
        if isinstance(reply, Refusal):
            error = RemoteProtocolError(reply.message, field=reply.field, code=reply.code, penalty=0)
            await self.leave_alone(peer, error, by_them=True)
            raise error
        self._believe(peer, reply.addresses, reply.start)
        if reply.twin:
            self._say_twin(peer)
        for entry in reply.peers:
            if entry.peer != self.me:
                self._hear(entry.peer, entry.addresses, peer)

    async def answer(self, stream: Stream) -> None:
        """The answering side of a greeting or a goodbye, on a stream of PEERS_PROTOCOL."""
        try:
            opening = parse_opening(await stream.receive(limit=MAX_HELLO, timeout_s=HELLO_TIMEOUT_S), self.network)
        except RemoteProtocolError as error:
            await stream.send(pack_refusal(error))
            await stream.close()
            if error.code in ("wrong_network", "other_genesis", "version"):
                await trio.sleep(DELIVERY_S)  # the refusal must arrive before the connection ends
                await self.leave_alone(stream.peer, error)
                return
            raise
        if isinstance(opening, Goodbye):
            await self._told_off(stream.peer, opening)
            return
        twin = self._believe(stream.peer, opening.addresses, opening.start)
        others = [p for p in self.connected() if p != stream.peer]
        random.shuffle(others)
        entries = tuple(Entry(peer, addresses) for peer, addresses in self.book.share(others))
        await stream.send(pack_welcome(self.addresses(), entries, self.start, twin=twin))

    def _believe(self, peer: str, addresses: tuple[str, ...], start: bytes) -> bool:
        """`peer` greeted, so it is of our network and says where it listens. True: another peer greets with its key."""
        remote, now = host_of_peer(self.host, peer), trio.current_time()
        self.verified.add(peer)
        self.mute.discard(peer)
        self.troubles.pop(peer, None)
        claimed = [bare_address(raw, peer) or "" for raw in seen_addresses(addresses, remote)]
        named = [a for a in claimed if may_name(a, remote)]
        self.book.learn(peer, named, Rank.TOLD, now=now)
        self._show_in_dht(peer, [a for a in named if relay_in(a)])
        twin = self._twins.heard(peer, start, now)
        if twin:
            log.warning(
                "two peers greet with the key %s, one of them from %s; a folder may have been copied. Both were told",
                peer, remote,
            )
        return twin

    def _hear(self, peer: str, addresses: Iterable[str], source: str) -> None:
        """`source` says where `peer` listens: hearsay."""
        near = host_of_peer(self.host, source)
        bare = (bare_address(raw, peer) or "" for raw in addresses)
        self.book.learn(peer, [a for a in bare if may_name(a, near)], source=source)

    def _show_in_dht(self, peer: str, ways: list[str]) -> None:
        """Name `ways`, through its relays, where others search for `peer`: the library knows only what it listens
        on."""
        if ways:
            made = [Multiaddr(f"{way}/p2p/{peer}") for way in ways]
            self.host.get_peerstore().add_addrs(ID.from_string(peer), made, int(RESERVATION_S))

    def _say_twin(self, witness: str) -> None:
        if not self.twin:
            log.warning(
                "ANOTHER PEER RUNS WITH THIS PEER'S KEY (seen by %s). Two peers that sign with one key contradict each"
                " other and lose their collateral. If this folder is a copy, stop one of them", witness,
            )
        self.twin = f"another peer runs with this peer's key, says {witness}: stop one of the two"

    # -- parting

    async def leave_alone(
        self, peer: str, error: RemoteProtocolError, *, by_them: bool = False, seconds: float = BAN_S,
    ) -> None:
        """End the connection and do not dial again for `seconds`, at most MAX_REFUSED_S. by_them: the peer asked for
        it."""
        old = self.troubles.pop(peer, None)
        until = trio.current_time() + min(seconds, MAX_REFUSED_S)
        self.troubles[peer] = Trouble(until, error.code, error.message, by_them)
        self._bound_troubles()
        if old is None or old.code != error.code:
            log.warning("%s %s: %s", peer, "refuses us" if by_them else "is refused", error.message)
        self.verified.discard(peer)
        self.door.partings.say(peer, Why.REFUSED, error.message)
        await drop_connection(self.host, ID.from_string(peer))

    async def _told_off(self, peer: str, goodbye: Goodbye) -> None:
        error = RemoteProtocolError(
            f"it refuses us for {goodbye.seconds} s ({goodbye.code}): {goodbye.message}",
            field="peer", code=goodbye.code, penalty=0,
        )
        await self.leave_alone(peer, error, by_them=True, seconds=goodbye.seconds)
        self.book.lost(peer, trio.current_time() + goodbye.seconds, dear=self.dear(peer))

    # -- streams

    async def open_raw(self, peer: str, protocol: str, timeout_s: float = STREAM_OPEN_TIMEOUT_S) -> Stream:
        """A stream to a connected peer; agreed on, or to be agreed on by its first frames (opening.py). Raises
        Unavailable."""
        try:
            with fail_after(timeout_s):
                raw, opening = await begin(self.host, ID.from_string(peer), protocol, timeout_s)
        except Exception as error:  # the library raises many types; all mean that there is no stream
            raise no_stream(peer, protocol, type(error).__name__) from error
        stream = Stream(raw, peer, self.door.intake(raw.muxed_conn, group_at(raw.muxed_conn)), opening=opening)
        if not opening.is_known:
            try:
                await stream.agreed()
            except BaseException as error:
                await stream.reset()
                if isinstance(error, Unavailable):
                    raise no_stream(peer, protocol, error.message) from error
                raise
        return stream

    async def find(self, peer: str) -> tuple[str, ...]:
        """Addresses of `peer` from our book. The DHT is asked where the book has none, or they are stale (BOOK-9)."""
        known = self.book.addresses(peer)
        if known and not self.book.stale(peer):
            return known
        with move_on_after(DHT_TIMEOUT_S):
            try:
                found = await self.dht.find_peer(ID.from_string(peer))
            except Exception as error:  # the DHT client decodes answers of other peers; any error means not found
                log.debug("DHT search for %s: %r", peer, error)
                found = None
            if found is not None:
                self.learn_from_dht(peer, found.addrs)
        return self.book.addresses(peer)

    def learn_from_dht(self, peer: str, addresses: Iterable[Any]) -> None:
        """Learn hearsay of nobody in particular; of its private addresses only those that REACH-2 allows."""
        near = near_scopes(self.host)
        bare = [a for raw in reach.texts(addresses) if (a := bare_address(raw, peer)) is not None]
        self.book.learn(peer, [a for a in bare if may_name(a, None) or all_near(scope_at(a), near)], source="dht")
