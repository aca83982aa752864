"""The two ends of a circuit: a stream to a relay becomes a connection to the peer behind it.

Law: a relayed connection is secured like any other, so the relay moves bytes that it cannot read, and its word on who
is there counts for nothing.

- CIRCUIT-1: a peer accepts circuits only from relays at which it has a place. They are counted by GROUP-3.
- CIRCUIT-2: what the relay says that a circuit may take holds here too: this end closes it when that is used up.
- CIRCUIT-3: no circuit leads over another circuit.

py-libp2p's raw connection, Noise and Yamux do the rest, through the same guards as for a socket.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection
from typing import Any, Final

import trio
from libp2p.connection_types import ConnectionType
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2p.base.errors import Unavailable
from p2p.base.limits import CIRCUIT_SETUP_S, FRAME_TIMEOUT_S, KIB, MAX_CIRCUIT_MESSAGE
from p2p.gossip.connections.budget import relay_of, relayed_group
from p2p.gossip.connections.guards import RELAYED, group_at, host_of, reset_quietly
from p2p.gossip.connections.streams import Stream
from p2p.gossip.relays.messages import (
    Hop,
    HopType,
    Limit,
    Status,
    Stop,
    StopType,
    decode_hop,
    decode_stop,
    encode_hop,
    encode_stop,
    said,
)
from p2p.machine.deadlines import fail_after

log = logging.getLogger(__name__)
_AHEAD: Final = 16 * KIB  # bytes of one read


class Pipe:
    """The bytes of a stream that has become one side of a circuit."""

    __slots__ = ("_ahead", "_raw", "_use")

    def __init__(self, stream: Stream) -> None:
        self._ahead, self._raw = stream.detach()
        self._use = trio.CancelScope()  # cancelled at the end: the library leaves who reads a stream that is reset here

    async def read(self, most: int) -> bytes:
        """Up to `most` bytes; none at the end, whichever way it came."""
        if self._ahead:
            part, self._ahead = self._ahead[:most], self._ahead[most:]
            await trio.lowlevel.checkpoint()
            return part
        if self._use.cancel_called:
            return b""
        self._use = trio.CancelScope()
        try:
            with self._use:
                return bytes(await self._raw.read(most))
        except Exception as error:  # the library raises dozens of types; all mean that nothing more comes
            log.debug("a circuit ended: %r", error)
        return b""

    async def write(self, data: bytes) -> bool:
        """Whether it was taken in time; after that the pipe is of no use."""
        try:
            with fail_after(FRAME_TIMEOUT_S):
                await self._raw.write(data)
        except Exception as error:
            log.debug("a circuit takes nothing more: %r", error)
            return False
        return True

    async def end(self) -> None:
        """End it on both sides. Never raises."""
        self._use.cancel()
        await reset_quietly(self._raw)


class _End(ReadWriteCloser):  # type: ignore[misc]  # the library publishes no types
    """A pipe as the library takes a socket."""

    def __init__(self, pipe: Pipe, limit: Limit) -> None:
        self._pipe = pipe
        self._left = limit.data or math.inf  # CIRCUIT-2
        self._until = trio.current_time() + (limit.seconds or math.inf)
        self._buffer = bytearray()

    async def read(self, n: int | None = None) -> bytes:
        """As a socket: up to `n` bytes, none at the end."""
        if not self._buffer:
            chunk = b""
            with trio.move_on_at(self._until):
                chunk = await self._pipe.read(max(n or 0, _AHEAD))
            if not self._count(len(chunk)):
                chunk = b""
            if not chunk:
                await self._pipe.end()
                return b""
            self._buffer += chunk
        part = bytes(self._buffer[:n])
        del self._buffer[: len(part)]
        return part

    async def write(self, data: bytes) -> None:
        is_over = not self._count(len(data)) or trio.current_time() >= self._until
        if is_over or not await self._pipe.write(data):
            await self._pipe.end()
            raise ConnectionClosedError("the circuit ended, or what its relay allows is used up")

    async def close(self) -> None:
        await self._pipe.end()

    def get_remote_address(self) -> tuple[str, int] | None:
        return None  # the other end's address is not known here, and the relay's is not its address

    def _count(self, amount: int) -> bool:
        self._left -= amount
        return self._left >= 0


async def connect_through(swarm: Any, stream: Stream, target: str) -> None:
    """Connect to `target`. stream: of protocol HOP, to the relay. Raises Unavailable where the relay or the target does
    not agree, and what the library raises where the handshake fails."""
    wanted = Hop(HopType.CONNECT, peer=ID.from_string(target).to_bytes())
    await stream.send(encode_hop(wanted))
    answer = decode_hop(await stream.receive(limit=MAX_CIRCUIT_MESSAGE, timeout_s=2 * CIRCUIT_SETUP_S))
    if answer.kind is not HopType.STATUS or answer.status != Status.OK:
        raise Unavailable(
            f"relay {stream.peer} gives no way to {target}: {said(answer.status)}", field="peer", code="relay",
        )
    raw, way = _raw_connection(stream, answer.limit, initiator=True)
    try:
        connection = await swarm.upgrade_outbound_raw_conn(raw, ID.from_string(target))
    except BaseException:
        await raw.close()
        raise
    connection.set_transport_info([way], ConnectionType.RELAYED)


class Accepting:
    """The peer that has a place at relays."""

    def __init__(self, swarm: Any, relays: Callable[[], Collection[str]]) -> None:
        """relays: those at which it has one."""
        self._swarm, self._relays = swarm, relays

    async def serve(self, stream: Stream) -> None:
        """One stream of protocol STOP; it lasts as long as the circuit. Raises RemoteProtocolError, Unavailable."""
        message = decode_stop(await stream.receive(limit=MAX_CIRCUIT_MESSAGE, timeout_s=CIRCUIT_SETUP_S))
        refusal = self._refusal(stream, message)
        await stream.send(encode_stop(Stop(StopType.STATUS, refusal or Status.OK)))
        if refusal is not None:
            log.debug("a circuit by %s is refused: %s", stream.peer, refusal.name)
            return
        raw, way = _raw_connection(stream, message.limit, initiator=False)
        try:
            await self._swarm.upgrade_inbound_raw_conn(raw, way)  # raises when the connection has ended (guards.py)
        except Exception as error:  # as for a socket: a bad handshake raises anything, and nobody has proved a key yet
            log.debug("a circuit by %s ended: %r", stream.peer, error)
        finally:
            with trio.CancelScope(shield=True):
                await raw.close()

    def _refusal(self, stream: Stream, message: Stop) -> Status | None:
        if message.kind is not StopType.CONNECT:
            return Status.UNEXPECTED_MESSAGE
        if stream.peer not in self._relays() or is_relayed(stream):
            return Status.PERMISSION_DENIED
        return None


def is_relayed(stream: Stream) -> bool:
    """CIRCUIT-3: whether the stream itself comes through a relay."""
    return bool(relay_of(group_at(stream.connection)))


def _raw_connection(stream: Stream, limit: Limit, *, initiator: bool) -> tuple[Any, Any]:
    """The stream as a raw connection, and the way it takes as a multiaddr."""
    way = Multiaddr(f"/p2p/{stream.peer}/p2p-circuit")
    group = relayed_group(stream.peer, host_of(stream.connection))
    raw = RawConnection(_End(Pipe(stream), limit), initiator, ConnectionType.RELAYED, [way])
    setattr(raw, RELAYED, group)
    return raw, way
