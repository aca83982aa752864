"""Connections of one host: dialling, greeting, hearing. Law: one bootstrap address is enough, and nothing fails without its reason.

Rule DISC-1: addresses come from greetings and from the DHT; both are hearsay until dialled. DISC-2: a peer is
`verified` once it has greeted with our network id; others may be clients, but are neither counted nor named to others.
"""

from __future__ import annotations

import logging
import random
import secrets
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import trio
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from p2p.base.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.base.keys import NetworkId
from p2p.base.limits import (
    BAN_S,
    DHT_REFRESH_TIMEOUT_S,
    DIAL_TIMEOUT_S,
    HELLO_TIMEOUT_S,
    MAX_CHOSEN,
    MAX_HELLO,
    MAX_REFUSED_S,
    MAX_TROUBLES,
    STREAM_OPEN_TIMEOUT_S,
)
from p2p.gossip.book import AddressBook, Rank, bare_address, seen_addresses
from p2p.gossip.budget import Held, group_of
from p2p.gossip.door import Door
from p2p.gossip.failures import explain
from p2p.gossip.guards import drop_connection, host_of
from p2p.gossip.handshake import (
    Entry,
    Goodbye,
    Refusal,
    pack_hello,
    pack_refusal,
    pack_welcome,
    parse_opening,
    parse_reply,
)
from p2p.gossip.reach import DialPolicy, all_near, dialable, interface_hosts, may_name, resolve, scope_at, scope_of
from p2p.gossip.score import Scores, Twins
from p2p.gossip.streams import Stream
from p2p.gossip.topics import PEERS_PROTOCOL

log = logging.getLogger(__name__)
DIALLING = "dialling"  # no reason yet
DELIVERY_S = 0.5  # for the last words to arrive before the connection goes


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a peer is not connected. until: it is left alone so long; by_them: it told us so."""

    until: float
    code: str
    message: str
    by_them: bool = False


class Discovery:
    """Connections of one host: who is verified, where others are, whom to leave alone."""

    def __init__(self, host: Any, dht: Any, network: NetworkId, scores: Scores, wanted: int, door: Door, policy: DialPolicy) -> None:
        self.host = host
        self.dht = dht
        self.network = network
        self.scores = scores
        self.wanted = wanted
        self.door = door
        self.policy = policy
        self.book = AddressBook()
        self.me = str(host.get_id())
        self.start = secrets.token_bytes(8)
        self.verified: set[str] = set()
        self.since: dict[str, float] = {}  # when a connection was first seen
        self.dropped: set[str] = set()  # ended by our caller: not sought again as lost
        self.mute: set[str] = set()  # connected, but does not speak the greeting: a client of another kind
        self.troubles: OrderedDict[str, Trouble] = OrderedDict()
        self.bootstrap: tuple[tuple[str, str], ...] = ()
        self.twin = ""  # who saw another peer with our key, and where
        self._twins = Twins()
        self._dialling: Counter[str] = Counter()
        self.chosen: set[str] = set()  # connected, or dialled just now, because we want them
        door.chosen = lambda peer: peer in self.chosen or self.dear(peer)
        door.connections = self.held

    # -- facts

    def connected(self) -> tuple[str, ...]:
        return tuple(sorted(self.verified & self.linked()))

    def linked(self) -> set[str]:
        return {str(peer) for peer in self.host.get_connected_peers()}

    def bound(self) -> tuple[str, ...]:
        return texts(self.host.get_addrs())

    def addresses(self) -> tuple[str, ...]:
        """Where others may dial us, with /p2p/ID."""
        return dialable(self.bound(), interface_hosts())

    def held(self) -> list[Held]:
        """All connections, for the door."""
        out, now = [], trio.current_time()
        for peer, connections in list(self.host.get_network().connections.items()):
            name = str(peer)
            for one in connections:
                mine = "OUTBOUND" in str(one.direction).upper() and name in self.chosen
                group = group_of(host_of(one.muxed_conn))
                out.append(Held(name, group, self.since.get(name, now), name in self.verified, mine or self.dear(name)))
        return out

    def dear(self, peer: str) -> bool:
        """A validator, or one that the user named: its connection is kept, and sought when it was lost, whoever dialled it."""
        return self.door.valued(peer) or any(peer == name for name, _ in self.bootstrap)

    def left_alone(self, now: float) -> set[str]:
        """Peers that told us to stay away, or are of another network."""
        return {peer for peer, trouble in self.troubles.items() if trouble.until > now}

    # -- dialling

    async def dial(self, peer: str, addresses: tuple[str, ...], *, chosen: bool = False) -> None:
        """Connect and greet. chosen: because we want just this one, so its place is not given to a newcomer; of such there are at most MAX_CHOSEN.
        Raises Unavailable, or the RemoteProtocolError the other side refuses us with."""
        now, linked = trio.current_time(), peer in self.linked()
        if peer == self.me:
            raise own_key()
        ban = self.scores.ban(peer, now)
        if ban is not None:
            raise Unavailable(f"we ban this peer for another {ban[0]:.0f} s: {ban[1]}", field="peer", code="banned")
        fresh = chosen and not linked and peer not in self.chosen and len(self.chosen) < MAX_CHOSEN
        self._dialling[peer] += 1
        self.chosen.update([peer] if fresh else ())
        try:
            if not linked:
                await self._connect(peer, addresses)
            if peer not in self.verified:
                await self.greet(peer)
        except FolkmootError as error:
            if not linked:
                self.book.dialled(peer, False, trio.current_time())
            self.note_trouble(peer, error)
            raise
        finally:
            self._dialling[peer] -= 1
            self.forget_chosen()
        self.dropped.discard(peer)
        if not linked:
            self.book.dialled(peer, True, now)

    def forget_chosen(self) -> None:
        """A choice ends with its connection."""
        self._dialling += Counter()
        self.chosen &= self.linked() | set(self._dialling)

    async def _connect(self, peer: str, addresses: tuple[str, ...]) -> None:
        target = ID.from_string(peer)
        self.host.get_network().unblock_peer(target)  # it remembers a failed dial for a minute
        try:
            wanted: list[str] = []
            failed = Unavailable("no address is known", field="peer", code="unknown_peer")
            for address in addresses:
                try:
                    wanted += await resolve(address)
                except Unavailable as error:
                    failed = error
            if not wanted:
                raise failed
            store = self.host.get_peerstore()
            if target in store.peer_data_map:
                store.clear_addrs(target)  # only where we mean to dial, not where others say that it is
            with self.policy.meaning(wanted), trio.fail_after(DIAL_TIMEOUT_S):
                await self.host.connect(PeerInfo(target, [Multiaddr(a) for a in wanted]))
        except Exception as error:  # the library's dial raises many types; failures.py makes a sentence of each
            raise explain(error, peer, addresses) from error

    async def disconnect(self, peer: str) -> None:
        self.dropped.add(peer)
        self.verified.discard(peer)
        await drop_connection(self.host, ID.from_string(peer))

    def note_trouble(self, peer: str, error: FolkmootError) -> None:
        """Keep why, and say it once in the log."""
        old = self.troubles.pop(peer, None)
        if old is not None and old.by_them and old.until > trio.current_time():
            self.troubles[peer] = old  # what the peer itself said is the better reason
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
        """Ask a connected peer for its network and its peers."""
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
        """The serving side of a greeting, or of a goodbye."""
        try:
            opening = parse_opening(await stream.receive(limit=MAX_HELLO, timeout_s=HELLO_TIMEOUT_S), self.network)
        except RemoteProtocolError as error:
            await stream.send(pack_refusal(error))
            await stream.close()
            if error.code in ("wrong_network", "other_genesis", "version"):
                await trio.sleep(DELIVERY_S)  # let the refusal arrive before the connection goes
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
        """`peer` greeted: it is of our network, and says where it listens. True: another one greets with its key."""
        remote, now = host_of_peer(self.host, peer), trio.current_time()
        self.verified.add(peer)
        self.mute.discard(peer)
        self.troubles.pop(peer, None)
        claimed = (bare_address(raw, peer) or "" for raw in seen_addresses(addresses, remote))
        self.book.learn(peer, [a for a in claimed if may_name(a, remote)], Rank.TOLD)
        twin = self._twins.heard(peer, start, now)
        if twin:
            log.warning("two peers greet with the key %s, one of them from %s: a copied folder? Both were told", peer, remote)
        return twin

    def _hear(self, peer: str, addresses: Iterable[str], source: str) -> None:
        """Hearsay: `source` says where `peer` is."""
        near = host_of_peer(self.host, source)
        bare = (bare_address(raw, peer) or "" for raw in addresses)
        self.book.learn(peer, [a for a in bare if may_name(a, near)], source=source)

    def _say_twin(self, witness: str) -> None:
        if not self.twin:
            log.warning(
                "ANOTHER PEER RUNS WITH THIS PEER'S KEY (seen by %s). Is this folder a copy? Two that sign with one key contradict each other and"
                " lose their collateral: stop one of them", witness,
            )
        self.twin = f"another peer runs with this peer's key, says {witness}: stop one of the two"

    # -- parting

    async def leave_alone(self, peer: str, error: RemoteProtocolError, *, by_them: bool = False, seconds: float = BAN_S) -> None:
        """End the connection and do not dial again for a while."""
        old = self.troubles.pop(peer, None)
        self.troubles[peer] = Trouble(trio.current_time() + min(seconds, MAX_REFUSED_S), error.code, error.message, by_them)
        self._bound_troubles()
        if old is None or old.code != error.code:
            log.warning("%s %s: %s", peer, "refuses us" if by_them else "is refused", error.message)
        self.verified.discard(peer)
        await drop_connection(self.host, ID.from_string(peer))

    async def _told_off(self, peer: str, goodbye: Goodbye) -> None:
        error = RemoteProtocolError(
            f"it refuses us for {goodbye.seconds} s ({goodbye.code}): {goodbye.message}", field="peer", code=goodbye.code, penalty=0
        )
        await self.leave_alone(peer, error, by_them=True, seconds=goodbye.seconds)
        self.book.lost(peer, trio.current_time() + goodbye.seconds, dear=self.dear(peer))

    # -- streams

    async def open_raw(self, peer: str, protocol: str, timeout_s: float = STREAM_OPEN_TIMEOUT_S) -> Stream:
        """A stream to a connected peer."""
        try:
            with trio.fail_after(timeout_s):
                raw = await self.host.new_stream(ID.from_string(peer), [protocol])
        except Exception as error:  # negotiation raises many types; all mean that the stream is not to be had
            raise Unavailable(
                f"cannot open {protocol} to {peer}: {type(error).__name__}", field="stream", code="stream"
            ) from error
        return Stream(raw, peer, self.door.intake(raw.muxed_conn, host_of(raw.muxed_conn)))

    async def find(self, peer: str) -> tuple[str, ...]:
        """Addresses of `peer`: our own book, or the DHT; that too where the book has hearsay that failed."""
        known = self.book.addresses(peer)
        if known and not (self.book.rank(peer) is Rank.HEARSAY and self.book.failed(peer)):
            return known
        with trio.move_on_after(DHT_REFRESH_TIMEOUT_S):
            try:
                found = await self.dht.find_peer(ID.from_string(peer))
            except Exception as error:  # the DHT client trusts its peers' answers; any error means not found
                log.debug("DHT search for %s: %r", peer, error)
                found = None
            if found is not None:
                self.learn_from_dht(peer, found.addrs)
        return self.book.addresses(peer)

    def learn_from_dht(self, peer: str, addresses: Iterable[Any]) -> None:
        """Hearsay of nobody in particular: private addresses only where all our connections are that near."""
        near = frozenset(scope_of(host_of_peer(self.host, other) or "") for other in self.linked())
        bare = [a for raw in texts(addresses) if (a := bare_address(raw, peer)) is not None]
        self.book.learn(peer, [a for a in bare if may_name(a, None) or all_near(scope_at(a), near)], source="dht")

    # -- words

    def alone(self) -> str:
        """Why nobody is connected, as one sentence."""
        now, bootstrap = trio.current_time(), self.bootstrap
        reasons = [f"{address}: {t.message}" for peer, address in bootstrap if (t := self.troubles.get(peer)) is not None]
        reasons += [f"{p[:16]}...: {t.message}" for p, t in self.troubles.items() if t.until > now and p not in dict(bootstrap)][:3]
        if reasons:
            return "; ".join(reasons) + "; trying on"
        if not bootstrap and not len(self.book):
            return "no --bootstrap address and no peer is known: waiting to be dialled"
        return DIALLING

    def status(self) -> dict[str, Any]:
        """Bans of both directions, and what went wrong with whom."""
        now = trio.current_time()
        troubles = [
            {"peer": peer, "code": t.code, "message": t.message, "seconds": round(max(0.0, t.until - now)), "by_them": t.by_them}
            for peer, t in self.troubles.items()
        ]
        lone = "" if self.connected() else self.alone()
        return {
            "alone": lone, "banned": [{"peer": p, "seconds": round(left), "why": why} for p, (left, why) in self.scores.bans(now).items()],
            "refused_by": [t for t in troubles if t["by_them"]], "troubles": [t for t in troubles if not t["by_them"]], "twin": self.twin,
        }


def own_key() -> Unavailable:
    return Unavailable("this address names our own key: it is this peer itself, or a copy of its folder runs there", field="peer", code="own_key")


def texts(addresses: Iterable[Any]) -> tuple[str, ...]:
    """Addresses as text, without those that cannot be read: peers put any bytes into the library's tables."""
    out = []
    for address in addresses:
        try:
            out.append(str(address))
        except Exception as error:  # multiaddr raises its own types and its codecs'
            log.debug("an address that cannot be read: %r", error)
    return tuple(out)


def host_of_peer(host: Any, peer: str) -> str | None:
    """The address that a connected peer is seen at."""
    for connection in host.get_network().get_connections(ID.from_string(peer)):
        found = host_of(connection.muxed_conn)
        if found:
            return found
    return None
