"""Repairs py-libp2p 0.8.1.

Law: another release is refused, and each repair has a test.

Stock, any connected peer can end the process with a few bytes, and a listener accepts no more after 250 connections in
its life. The repairs are called G-1, G-3, G-6, G-10 to G-13, G-15, G-16 and G-18 to G-22, here, in guarded_tables.py,
pulse.py, turns.py and in tests/gossip; the other numbers were repairs of its pubsub, which is not used any more.
`install` patches classes once per process; the other functions repair one host. When libp2p changes, read this file
against it, run the tests, then change VERSION.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any, Final

import multiaddr.exceptions
import trio
from google.protobuf.message import DecodeError
from libp2p.crypto.exceptions import CryptographyError
from libp2p.exceptions import BaseLibp2pError, ParseError
from libp2p.io.exceptions import IncompleteReadError, MessageTooLarge
from libp2p.io.trio import TrioTCPStream
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.protocol_muxer.exceptions import MultiselectError
from libp2p.stream_muxer.yamux import yamux as yamux_module
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream
from libp2p.transport.tcp import tcp

from p2p.base.errors import ConfigError
from p2p.base.limits import (
    BUDGETS,
    DISCONNECT_TIMEOUT_S,
    FRAME_TIMEOUT_S,
    KIB,
    LIBRARY_STREAM_S,
    MAX_CONNECTIONS,
    MAX_STREAM_WINDOW,
)
from p2p.gossip.connections import pulse, turns
from p2p.gossip.connections.budget import group_of, relay_of
from p2p.gossip.connections.door import MARK, Door, Intake
from p2p.gossip.connections.failures import NO_ROOM
from p2p.gossip.connections.guarded_tables import bound_tables
from p2p.gossip.connections.opening import accept
from p2p.gossip.connections.reach import DialPolicy, scope_of
from p2p.machine.deadlines import fail_after, strain

VERSION: Final = "0.8.1"
_MARK: Final = "_folkmoot_guarded"
_READ: Final = "_folkmoot_read_ahead"
REMOTE: Final = "_folkmoot_remote"  # attribute of a connection with the IP address at its other end
RELAYED: Final = "_folkmoot_relayed"  # attribute of a relayed connection with its group (GROUP-3)
_AHEAD: Final = 16 * KIB  # bytes
log = logging.getLogger(__name__)

# What a decoder raises for wrong bytes. Any other error is a fault of this program, whoever sent the bytes.
DECODING: Final = (
    ValueError, struct.error, multiaddr.exceptions.Error, DecodeError, ParseError, MessageTooLarge, IncompleteReadError,
    CryptographyError, MultiselectError,
)
# The connection is gone, or never came up.
LOST: Final = (
    BaseLibp2pError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, OSError, EOFError,
)
Report = Callable[[str, BaseException], None]  # (peer, error that its bytes caused)


def check_version(found: str | None = None) -> None:
    """Raises ConfigError unless libp2p is the release that these repairs are for. found: instead of the installed
    one."""
    found = version("libp2p") if found is None else found
    if found != VERSION:
        raise ConfigError(
            f"libp2p {found} is installed, the repairs are for {VERSION}: install libp2p=={VERSION}, or check"
            " p2p/gossip/connections/guards.py against the new release",
            field="libp2p",
        )


def install() -> None:
    """Patch the library's classes, once per process. Raises ConfigError for another release."""
    check_version()
    if getattr(Swarm, _MARK, False):
        return
    setattr(Swarm, _MARK, True)
    # Strangers cause its warnings and tracebacks with bad bytes, and could fill the disk with them.
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    _release_inbound_slots()
    _batch_window_updates()
    _read_ahead()
    _bound_bodies()
    _own_the_sockets()
    bound_tables()
    pulse.install()
    turns.install()


def _release_inbound_slots() -> None:
    """G-1: an inbound connection gives its limiter token back when it closes; stock, it kept it for ever.

    Stock, sockets that had not proved a key also took the places of connections. They have their own places, time and
    order now (door.py).
    """
    stock, stock_out = Swarm.upgrade_inbound_raw_conn, Swarm.upgrade_outbound_raw_conn

    async def upgrade(self: Any, raw_conn: Any, address: Any) -> Any:
        door: Door | None = getattr(self, MARK, None)
        if door is None:
            muxed = await stock(self, raw_conn, address)
        else:
            group = group_at(raw_conn)
            async with door.knock(host_of(raw_conn), group, partial(_first_byte, raw_conn)):
                muxed = await stock(self, raw_conn, address)
            _pass_on_group(raw_conn, muxed)
            door.intake(muxed, group).attach(door.charge)
            if not door.admit(str(muxed.peer_id), group):
                door.leaving.add(str(muxed.peer_id))  # it is told why before its connection ends
        closed = getattr(muxed, "event_closed", None)
        if closed is None:
            return muxed
        await closed.wait()
        # The caller's own error path frees the token, the task and the socket.
        raise ConnectionAbortedError("the inbound connection ended")

    async def upgrade_out(self: Any, raw_conn: Any, peer_id: Any, pre_scope: Any = None) -> Any:
        connection = await stock_out(self, raw_conn, peer_id, pre_scope)
        door: Door | None = getattr(self, MARK, None)
        if door is not None:
            group = group_at(raw_conn)
            _pass_on_group(raw_conn, connection.muxed_conn)
            door.intake(connection.muxed_conn, group).attach(door.charge)
            if not door.admit(str(peer_id), group):
                await end_connection(self, peer_id)
                raise SwarmException(NO_ROOM)
        return connection

    Swarm.upgrade_inbound_raw_conn = upgrade
    Swarm.upgrade_outbound_raw_conn = upgrade_out


async def _first_byte(raw_conn: Any) -> None:
    sock = getattr(getattr(raw_conn.stream, "stream", None), "socket", None)
    if sock is not None:
        await trio.lowlevel.wait_readable(sock)


def _batch_window_updates() -> None:
    """G-3: send a WINDOW_UPDATE for each half window; stock, every one-byte read sent one, encrypted."""

    async def update(self: Any, *, bytes_read: int = 0) -> None:
        self._pending_recv_release += bytes_read
        half = self.target_recv_window // 2
        if self._pending_recv_release < half:
            return
        async with self.window_lock:
            credit = self._pending_recv_release
            if credit < half:
                return
            self._pending_recv_release = 0
            self.recv_window += credit
            credit += self._apply_autotune_epoch(len(self.conn.stream_buffers.get(self.stream_id, b"")))
        await self.send_window_update(credit)

    YamuxStream._auto_tune_and_send_window_update = update


def _read_ahead() -> None:
    """G-18: read what has arrived at once; stock, each frame cost four reads of the socket, each with a lock and a turn
    of the event loop. What is read ahead is at most _AHEAD bytes of a connection."""
    stock = TrioTCPStream.read

    async def read(self: Any, n: int | None = None) -> bytes:
        ahead: bytearray = self.__dict__.setdefault(_READ, bytearray())
        if not ahead:
            if not n:
                return bytes(await stock(self, n))
            ahead += await stock(self, max(n, _AHEAD))
        part = bytes(ahead[:n])
        del ahead[: len(part)]
        return part

    TrioTCPStream.read = read


def _bound_bodies() -> None:
    """G-10: bytes that nobody has read yet are counted as their sender's (Intake); too many end the connection.

    Stock, a stream's receive window was announced but not enforced, so any stream took any number of bytes, and a
    window grew to 16 MiB. An announced body must now arrive within FRAME_TIMEOUT_S.
    """
    stock = Yamux._read_data_body

    async def body(self: Any, length: int) -> bytes:
        intake: Intake | None = self.__dict__.get(MARK)
        if intake is not None:
            intake.heard_at = trio.current_time()
            intake.arrive(length)
        return bytes(await stock(self, length))

    Yamux._read_data_body = body
    yamux_module.MAX_WINDOW_SIZE = MAX_STREAM_WINDOW
    yamux_module._yamux_data_read_timeout = lambda: FRAME_TIMEOUT_S * strain()


def _own_the_sockets() -> None:
    """G-11: a listening socket has its port alone, and IPv6 peers have an address. G-12: what may be dialled is
    checked.

    Stock, SO_REUSEPORT let two peers of one user listen on one port, the remote address of an IPv6 socket was None,
    names were resolved without the system's resolver, and any address was dialled.
    """
    tcp._set_reuse_flags = own_socket

    def remote(self: Any) -> tuple[str, int] | None:
        if self._cached_remote_address is None:
            try:
                host, port = self.stream.socket.getpeername()[:2]
                self._cached_remote_address = (str(host), int(port))
            except (AttributeError, OSError, ValueError):  # closed already, or not an IP socket
                return None
        found: tuple[str, int] = self._cached_remote_address
        return found

    async def dial(self: Any, address: Any) -> Any:
        policy: DialPolicy | None = getattr(self, MARK, None)
        if policy is None:
            return await self._dial_resolved(address)
        return await self._dial_resolved(await policy.checked(address))

    TrioTCPStream.get_remote_address = remote
    tcp.TCP.dial = dial


def own_socket(sock: Any) -> None:
    """Set a listening socket's flags: its port is not shared, and an IPv6 address does not accept IPv4."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


def host_of(connection: Any) -> str | None:
    """The IP address at the other end; None for a relayed connection. An IPv4 address mapped into IPv6 is returned as
    IPv4."""
    known: str | None = getattr(connection, REMOTE, None)  # it never changes, and is asked for twice a second
    if known is None and (remote := getattr(connection, "get_remote_address", lambda: None)()):
        known = str(remote[0]).partition("%")[0].removeprefix("::ffff:")
        setattr(connection, REMOTE, known)
    return known


def group_at(connection: Any) -> str:
    """The address group at the other end of a raw or multiplexed connection."""
    relayed: str | None = getattr(connection, RELAYED, None)
    return group_of(host_of(connection)) if relayed is None else relayed


def relay_at(connection: Any) -> str:
    """The relay that a connection leads through; empty for a direct one."""
    return relay_of(getattr(connection, RELAYED, ""))


def _pass_on_group(raw_conn: Any, muxed: Any) -> None:
    relayed = getattr(raw_conn, RELAYED, None)
    if relayed is not None:
        setattr(muxed, RELAYED, relayed)


def host_of_peer(host: Any, peer: str) -> str | None:
    """The IP address from which a connected peer is connected, or None."""
    for connection in host.get_network().get_connections(ID.from_string(peer)):
        found = host_of(connection.muxed_conn)
        if found:
            return found
    return None


def near_scopes(host: Any) -> frozenset[str]:
    """The scopes (reach.py) of the addresses from which peers are connected."""
    hosts: dict[Any, str] = {}
    for peer, found in host.get_network().connections.items():
        for one in found:
            hosts[peer] = hosts.get(peer) or host_of(one.muxed_conn) or ""
    return frozenset(map(scope_of, hosts.values()))


def set_door(host: Any, door: Door, policy: DialPolicy) -> None:
    """Give one host its door and its dial policy."""
    swarm = host.get_network()
    setattr(swarm, MARK, door)
    setattr(host.get_peerstore(), MARK, swarm.connections)
    swarm.set_resource_manager(None)  # it leaks a place for each handshake that is cut off; the door counts instead
    swarm._inbound_limiter = trio.CapacityLimiter(MAX_CONNECTIONS * 2 + BUDGETS["half open"].total)
    for transport in swarm.transport_manager.get_transports():
        setattr(transport, MARK, policy)


def guard_streams(host: Any, door: Door, admit: Callable[[str], bool], report: Report) -> None:
    """G-6: an exception in an inbound stream resets that stream; stock, it ended the host.

    That holds for negotiation, identify, the DHT and our handlers. A stream is reset unread where admit(peer) is False
    (banned), above the budgets of its peer or address group, and while its peer owes work.
    """
    stock, budgets = host._swarm_stream_handler, door.budgets

    async def guarded(stream: Any) -> None:
        peer, now = str(stream.muxed_conn.peer_id), trio.current_time()
        group = group_at(stream.muxed_conn)
        valued = door.valued(peer)
        too_many = not budgets.requests.allows(peer, group, now, valued=valued)
        owes = too_many or not budgets.work.allows(peer, group, now, valued=valued)
        with budgets.streams.held(peer, group) as has_place:
            if owes or not has_place or not admit(peer):
                # Only the peer's own requests cost it points, not those of its address group.
                if too_many and not valued and budgets.requests.is_over(peer, now):
                    report(peer, StreamLimit("more streams in a second than any honest peer opens"))
                await reset_quietly(stream)
                return
            budgets.requests.spend(peer, group, 1, now, valued=valued)  # a refused stream costs its group nothing
            try:
                await accept(host, stream, stock)
            except Exception as error:  # G-6; trio.Cancelled passes
                report(peer, error)
                await reset_quietly(stream)

    host.get_network().set_stream_handler(guarded)


def bound_handlers(host: Any) -> None:
    """G-15: give the library's handlers, which are all that are set so far, a timeout; stock, they wait for ever for a
    silent peer."""
    for protocol, handler in list(host.multiselect.handlers.items()):
        if handler is not None:
            host.multiselect.handlers[protocol] = _timed(handler)


def _timed(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def run(stream: Any) -> None:
        with fail_after(LIBRARY_STREAM_S):
            await handler(stream)

    return run


class StreamLimit(Exception):
    """A stream was refused because its peer opens too many."""


async def reset_quietly(stream: Any) -> None:
    """Reset a stream that may be broken already. A stream that stays open keeps a dead connection alive."""
    with trio.CancelScope(shield=True), trio.move_on_after(DISCONNECT_TIMEOUT_S):
        try:
            await stream.reset()
        except Exception:  # resetting a broken stream may fail in any way, and nothing depends on it
            return


async def drop_connection(host: Any, peer: Any) -> None:
    """End all connections to a peer, even to one that takes no bytes."""
    await end_connection(host.get_network(), peer)


async def end_connection(swarm: Any, peer: Any) -> None:
    """As drop_connection, for a swarm: afterwards the peer is not in its table."""
    with trio.CancelScope(shield=True), trio.move_on_after(DISCONNECT_TIMEOUT_S):
        try:
            await swarm.close_peer(peer)
        except Exception as error:  # the library's close paths raise anything; the lines below clean the table
            log.debug("disconnecting %s: %r", peer, error)
    for connection in swarm.get_connections(peer):
        muxed = getattr(connection, "muxed_conn", None)
        if muxed is not None and hasattr(muxed, "event_closed"):
            muxed.event_closed.set()
    swarm.connections.pop(peer, None)
