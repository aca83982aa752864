"""Relays for others: gives places to peers that can only dial out, and carries circuits to them.

Law: it moves bytes and nothing else, within the limits of places.py, and both ends know these limits.

- RELAY-4: only a peer that others can dial relays (reachability.py); a relay that nobody reaches helps nobody.
- RELAY-5: a circuit ends after CIRCUIT_S or CIRCUIT_BYTES, or when one of its sides does. Bytes above the rate of
  limits.BUDGETS wait. The CPU that moving them takes is charged to the side that sends them.
- RELAY-6: neither places nor circuits are given over circuits (CIRCUIT-3).
- RELAY-7: only peers of our own network, which have greeted, have places: it is no relay for others' networks. Whoever
  wants to reach them need not have greeted, so a client of another kind may.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2p.base.errors import FolkmootError, RemoteProtocolError
from p2p.base.limits import CIRCUIT_S, CIRCUIT_SETUP_S, KIB, MAX_CIRCUIT_MESSAGE
from p2p.gossip.connections.door import Door
from p2p.gossip.connections.guards import group_at
from p2p.gossip.connections.streams import Stream
from p2p.gossip.relays.circuit import Pipe, is_relayed
from p2p.gossip.relays.messages import (
    OURS,
    STOP,
    Hop,
    HopType,
    Status,
    Stop,
    StopType,
    decode_hop,
    decode_stop,
    encode_hop,
    encode_stop,
)
from p2p.gossip.relays.places import Circuit, Places
from p2p.machine.deadlines import fail_after

log = logging.getLogger(__name__)
_CHUNK: Final = 64 * KIB  # bytes moved at once


class RelayService:
    """The relay of one host."""

    def __init__(
        self, door: Door, open_stream: Callable[[str, str], Awaitable[Stream]],
        addresses: Callable[[], tuple[str, ...]], is_open: Callable[[], bool], is_ours: Callable[[str], bool],
    ) -> None:
        """open_stream(peer, protocol): to a connected peer. addresses: where others can dial us. is_open: RELAY-4.
        is_ours: RELAY-7."""
        self._door, self._open_stream, self._is_ours = door, open_stream, is_ours
        self._addresses, self.is_open = addresses, is_open
        self.places = Places(door.budgets)
        self.circuits = 0  # open now

    async def serve(self, stream: Stream) -> None:
        """One stream of protocol HOP; of a circuit it lasts as long as the circuit. Raises RemoteProtocolError."""
        try:
            message = decode_hop(await stream.receive(limit=MAX_CIRCUIT_MESSAGE, timeout_s=CIRCUIT_SETUP_S))
        except RemoteProtocolError:
            await _answer(stream, Status.MALFORMED_MESSAGE)
            raise
        target = _peer_id(message.peer)
        if is_relayed(stream) or (message.kind is HopType.CONNECT and target == stream.peer):
            await _answer(stream, Status.PERMISSION_DENIED)
        elif message.kind is HopType.RESERVE:
            await self._reserve(stream)
        elif message.kind is HopType.CONNECT:
            await self._connect(stream, target)
        else:
            await _answer(stream, Status.UNEXPECTED_MESSAGE)

    async def _reserve(self, stream: Stream) -> None:
        now, until = trio.current_time(), None
        if self.is_open() and self._is_ours(stream.peer):
            group = group_at(stream.connection)
            until = self.places.reserve(stream.peer, group, now, valued=self._door.valued(stream.peer))
        if until is None:
            await _answer(stream, Status.RESERVATION_REFUSED)
            return
        expires = int(time.time() + until - now)
        addresses = tuple(Multiaddr(address).to_bytes() for address in self._addresses())
        await stream.send(encode_hop(Hop(HopType.STATUS, Status.OK, b"", expires, addresses, OURS)))

    async def _connect(self, stream: Stream, target: str) -> None:
        valued = self._door.valued(stream.peer)
        circuit = self.places.open(stream.peer, group_at(stream.connection), target, OURS.data, valued=valued)
        if isinstance(circuit, Status):
            await _answer(stream, circuit)
            return
        try:
            other = await self._knock(stream.peer, target)
            if other is None:
                await _answer(stream, Status.CONNECTION_FAILED)
                return
            await self._carry(circuit, stream, other)
        finally:
            self.places.close(circuit)

    async def _knock(self, source: str, target: str) -> Stream | None:
        """A stream to `target`, which has agreed to a circuit; None where there is none."""
        other: Stream | None = None
        try:
            with fail_after(CIRCUIT_SETUP_S):
                other = await self._open_stream(target, STOP)
                asked = Stop(StopType.CONNECT, peer=ID.from_string(source).to_bytes(), limit=OURS)
                await other.send(encode_stop(asked))
                answer = decode_stop(await other.receive(limit=MAX_CIRCUIT_MESSAGE, timeout_s=CIRCUIT_SETUP_S))
            if answer.kind is StopType.STATUS and answer.status == Status.OK:
                return other
            log.debug("%s does not accept a circuit of %s: %s", target, source, answer.status)
        except (FolkmootError, trio.TooSlowError) as error:
            log.debug("no circuit to %s: %s", target, error)
        if other is not None:
            await other.reset()
        return None

    async def _carry(self, circuit: Circuit, stream: Stream, other: Stream) -> None:
        """Move bytes both ways until RELAY-5 ends it."""
        there = group_at(other.connection)
        near: Pipe | None = None
        far = Pipe(other)
        self.circuits += 1
        try:
            await _answer(stream, Status.OK)
            near = Pipe(stream)
            with trio.move_on_after(CIRCUIT_S):
                async with trio.open_nursery() as nursery:

                    async def one_way(source: Pipe, target: Pipe, peer: str, group: str) -> None:
                        self._door.charge(trio.lowlevel.current_task(), peer, group)
                        await self._move(circuit, source, target)
                        nursery.cancel_scope.cancel()

                    nursery.start_soon(one_way, near, far, circuit.source, circuit.group)
                    nursery.start_soon(one_way, far, near, circuit.target, there)
        finally:
            self.circuits -= 1
            for pipe in (near, far):
                if pipe is not None:
                    await pipe.end()

    async def _move(self, circuit: Circuit, source: Pipe, target: Pipe) -> None:
        flow = self._door.budgets.relayed
        who: tuple[str, str] = (circuit.source, circuit.group)
        while (chunk := await source.read(_CHUNK)) and circuit.carry(len(chunk)):
            self.places.carried += len(chunk)
            now = trio.current_time()
            flow.spend(*who, len(chunk), now, valued=circuit.valued)
            if (pause_s := flow.wait_s(*who, now, valued=circuit.valued)) > 0:
                await trio.sleep(pause_s)
            if not await target.write(chunk):
                return


async def _answer(stream: Stream, status: Status) -> None:
    limit: Any = {"limit": OURS} if status is Status.OK else {}
    await stream.send(encode_hop(Hop(HopType.STATUS, status, **limit)))


def _peer_id(raw: bytes) -> str:
    try:
        return str(ID(raw)) if raw else ""
    except Exception as error:  # the library raises anything for what is no id
        raise RemoteProtocolError("not a peer id", field="peer", code="relay") from error


