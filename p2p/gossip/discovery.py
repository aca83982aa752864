"""Finding peers and keeping them. Law: one bootstrap address is enough; a dead peer is noticed.

Rule DISC-1: addresses come from greetings and from the DHT; both are hearsay until dialled. DISC-2: a peer is
`verified` once it has greeted with our network id; others may be clients, but are neither counted nor named to others.
DISC-3: two missed pings end a connection. DISC-4: lost peers are dialled again within seconds.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import trio
from libp2p.host.ping import ID as PING_PROTOCOL
from libp2p.host.ping import perform_ping_roundtrip
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from p2p.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.gossip.book import AddressBook, seen_addresses
from p2p.gossip.guards import drop_connection, reset_quietly
from p2p.gossip.handshake import (
    Entry,
    Refusal,
    pack_hello,
    pack_refusal,
    pack_welcome,
    parse_hello,
    parse_reply,
)
from p2p.gossip.score import Scores
from p2p.gossip.streams import Stream
from p2p.gossip.topics import PEERS_PROTOCOL
from p2p.keys import NetworkId
from p2p.limits import (
    BAN_S,
    DHT_INTERVAL_S,
    DHT_REFRESH_TIMEOUT_S,
    DIAL_TIMEOUT_S,
    EXCHANGE_INTERVAL_S,
    HELLO_TIMEOUT_S,
    MAX_HELLO,
    PING_INTERVAL_S,
    PING_MISSES,
    PING_TIMEOUT_S,
    STREAM_OPEN_TIMEOUT_S,
)

log = logging.getLogger(__name__)
_TICK_S = 0.5
_DIALS_AT_ONCE = 4
_EARLY_ROUNDS = 6  # quick rounds of exchange and DHT after the start


class Discovery:
    """Connections of one host: who is verified, where others are, whom to dial."""

    def __init__(self, host: Any, dht: Any, network: NetworkId, scores: Scores, wanted: int) -> None:
        self.host = host
        self.dht = dht
        self.network = network
        self.scores = scores
        self.wanted = wanted
        self.book = AddressBook()
        self.me = str(host.get_id())
        self.verified: set[str] = set()
        self._greeting: set[str] = set()
        self._dialling: set[str] = set()
        self._refused: dict[str, float] = {}  # peers of other networks, until when they are left alone
        self._dropped: set[str] = set()  # ended by us: not sought again as lost
        self._misses: dict[str, int] = {}
        self._mute: set[str] = set()  # connected, but does not speak the greeting: a client of another kind

    # -- facts

    def connected(self) -> tuple[str, ...]:
        return tuple(sorted(self.verified & self.linked()))

    def linked(self) -> set[str]:
        return {str(peer) for peer in self.host.get_connected_peers()}

    def addresses(self) -> tuple[str, ...]:
        return _texts(self.host.get_addrs())

    # -- dialling

    async def dial(self, peer: str, addresses: tuple[str, ...]) -> None:
        """Connect and greet. Raises Unavailable, or the RemoteProtocolError the other side refuses us with."""
        now = trio.current_time()
        if self.scores.banned(peer, now):
            raise Unavailable("the peer is banned for now", field="peer", code="banned")
        if peer not in self.linked():
            await self._connect(peer, addresses)
        if peer not in self.verified:
            await self.greet(peer)
        self._dropped.discard(peer)
        self.book.dialled(peer, True, now)

    async def _connect(self, peer: str, addresses: tuple[str, ...]) -> None:
        target = ID.from_string(peer)
        self.host.get_network().unblock_peer(target)  # it remembers a failed dial for a minute
        try:
            with trio.fail_after(DIAL_TIMEOUT_S):
                await self.host.connect(PeerInfo(target, [Multiaddr(a) for a in addresses]))
        except Exception as error:  # the library's dial raises many types; all mean the same to the caller
            self.book.dialled(peer, False, trio.current_time())
            raise Unavailable(f"cannot connect to {peer}: {type(error).__name__}", field="peer", code="dial") from error

    async def disconnect(self, peer: str) -> None:
        self._dropped.add(peer)
        self.verified.discard(peer)
        await drop_connection(self.host, ID.from_string(peer))

    # -- greeting

    async def greet(self, peer: str) -> None:
        """Ask a connected peer for its network and its peers."""
        stream = await self.open_raw(peer, PEERS_PROTOCOL, HELLO_TIMEOUT_S)
        try:
            await stream.send(pack_hello(self.network, self.addresses()))
            reply = parse_reply(await stream.receive(limit=MAX_HELLO, timeout_s=HELLO_TIMEOUT_S))
        except FolkmootError:
            await stream.reset()
            raise
        await stream.close()
        if isinstance(reply, Refusal):
            await self._refuse(peer)
            raise RemoteProtocolError(reply.message, field=reply.field, code=reply.code, penalty=0)
        self._believe(peer, reply.addresses, _remote_host(self.host, peer))
        for entry in reply.peers:
            if entry.peer != self.me:
                self.book.learn(entry.peer, entry.addresses)

    async def answer(self, stream: Stream) -> None:
        """The serving side of a greeting."""
        try:
            hello = parse_hello(await stream.receive(limit=MAX_HELLO, timeout_s=HELLO_TIMEOUT_S), self.network)
        except RemoteProtocolError as error:
            await stream.send(pack_refusal(error))
            await stream.close()
            if error.code in ("wrong_network", "version"):
                await trio.sleep(_TICK_S)  # let the refusal arrive before the connection goes
                await self._refuse(stream.peer)
                return
            raise
        self._believe(stream.peer, hello.addresses, _remote_host(self.host, stream.peer))
        others = [p for p in self.connected() if p != stream.peer]
        random.shuffle(others)
        entries = tuple(Entry(peer, addresses) for peer, addresses in self.book.share(others))
        await stream.send(pack_welcome(self.addresses(), entries))

    def _believe(self, peer: str, addresses: tuple[str, ...], remote_host: str | None) -> None:
        self.verified.add(peer)
        self._mute.discard(peer)
        self.book.learn(peer, seen_addresses(addresses, remote_host), first_hand=True)

    async def _refuse(self, peer: str) -> None:
        self._refused[peer] = trio.current_time() + BAN_S
        await self.disconnect(peer)

    async def open_raw(self, peer: str, protocol: str, timeout_s: float = STREAM_OPEN_TIMEOUT_S) -> Stream:
        """A stream to a connected peer."""
        try:
            with trio.fail_after(timeout_s):
                raw = await self.host.new_stream(ID.from_string(peer), [protocol])
        except Exception as error:  # negotiation raises many types; all mean that the stream is not to be had
            raise Unavailable(
                f"cannot open {protocol} to {peer}: {type(error).__name__}", field="stream", code="stream"
            ) from error
        return Stream(raw, peer)

    async def find(self, peer: str) -> tuple[str, ...]:
        """Addresses of `peer`: our own book, or the DHT."""
        known = self.book.addresses(peer)
        if known:
            return known
        with trio.move_on_after(DHT_REFRESH_TIMEOUT_S):
            try:
                found = await self.dht.find_peer(ID.from_string(peer))
            except Exception as error:  # the DHT client trusts its peers' answers; any error means not found
                log.debug("DHT search for %s: %r", peer, error)
                found = None
            if found is not None:
                self.book.learn(peer, _texts(found.addrs))
        return self.book.addresses(peer)

    # -- background tasks

    async def run(self, bootstrap: tuple[tuple[str, str], ...]) -> None:
        """All background tasks, each restarted when it fails."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._supervise, lambda: self.keep_connected(bootstrap, nursery))
            for task in (self.exchange, self.feed_dht, self.ping_all):
                nursery.start_soon(self._supervise, task)

    async def _supervise(self, task: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await task()
            except Exception:  # the supervisor's edge: one task's failure must not end the host
                log.exception("a discovery task failed and starts again")
            await trio.sleep(_TICK_S)

    async def keep_connected(self, bootstrap: tuple[tuple[str, str], ...], nursery: trio.Nursery) -> None:
        """Each tick: forget the gone, greet the new, dial what is missing."""
        for peer, address in bootstrap:
            self.book.learn(peer, [address])
        while True:
            now, linked = trio.current_time(), self.linked()
            for peer in self.verified - linked:
                self.verified.discard(peer)
                if peer not in self._dropped:
                    self.book.lost(peer, now)
            self._mute &= linked
            self._refused = {p: until for p, until in self._refused.items() if until > now}
            for peer in linked:
                if self.scores.banned(peer, now) or peer in self._refused:
                    nursery.start_soon(self.disconnect, peer)
                elif not {peer} & (self.verified | self._greeting | self._mute):
                    self._greeting.add(peer)
                    nursery.start_soon(self._greet_new, peer)
            missing = self.wanted - len(self.verified) - len(self._dialling)
            excluded = linked | self._dialling | self._dropped | set(self._refused) | {self.me}
            for peer in self.book.to_dial(excluded, now, wanted=missing)[: _DIALS_AT_ONCE - len(self._dialling)]:
                if not self.scores.banned(peer, now):
                    self._dialling.add(peer)
                    nursery.start_soon(self._dial_known, peer)
            await trio.sleep(_TICK_S * random.uniform(0.7, 1.3))  # jitter, not a secret

    async def _greet_new(self, peer: str) -> None:
        try:
            await trio.sleep(_TICK_S)  # the side that dialled greets first
            if peer in self.linked() and peer not in self.verified:
                await self.greet(peer)
        except FolkmootError as error:
            log.debug("greeting %s: %s", peer, error)
            self._mute.add(peer)
        finally:
            self._greeting.discard(peer)

    async def _dial_known(self, peer: str) -> None:
        try:
            await self.dial(peer, self.book.addresses(peer))
        except FolkmootError as error:
            log.debug("dialling %s: %s", peer, error)
            self.book.dialled(peer, False, trio.current_time())
        finally:
            self._dialling.discard(peer)

    async def exchange(self) -> None:
        """Ask a random peer again whom it knows: often while connections are missing."""
        early = _EARLY_ROUNDS
        while True:
            short = len(self.connected()) < self.wanted
            await trio.sleep(1.0 if short and early > 0 else EXCHANGE_INTERVAL_S / 3 if short else EXCHANGE_INTERVAL_S)
            early -= 1
            peers = self.connected()
            if peers:
                try:
                    await self.greet(random.choice(peers))  # any will do
                except FolkmootError as error:
                    log.debug("exchange: %s", error)

    async def feed_dht(self) -> None:
        """The DHT's table is fed by nobody else; then it is asked, and what it knows is written into the book."""
        rounds = 0
        while True:
            await trio.sleep(2.0 if rounds < _EARLY_ROUNDS // 2 else DHT_INTERVAL_S)
            rounds += bool(self.connected())
            with trio.move_on_after(DHT_REFRESH_TIMEOUT_S):
                try:
                    for peer in self.connected():
                        await self.dht.add_peer(ID.from_string(peer))
                    if self.connected():
                        await self.dht.refresh_routing_table()
                except Exception as error:  # answers of other peers are decoded in there; a bad one ends the round only
                    log.debug("DHT refresh: %r", error)
            store = self.host.get_peerstore()
            for target in self.dht.routing_table.get_peer_ids():
                if str(target) in self.verified or target not in set(store.peers_with_addrs()):
                    continue
                self.book.learn(str(target), _texts(store.addrs(target)))

    async def ping_all(self) -> None:
        """DISC-3. Yamux has no keep-alive: a stopped process stays connected for ever otherwise."""
        while True:
            await trio.sleep(PING_INTERVAL_S)
            self._misses = {p: n for p, n in self._misses.items() if p in self.linked()}
            async with trio.open_nursery() as nursery:
                for peer in self.linked():
                    nursery.start_soon(self._ping, peer)

    async def _ping(self, peer: str) -> None:
        raw = None
        try:
            with trio.fail_after(PING_TIMEOUT_S):
                raw = await self.host.new_stream(ID.from_string(peer), [PING_PROTOCOL])
                await perform_ping_roundtrip(raw)
                await raw.close()
            self._misses.pop(peer, None)
        except Exception as error:  # whatever went wrong, there was no pong
            if raw is not None:
                await reset_quietly(raw)
            self._misses[peer] = self._misses.get(peer, 0) + 1
            log.debug("no pong from %s (%d): %r", peer, self._misses[peer], error)
            if self._misses[peer] >= PING_MISSES:
                self._misses.pop(peer, None)
                await drop_connection(self.host, ID.from_string(peer))


def _texts(addresses: Iterable[Any]) -> tuple[str, ...]:
    """Addresses as text, without those that cannot be read: peers put any bytes into the library's tables."""
    out = []
    for address in addresses:
        try:
            out.append(str(address))
        except Exception as error:  # multiaddr raises its own types and its codecs'
            log.debug("an address that cannot be read: %r", error)
    return tuple(out)


def _remote_host(host: Any, peer: str) -> str | None:
    for connection in host.get_network().get_connections(ID.from_string(peer)):
        remote = getattr(connection.muxed_conn, "get_remote_address", lambda: None)()
        if remote:
            return str(remote[0])
    return None
