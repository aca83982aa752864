"""Opens a network: the only way to libp2p for the rest of this package.

Law: nothing outside this room sees the library, and nothing that a peer sends ends the host.

`open_network` runs the host, gossip, the DHT and discovery for as long as its block lasts. Handlers run inside an
exception boundary: an error resets the stream, costs the peer points by its kind, and is logged.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.network.config import ConnectionConfig
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from p2p.base.errors import ConfigError, FolkmootError, LocalProtocolError, RemoteProtocolError, Unavailable
from p2p.base.keys import Key, NetworkId
from p2p.base.limits import BUDGETS, HALF_OPEN_S, MAX_CONNECTIONS, MAX_GOSSIP, MAX_STRETCH, OUTBOUND_SLOTS
from p2p.base.outcome import Outcome
from p2p.gossip.connections import guards
from p2p.gossip.connections.budget import Budgets
from p2p.gossip.connections.door import Door
from p2p.gossip.connections.meter import Meter
from p2p.gossip.connections.reach import DialPolicy, listen_addresses
from p2p.gossip.connections.score import RateLimit, Scores
from p2p.gossip.connections.status import NetworkStatus
from p2p.gossip.connections.streams import Stream
from p2p.gossip.connections.topics import PEERS_PROTOCOL, protocol_name, topic_name
from p2p.gossip.discovery.book import Rank, bare_address
from p2p.gossip.discovery.discovery import Discovery
from p2p.gossip.discovery.keeping import Keeper
from p2p.gossip.discovery.outside import Asking
from p2p.gossip.discovery.words import DIALLING, alone, status
from p2p.gossip.exchange import Exchange, Judge
from p2p.gossip.neighbours import PROTOCOLS, Neighbours
from p2p.gossip.relays import dial_back
from p2p.gossip.relays.circuit import Accepting
from p2p.gossip.relays.dial_back import DialBacks
from p2p.gossip.relays.messages import HOP, STOP
from p2p.gossip.relays.reachability import Verdict
from p2p.gossip.relays.service import RelayService
from p2p.gossipsub.params import Params, Priority, params_for
from p2p.gossipsub.router import Router

__all__ = ["DIALLING", "Network", "NetworkConfig", "open_network", "split_address"]
log = logging.getLogger(__name__)
TopicHandler = Callable[[str, bytes], Outcome]
StreamHandler = Callable[[Stream], Awaitable[None]]

_GARBAGE_POINTS = 10  # bytes that made a decoder raise
# A message that our handler refused: an honest forwarder would have refused it too. The ninth in a row bans, and no
# later: then the router's own score has its forwarder ignored (P4), and nothing more would be counted.
_INVALID_POINTS = 12
_EXCESS_POINTS = 1  # a stream more than any honest peer opens in a second
_MAX_WHY = 300  # characters of a ban's reason


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What a network is opened with."""

    key: Key  # of this peer
    network: NetworkId
    listen: tuple[str, ...]  # multiaddrs to bind; empty: a client that only dials
    bootstrap: tuple[str, ...]  # multiaddrs with /p2p/ID
    # joined in addition to those with handlers, the most important first: a slow neighbour misses the last ones first
    topics: tuple[str, ...] = ()
    expected_size: int = 4  # peers in the network; the mesh's degree depends on it
    min_connections: int = OUTBOUND_SLOTS  # that discovery dials of its own choice (SLOT-1)
    book: Path | None = None  # the file in which known peers are saved
    valued: Callable[[str], bool] = lambda peer: False  # peers (validators) whose connection never makes room
    partners: Callable[[], Collection[str]] = tuple  # peers that this one wants all connections to (SLOT-4)
    paid: frozenset[str] = frozenset()  # protocols whose work is paid for, so it is not charged to the CPU budget
    relay: bool = True  # whether it carries others' connections while others can dial it
    reachable: Verdict | None = None  # whether others can dial it; None: it asks them
    greets: bool = True  # False: a stranger that does not know the network's id yet, and only opens streams


class Network:
    """An open network: publish messages, open streams, see who is connected."""

    def __init__(
        self, config: NetworkConfig, exchange: Exchange, discovery: Discovery, relaying: RelayService,
    ) -> None:
        self._config = config
        self._relaying = relaying
        self._exchange = exchange
        self.discovery = self._discovery = discovery  # for this room alone
        self.peer_id = config.key.peer_id

    def addresses(self) -> tuple[str, ...]:
        """Multiaddrs with /p2p/ID that others can dial: the ports that are bound, on every interface where all are."""
        return self._discovery.addresses()

    def alone(self) -> str:
        """Why nobody is connected, as one sentence."""
        return alone(self._discovery)

    def status(self) -> NetworkStatus:
        """For `folkmoot status` (README.md)."""
        return status(self._discovery, self._exchange.status(), self._relaying)

    def connected(self) -> tuple[str, ...]:
        """Connected peers that have greeted with our network id."""
        return self._discovery.connected()

    async def publish(self, topic_short: str, data: bytes) -> None:
        """Send `data` to a topic, once: the same data again is the same message, and other peers' handlers do not get
        it. Raises LocalProtocolError above MAX_GOSSIP: others would refuse it."""
        if len(data) > MAX_GOSSIP:
            raise LocalProtocolError(
                f"{len(data)} bytes are too many for gossip: at most {MAX_GOSSIP}", field="data", code="too_large"
            )
        self._exchange.publish(topic_name(self._config.network, topic_short), data)
        await trio.lowlevel.checkpoint()

    async def connect(self, multiaddr: str) -> None:
        """Dial and greet a peer. Raises ConfigError for what is no address with /p2p/ID, Unavailable where nobody
        answers, RemoteProtocolError where the peer refuses us."""
        peer, address = split_address(multiaddr)
        await self._discovery.dial(peer, (address,), chosen=True)
        self._discovery.book.learn(peer, [address], Rank.REACHED)

    async def open_stream(self, peer_id: str, short: str) -> Stream:
        """A new stream of protocol `short` to a peer, which is dialled first where it is not connected. Raises
        Unavailable."""
        protocol = protocol_name(short)
        if peer_id == self.peer_id:
            raise LocalProtocolError("a peer cannot open a stream to itself", field="peer_id")
        if peer_id not in self._discovery.linked():
            addresses = await self._discovery.find(peer_id)
            if not addresses:
                raise Unavailable(f"no address of {peer_id} is known", field="peer_id", code="unknown_peer")
            await self._discovery.dial(peer_id, addresses, chosen=True)
        return await self._discovery.open_raw(peer_id, protocol)

    async def disconnect(self, peer_id: str) -> None:
        """End the connection. The peer is not dialled again in the background."""
        await self._discovery.disconnect(peer_id)


@asynccontextmanager
async def open_network(
    config: NetworkConfig, *, topic_handlers: Mapping[str, TopicHandler], stream_handlers: Mapping[str, StreamHandler]
) -> AsyncIterator[Network]:
    """Join a network for the length of a block.

    topic_handlers: short topic -> f(forwarder, data) -> Outcome. It is called once for each new message of others, and
    is validator and consumer in one. A message has no author: who signs, signs in its data. IGNORE: the message is not
    forwarded. REJECT: it is not forwarded, and its forwarder gets penalty points. stream_handlers: short protocol ->
    handler of one inbound stream.

    Raises ConfigError for addresses that are wrong or in use.
    """
    try:
        async with _opened(config, topic_handlers, stream_handlers) as network:
            yield network
    except BaseExceptionGroup as group:
        # Six nested nurseries wrap an error of the caller's block; the caller gets its own error back.
        raise _innermost(group) from None


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


@asynccontextmanager
async def _opened(
    config: NetworkConfig, topic_handlers: Mapping[str, TopicHandler], stream_handlers: Mapping[str, StreamHandler]
) -> AsyncIterator[Network]:
    guards.install()
    bootstrap = tuple(split_address(address) for address in config.bootstrap)
    listen = [_listen_address(address) for address in await listen_addresses(config.listen)]
    host = new_host(
        key_pair=create_new_key_pair(config.key.seed), listen_addrs=listen, connection_config=_connection_config()
    )
    assert str(host.get_id()) == config.key.peer_id
    door, policy = Door(Budgets()), DialPolicy()
    door.valued = config.valued
    judge = _Judge(config.key.peer_id, door)
    door.charge = judge.meter.charge
    guards.set_door(host, door, policy)
    guards.guard_streams(host, door, judge.admits, judge.report)
    exchange = _exchange(config, host, door, judge, topic_handlers)
    dht = KadDHT(host, DHTMode.SERVER if listen else DHTMode.CLIENT, max_peers_per_subnet=0)
    dht.strict_validation = True
    wanted = min(config.min_connections, MAX_CONNECTIONS)
    discovery = Discovery(host, dht, config.network, judge.scores, wanted, door, policy)
    discovery.bootstrap, discovery.partners = bootstrap, config.partners
    discovery.outside.known = config.reachable
    discovery.greets = config.greets
    relaying = _relay(config, host, door, discovery, judge)
    keeper = Keeper(discovery, bootstrap, config.book, Asking(discovery, relaying.places))
    guards.bound_handlers(host)
    for protocol in PROTOCOLS:
        host.set_stream_handler(protocol, exchange.serve)
    if config.greets:
        host.set_stream_handler(PEERS_PROTOCOL, judge.boundary(discovery.answer))
    for short, serve in stream_handlers.items():
        host.set_stream_handler(protocol_name(short), judge.boundary(serve, metered=short not in config.paid))
    async with host.run(listen_addrs=listen), background_trio_service(dht):
        _check_bound(host, listen)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exchange.run)
            nursery.start_soon(keeper.run)
            trio.lowlevel.add_instrument(judge.meter)
            try:
                yield Network(config, exchange, discovery, relaying)
            finally:
                trio.lowlevel.remove_instrument(judge.meter)
                nursery.cancel_scope.cancel()


def _exchange(
    config: NetworkConfig, host: Any, door: Door, judge: _Judge, handlers: Mapping[str, TopicHandler],
) -> Exchange:
    """The gossip of one host, which has joined all its topics."""
    topics = {short: topic_name(config.network, short) for short in (*handlers, *config.topics)}
    params = _gossip_params(config, topics)
    router = Router(params, random.Random(), me=config.key.peer_id)  # whom it picks is no secret
    for topic in topics.values():
        router.join(topic, trio.current_time())
    neighbours = Neighbours(
        host, router, door, tuple(topics.values()), lambda peer: judge.scores.points(peer, trio.current_time()),
        config.expected_size,
    )
    exchange = Exchange(router, neighbours, door, judge.report, judge.admits, params.heartbeat_s)
    for short, handler in handlers.items():
        exchange.judges[topics[short]] = judge.validator(topics[short], handler)
    return exchange


def _relay(config: NetworkConfig, host: Any, door: Door, discovery: Discovery, judge: _Judge) -> RelayService:
    """What this host does for peers that can only dial out, and accepts of relays."""
    outside, swarm = discovery.outside, host.get_network()

    def is_open() -> bool:
        return config.relay and outside.verdict(trio.current_time()) is Verdict.OPEN

    is_ours = discovery.verified.__contains__
    service = RelayService(door, discovery.open_raw, discovery.addresses, is_open, is_ours)
    discovery.is_lodger = service.places.has
    accepting = Accepting(swarm, lambda: outside.holding.places)
    backs = DialBacks(swarm, door, discovery.policy)
    for protocol, serve in (
        (HOP, service.serve), (STOP, accepting.serve), (protocol_name(dial_back.PROTOCOL), backs.serve),
    ):
        host.set_stream_handler(protocol, judge.boundary(serve))
    return service


def _gossip_params(config: NetworkConfig, topics: Mapping[str, str]) -> Params:
    least = len(Priority) - 1
    order = {short: Priority(min(place, least)) for place, short in enumerate(config.topics)}
    priorities = {topic: order.get(short, Priority.TRANSACTIONS) for short, topic in topics.items()}
    return params_for(config.expected_size, priorities=priorities)


class _Judge:
    """Turns errors into penalty points, and points into admission."""

    def __init__(self, me: str, door: Door) -> None:
        self._me = me
        self._door = door
        self.scores = Scores()
        self.meter = Meter(door)

    def admits(self, peer: str) -> bool:
        """False for a banned peer."""
        return not self.scores.banned(peer, trio.current_time())

    def report(self, peer: str, error: BaseException) -> None:
        """An error that came while the bytes of `peer` were handled, from the library or from a handler."""
        if isinstance(error, RemoteProtocolError):
            points = error.penalty
        elif isinstance(error, guards.StreamLimit):
            points = _EXCESS_POINTS
        elif isinstance(error, guards.DECODING) and not isinstance(error, FolkmootError | OSError | EOFError):
            points = _GARBAGE_POINTS
        else:
            points = 0  # the connection was lost, or the fault is ours, the library's or a client's
            if not isinstance(error, FolkmootError) and not isinstance(error, guards.LOST):
                log.warning("a fault of this program with a stream of %s: %s", peer, type(error).__name__)
        self._penalise(peer, points, f"{type(error).__name__}: {error}")
        log.debug("from %s: %s: %s", peer, type(error).__name__, error)

    def _penalise(self, peer: str, points: int, why: str) -> None:
        if points and self.scores.penalise(peer, points, trio.current_time(), why[:_MAX_WHY]):
            log.warning("banned %s for a while: %s", peer, why)

    def validator(self, topic: str, handler: TopicHandler) -> Judge:
        """The judge of one topic. A handler that fails costs nobody points."""
        rate = RateLimit()  # RATE-1: of this topic alone

        def outcome_of(forwarder: str, data: bytes) -> Outcome:
            now = trio.current_time()
            if not rate.allows(forwarder, now):
                return Outcome.IGNORE
            try:
                outcome = handler(forwarder, data)
            except Exception:  # a bug in a handler must neither end the host nor ban the forwarder
                log.exception("the handler of %s", topic)
                return Outcome.IGNORE
            if outcome is Outcome.ACCEPT:
                rate.spend(forwarder, now)
            if outcome is Outcome.REJECT:
                self._penalise(forwarder, _INVALID_POINTS, f"gossip on {topic} that is wrong for everybody")
            return outcome

        return outcome_of

    def boundary(self, serve: StreamHandler, *, metered: bool = True) -> Callable[[Any], Awaitable[None]]:
        """The exception boundary around one stream handler.

        The handler's CPU is charged to its peer: until it ends where `metered`, else until it calls Stream.paid.
        """

        async def run(raw: Any) -> None:
            intake = self._door.intake(raw.muxed_conn, guards.group_at(raw.muxed_conn))
            peer, task = str(raw.muxed_conn.peer_id), trio.lowlevel.current_task()
            stream = Stream(raw, peer, intake, ours=False, pace_s=lambda: self._door.pace_s(peer))
            self.meter.charge(task, peer, intake.group)
            if not metered:
                stream.on_paid = lambda: self.meter.release(task)
            try:
                await serve(stream)
            except Exception as error:  # a handler's failure ends its stream, never the host
                if not isinstance(error, FolkmootError):
                    log.exception("handler of a stream from %s", stream.peer)
                    error = Unavailable("a handler failed", field="stream")  # our bug, not the peer's fault
                self.report(stream.peer, error)
                await stream.reset()
                return
            await stream.close()

        return run


def split_address(multiaddr: str) -> tuple[str, str]:
    """(peer id, address without it) of a multiaddr with /p2p/ID. Raises ConfigError that says what is wrong."""
    found = re.search(r"/p2p/([1-9A-HJ-NP-Za-km-z]{20,80})\Z", multiaddr)
    if found is None:
        raise ConfigError(f"{multiaddr!r} does not end in /p2p/<peer id>", field="multiaddr")
    address = bare_address(multiaddr, found[1])
    if address is None:
        raise ConfigError(
            f"{multiaddr!r} is not an address such as /ip4/1.2.3.4/tcp/4001/p2p/<peer id>", field="multiaddr",
        )
    return found[1], address


def _listen_address(address: str) -> Multiaddr:
    try:
        return Multiaddr(address)
    except Exception as error:  # multiaddr raises its own types, and those of its codecs
        raise ConfigError(f"cannot listen on {address!r}: {error}", field="listen") from error


def _check_bound(host: Any, listen: list[Multiaddr]) -> None:
    """Raises ConfigError for an address that was not bound: the library does not report it."""
    missing = [str(address) for address in listen if str(address) not in host.get_network().listeners]
    if missing:
        raise ConfigError(
            f"cannot listen on {', '.join(missing)}: another program may use the port; choose another with --listen",
            field="listen", code="listen",
        )


def _connection_config() -> ConnectionConfig:
    return ConnectionConfig(
        min_connections=0,
        low_watermark=0,  # the library's own dialling stays off: discovery dials
        high_watermark=MAX_CONNECTIONS * 2,  # and its pruning too: the door says which connection ends
        max_connections=MAX_CONNECTIONS * 2,
        max_connections_per_peer=BUDGETS["connections"].peer,
        inbound_upgrade_timeout=HALF_OPEN_S * MAX_STRETCH,  # the door's own limit comes first
    )
