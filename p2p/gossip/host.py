"""The one door to libp2p. Law: nothing outside this package sees the library; nothing a peer sends ends the host.

`open_network` owns the host, gossip, the DHT and discovery for as long as its block lasts. Handlers run inside an
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


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """listen: multiaddrs to bind (empty: a client that only dials). bootstrap: multiaddrs with /p2p/ID.

    topics: joined besides those that have handlers. min_connections: how many peers discovery aims for. book: the file in which known peers
    are kept. valued: whose connections are not given up for a newcomer's (validators). paid: protocols whose work is paid for in other ways than
    from the budget of CPU.
    """

    key: Key
    network: NetworkId
    listen: tuple[str, ...]
    bootstrap: tuple[str, ...]
    topics: tuple[str, ...] = ()
    expected_size: int = 4
    min_connections: int = 4
    book: Path | None = None
    valued: Callable[[str], bool] = lambda peer: False
    paid: frozenset[str] = frozenset()


class Network:
    """An open network: publish, streams, who is there."""

    def __init__(self, config: NetworkConfig, pubsub: Any, discovery: Discovery) -> None:
        self._config = config
        self._pubsub = pubsub
        self._discovery = discovery
        self.peer_id = config.key.peer_id

    def addresses(self) -> tuple[str, ...]:
        """Multiaddrs with /p2p/ID that others may dial: the ports really bound, of every interface where that is what was bound."""
        return self._discovery.addresses()

    def alone(self) -> str:
        """Why nobody is connected, as one sentence."""
        return self._discovery.alone()

    def status(self) -> dict[str, Any]:
        """budgets: how much of what is taken, of how much. banned, refused_by, troubles, alone, twin: each with its reason."""
        return {"budgets": self._discovery.door.status(), **self._discovery.status()}

    def connected(self) -> tuple[str, ...]:
        """Peers connected now that have greeted with our network id."""
        return self._discovery.connected()

    async def publish(self, topic_short: str, data: bytes) -> None:
        """Hand `data` to gossip. Raises LocalProtocolError above MAX_GOSSIP: the library would lose it silently."""
        if len(data) > MAX_GOSSIP:
            raise LocalProtocolError(
                f"{len(data)} bytes are too many for gossip: at most {MAX_GOSSIP}", field="data", code="too_large"
            )
        await self._pubsub.publish(topic_name(self._config.network, topic_short), data)

    async def connect(self, multiaddr: str) -> None:
        """Dial and greet. ConfigError: not an address. Unavailable: nobody there. RemoteProtocolError: refused."""
        peer, address = split_address(multiaddr)
        await self._discovery.dial(peer, (address,), chosen=True)
        self._discovery.book.learn(peer, [address], Rank.REACHED)

    async def open_stream(self, peer_id: str, short: str) -> Stream:
        """A new stream to a peer, connecting first when need be. Raises Unavailable."""
        protocol = protocol_name(short)
        if peer_id == self.peer_id:
            raise LocalProtocolError("a peer does not open streams to itself", field="peer_id")
        if peer_id not in self._discovery.linked():
            addresses = await self._discovery.find(peer_id)
            if not addresses:
                raise Unavailable(f"no address of {peer_id} is known", field="peer_id", code="unknown_peer")
            await self._discovery.dial(peer_id, addresses, chosen=True)
        return await self._discovery.open_raw(peer_id, protocol)

    async def disconnect(self, peer_id: str) -> None:
        """End the connection; the peer is not sought again until one side dials."""
        await self._discovery.disconnect(peer_id)


@asynccontextmanager
async def open_network(
    config: NetworkConfig, *, topic_handlers: Mapping[str, TopicHandler], stream_handlers: Mapping[str, StreamHandler]
) -> AsyncIterator[Network]:
    """Join a network.

    topic_handlers: short topic -> f(author, data) -> Outcome; called once for each new message of others, validator and
    consumer in one. IGNORE: not forwarded. REJECT: not forwarded, the forwarder loses points. stream_handlers: short protocol -> handler.
    """
    try:
        async with _opened(config, topic_handlers, stream_handlers) as network:
            yield network
    except BaseExceptionGroup as group:
        # Six nested nurseries wrap what the caller's block raised: give the caller its own error back.
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
    """Turns what went wrong into points, and points into admission."""

    def __init__(self, me: str, door: Door) -> None:
        self._me = me
        self._door = door
        self.scores = Scores()
        self.meter = Meter(door)

    def admits(self, peer: str) -> bool:
        return not self.scores.banned(peer, trio.current_time())

    def report(self, peer: str, error: BaseException) -> None:
        """An error caused by `peer`'s bytes, from below or from a handler."""
        if isinstance(error, RemoteProtocolError):
            points = error.penalty
        elif isinstance(error, guards.StreamLimit):
            points = _EXCESS_POINTS
        elif isinstance(error, guards.DECODING) and not isinstance(error, FolkmootError | OSError | EOFError):
            points = _GARBAGE_POINTS
        else:
            points = 0  # the way was lost, or the fault is ours, the library's or a client's
            if not isinstance(error, FolkmootError) and not isinstance(error, guards.LOST):
                log.warning("a fault that is not the peer's, with a stream of %s: %s", peer, type(error).__name__)
        self._penalise(peer, points, f"{type(error).__name__}: {error}")
        log.debug("from %s: %s: %s", peer, type(error).__name__, error)

    def _penalise(self, peer: str, points: int, why: str) -> None:
        if points and self.scores.penalise(peer, points, trio.current_time(), why[:300]):
            log.warning("banned %s for a while: %s", peer, why)

    def validator(self, handler: TopicHandler) -> Callable[[str, Any], Outcome]:
        """Of one topic; asked by gossip once the signature was checked. A handler that fails is our fault: nobody pays for it."""
        rate = RateLimit()  # RATE-1: of this topic alone

        def outcome_of(forwarder: str, message: Any) -> Outcome:
            author, now = str(ID(message.from_id)), trio.current_time()
            if self.scores.banned(author, now) or not rate.allows(author, now):
                return Outcome.IGNORE
            try:
                outcome = handler(author, bytes(message.data))
            except Exception:  # a bug here must neither end the host nor ban the messenger
                log.exception("the handler of %s", message.topicIDs[0])
                return Outcome.IGNORE
            if outcome is Outcome.ACCEPT:
                rate.spend(author, now)  # only now, for whoever likes may repeat what it once said
            if outcome is Outcome.REJECT:
                self._penalise(forwarder, _INVALID_POINTS, f"gossip on {message.topicIDs[0]} that is wrong for everybody")
            return outcome

        return outcome_of

    def boundary(self, serve: StreamHandler, *, metered: bool = True) -> Callable[[Any], Awaitable[None]]:
        """The exception boundary around one stream handler. Its CPU is counted as its peer's; metered: to its end, else until the handler says
        that it is paid for (Stream.paid)."""

        async def run(raw: Any) -> None:
            intake = self._door.intake(raw.muxed_conn, guards.host_of(raw.muxed_conn))
            peer, task = str(raw.muxed_conn.peer_id), trio.lowlevel.current_task()
            stream = Stream(raw, peer, intake, ours=False, pace_s=lambda: self._door.pace_s(peer))
            self.meter.charge(task, peer, intake.group)
            if not metered:
                stream.on_paid = lambda: self.meter.release(task)
            try:
                await serve(stream)
            except Exception as error:  # the supervisor's edge: a handler's failure ends its stream, never the host
                if not isinstance(error, FolkmootError):
                    log.exception("handler of a stream from %s", stream.peer)
                    error = Unavailable("a handler failed", field="stream")  # our bug, not the peer's fault
                self.report(stream.peer, error)
                await stream.reset()
                return
            await stream.close()

        return run


def split_address(multiaddr: str) -> tuple[str, str]:
    """(peer id, address without it). Raises ConfigError that names what is wrong."""
    found = re.search(r"/p2p/([1-9A-HJ-NP-Za-km-z]{20,80})\Z", multiaddr)
    if found is None:
        raise ConfigError(f"{multiaddr!r} does not end in /p2p/<peer id>", field="multiaddr")
    address = bare_address(multiaddr, found[1])
    if address is None:
        raise ConfigError(f"{multiaddr!r} is not like /ip4/1.2.3.4/tcp/4001/p2p/<peer id>", field="multiaddr")
    return found[1], address


def _listen_address(address: str) -> Multiaddr:
    try:
        return Multiaddr(address)
    except Exception as error:  # multiaddr raises its own and the codecs' types
        raise ConfigError(f"cannot listen on {address!r}: {error}", field="listen") from error


def _check_bound(host: Any, listen: list[Multiaddr]) -> None:
    """The library says nothing of an address that it could not bind."""
    missing = [str(address) for address in listen if str(address) not in host.get_network().listeners]
    if missing:
        raise ConfigError(f"cannot listen on {', '.join(missing)}: in use by another program?", field="listen", code="listen")


def _connection_config() -> ConnectionConfig:
    return ConnectionConfig(
        min_connections=0,
        low_watermark=0,  # the library's own auto-dialler stays off: discovery does it
        high_watermark=MAX_CONNECTIONS * 2,  # and so does its pruning: the door says who goes
        max_connections=MAX_CONNECTIONS * 2,
        max_connections_per_peer=BUDGETS["connections"].peer,
        inbound_upgrade_timeout=HALF_OPEN_S,
    )


def _gossip(expected_size: int) -> GossipSub:
    degree = max(3, min(6, expected_size - 1))
    return GossipSub(
        [PROTOCOL_ID_V11],
        degree,
        min(4, degree),
        12,
        heartbeat_initial_delay=0.1,
        heartbeat_interval=1,
        prune_back_off=10,
        adaptive_gossip_enabled=False,
        spam_protection_enabled=False,
        eclipse_protection_enabled=False,
    )
