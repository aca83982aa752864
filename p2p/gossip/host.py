"""Opens a network: the only way to libp2p for the rest of this package.

Law: nothing outside this room sees the library, and nothing that a peer sends ends the host.

`open_network` runs the host, gossip, the DHT and discovery for as long as its block lasts. Handlers run inside an
exception boundary: an error resets the stream, costs the peer points by its kind, and is logged.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.network.config import ConnectionConfig
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from p2p.base.errors import ConfigError, FolkmootError, LocalProtocolError, RemoteProtocolError, Unavailable
from p2p.base.keys import Key, NetworkId
from p2p.base.limits import BUDGETS, HALF_OPEN_S, MAX_CONNECTIONS, MAX_GOSSIP
from p2p.base.outcome import Outcome
from p2p.gossip import guards
from p2p.gossip.book import Rank, bare_address
from p2p.gossip.budget import Budgets
from p2p.gossip.discovery import DIALLING, Discovery
from p2p.gossip.door import Door
from p2p.gossip.guarded_pubsub import GuardedPubsub, trim_gossip
from p2p.gossip.keeping import Keeper
from p2p.gossip.meter import Meter
from p2p.gossip.reach import DialPolicy, listen_addresses
from p2p.gossip.score import RateLimit, Scores
from p2p.gossip.status import NetworkStatus
from p2p.gossip.streams import Stream
from p2p.gossip.topics import PEERS_PROTOCOL, protocol_name, topic_name
from p2p.gossip.wanted import send_to_wanted

__all__ = ["DIALLING", "Network", "NetworkConfig", "open_network", "split_address"]
log = logging.getLogger(__name__)
TopicHandler = Callable[[str, bytes], Outcome]
StreamHandler = Callable[[Stream], Awaitable[None]]

_GARBAGE_POINTS = 10  # bytes that made a decoder raise
_INVALID_POINTS = 10  # a message our validator refused: an honest forwarder would have refused it too
_EXCESS_POINTS = 1  # a stream more than any honest peer opens in a second
_MAX_WHY = 300  # characters of a ban's reason

# Parameters of gossipsub (specification v1.1): D is the network's size less one, between these two; then D_low, D_high.
_MESH_LEAST, _MESH_MOST = 3, 6
_MESH_LOW, _MESH_HIGH = 4, 12
_HEARTBEAT_FIRST_S, _HEARTBEAT_S = 0.1, 1
_PRUNE_BACKOFF_S = 10


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What a network is opened with."""

    key: Key  # of this peer
    network: NetworkId
    listen: tuple[str, ...]  # multiaddrs to bind; empty: a client that only dials
    bootstrap: tuple[str, ...]  # multiaddrs with /p2p/ID
    topics: tuple[str, ...] = ()  # joined in addition to those with handlers
    expected_size: int = 4  # peers in the network; the mesh's degree depends on it
    min_connections: int = 4  # that discovery aims for
    book: Path | None = None  # the file in which known peers are saved
    valued: Callable[[str], bool] = lambda peer: False  # peers (validators) whose connection never makes room
    paid: frozenset[str] = frozenset()  # protocols whose work is paid for, so it is not charged to the CPU budget


class Network:
    """An open network: publish messages, open streams, see who is connected."""

    def __init__(self, config: NetworkConfig, pubsub: Any, discovery: Discovery) -> None:
        self._config = config
        self._pubsub = pubsub
        self._discovery = discovery
        self.peer_id = config.key.peer_id

    def addresses(self) -> tuple[str, ...]:
        """Multiaddrs with /p2p/ID that others can dial: the ports that are bound, on every interface where all are."""
        return self._discovery.addresses()

    def alone(self) -> str:
        """Why nobody is connected, as one sentence."""
        return self._discovery.alone()

    def status(self) -> NetworkStatus:
        """For `folkmoot status` (README.md)."""
        return self._discovery.status()

    def connected(self) -> tuple[str, ...]:
        """Connected peers that have greeted with our network id."""
        return self._discovery.connected()

    async def publish(self, topic_short: str, data: bytes) -> None:
        """Send `data` to a topic. Raises LocalProtocolError above MAX_GOSSIP: the library would lose it silently."""
        if len(data) > MAX_GOSSIP:
            raise LocalProtocolError(
                f"{len(data)} bytes are too many for gossip: at most {MAX_GOSSIP}", field="data", code="too_large"
            )
        await self._pubsub.publish(topic_name(self._config.network, topic_short), data)

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

    topic_handlers: short topic -> f(author, data) -> Outcome. It is called once for each new message of others, and is
    validator and consumer in one. IGNORE: the message is not forwarded. REJECT: it is not forwarded, and its forwarder
    gets penalty points. stream_handlers: short protocol -> handler of one inbound stream.

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
    gossip = _gossip(config.expected_size)
    trim_gossip(gossip)
    topics = {short: topic_name(config.network, short) for short in (*topic_handlers, *config.topics)}
    pubsub = GuardedPubsub(host, gossip, judge.report, judge.admits, door, allowed_topics=frozenset(topics.values()))
    send_to_wanted(gossip, door.wants)
    for short, handler in topic_handlers.items():
        pubsub.judges[topics[short]] = judge.validator(handler)
    dht = KadDHT(host, DHTMode.SERVER if listen else DHTMode.CLIENT, max_peers_per_subnet=0)
    dht.strict_validation = True
    wanted = min(config.min_connections, MAX_CONNECTIONS)
    discovery = Discovery(host, dht, config.network, judge.scores, wanted, door, policy)
    discovery.bootstrap = bootstrap
    keeper = Keeper(discovery, bootstrap, config.book)
    guards.bound_handlers(host, frozenset(gossip.get_protocols()))
    host.set_stream_handler(PEERS_PROTOCOL, judge.boundary(discovery.answer))
    for short, serve in stream_handlers.items():
        host.set_stream_handler(protocol_name(short), judge.boundary(serve, metered=short not in config.paid))
    async with host.run(listen_addrs=listen), background_trio_service(gossip), background_trio_service(pubsub):
        async with background_trio_service(dht):
            _check_bound(host, listen)
            await pubsub.wait_until_ready()
            for topic in topics.values():
                await pubsub.subscribe(topic)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keeper.run)
                trio.lowlevel.add_instrument(judge.meter)
                try:
                    yield Network(config, pubsub, discovery)
                finally:
                    trio.lowlevel.remove_instrument(judge.meter)
                    nursery.cancel_scope.cancel()


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

    def validator(self, handler: TopicHandler) -> Callable[[str, Any], Outcome]:
        """The judge of one topic, for messages with a good signature. A handler that fails costs nobody points."""
        rate = RateLimit()  # RATE-1: of this topic alone

        def outcome_of(forwarder: str, message: Any) -> Outcome:
            author, now = str(ID(message.from_id)), trio.current_time()
            if self.scores.banned(author, now) or not rate.allows(author, now):
                return Outcome.IGNORE
            try:
                outcome = handler(author, bytes(message.data))
            except Exception:  # a bug in a handler must neither end the host nor ban the forwarder
                log.exception("the handler of %s", message.topicIDs[0])
                return Outcome.IGNORE
            if outcome is Outcome.ACCEPT:
                rate.spend(author, now)  # only for accepted messages: anybody can repeat an author's old ones
            if outcome is Outcome.REJECT:
                why = f"gossip on {message.topicIDs[0]} that is wrong for everybody"
                self._penalise(forwarder, _INVALID_POINTS, why)
            return outcome

        return outcome_of

    def boundary(self, serve: StreamHandler, *, metered: bool = True) -> Callable[[Any], Awaitable[None]]:
        """The exception boundary around one stream handler.

        The handler's CPU is charged to its peer: until it ends where `metered`, else until it calls Stream.paid.
        """

        async def run(raw: Any) -> None:
            intake = self._door.intake(raw.muxed_conn, guards.host_of(raw.muxed_conn))
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
        inbound_upgrade_timeout=HALF_OPEN_S,
    )


def _gossip(expected_size: int) -> GossipSub:
    degree = max(_MESH_LEAST, min(_MESH_MOST, expected_size - 1))
    return GossipSub(
        [PROTOCOL_ID_V11],
        degree,
        min(_MESH_LOW, degree),
        _MESH_HIGH,
        heartbeat_initial_delay=_HEARTBEAT_FIRST_S,
        heartbeat_interval=_HEARTBEAT_S,
        prune_back_off=_PRUNE_BACKOFF_S,
        adaptive_gossip_enabled=False,
        spam_protection_enabled=False,
        eclipse_protection_enabled=False,
    )
