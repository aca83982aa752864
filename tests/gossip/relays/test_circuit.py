"""The ends of a circuit and the relay between them, in memory: limits on both sides, and no relay that is not ours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID

from p2p.base.errors import RemoteProtocolError, Unavailable
from p2p.base.limits import CIRCUIT_S, CIRCUIT_SETUP_S, CIRCUITS_TO_PEER_FROM_GROUP
from p2p.gossip.connections.budget import Budgets, relayed_group
from p2p.gossip.connections.door import Door
from p2p.gossip.connections.guards import RELAYED
from p2p.gossip.relays import service
from p2p.gossip.relays.circuit import Accepting, Pipe, _End, connect_through
from p2p.gossip.relays.messages import (
    OURS,
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
)
from p2p.gossip.relays.service import RelayService
from tests.gossip.discovery.test_places import name

SOURCE, RELAY, HOST, OTHER = name(1), name(2), name(3), name(4)  # OTHER never greeted


class Bytes:
    """The library's stream: what the other side sends comes out of `read`."""

    def __init__(self, host: str | None = "9.1.0.1") -> None:
        self.muxed_conn = SimpleNamespace(get_remote_address=lambda: (host, 1) if host else None)
        self._in, self.feed = trio.open_memory_channel[bytes](1000)[::-1]
        self.written, self.ended = bytearray(), False

    async def read(self, most: int) -> bytes:
        try:
            return await self._in.receive()
        except trio.EndOfChannel:
            raise EOFError from None

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.ended:
            raise BrokenPipeError
        self.written += data

    async def reset(self) -> None:
        self.ended = True


class Wire:
    """A framed stream that can become a pipe."""

    def __init__(self, peer: str, *frames: bytes, host: str | None = "9.1.0.1", ahead: bytes = b"") -> None:
        self.peer, self.raw, self._ahead = peer, Bytes(host), ahead
        self._frames, self.sent = list(frames), list[bytes]()

    @property
    def connection(self) -> Any:
        return self.raw.muxed_conn

    async def receive(self, **_: Any) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self._frames:
            await trio.sleep_forever()
        return self._frames.pop(0)

    async def send(self, frame: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(frame)

    async def reset(self) -> None:
        await self.raw.reset()

    def detach(self) -> tuple[bytes, Any]:
        return self._ahead, self.raw


def over_a_circuit(wire: Wire) -> Wire:
    setattr(wire.connection, RELAYED, relayed_group(name(9), "9.7.0.1"))
    return wire


# -- an end

def end(limit: Limit = OURS, ahead: bytes = b"") -> tuple[_End, Bytes]:
    wire = Wire(RELAY, ahead=ahead)
    return _End(Pipe(wire), limit), wire.raw  # type: ignore[arg-type]


async def test_an_end_reads_what_came_with_the_last_frame_first_and_nothing_at_the_end() -> None:
    one, raw = end(ahead=b"early")
    await raw.feed.send(b"later")
    parts = [await one.read(most) for most in (3, 9, 2, 9)]
    assert parts == [b"ear", b"ly", b"la", b"ter"]
    raw.feed.close()
    assert await one.read(1) == b""
    assert raw.ended


async def test_an_end_closes_when_what_the_relay_named_is_used_up_whatever_the_relay_does() -> None:
    """CIRCUIT-2, both directions together."""
    one, raw = end(Limit(0, 10))
    await one.write(b"12345")
    await raw.feed.send(b"12345")
    assert await one.read(5) == b"12345"
    with pytest.raises(ConnectionClosedError):
        await one.write(b"6")
    assert raw.written == b"12345"
    assert raw.ended
    one, raw = end(Limit(0, 10))
    await raw.feed.send(b"x" * 11)
    assert await one.read(5) == b""
    assert raw.ended


async def test_an_end_closes_when_its_time_is_over(autojump_clock: trio.testing.MockClock) -> None:
    one, raw = end(Limit(60, 0))
    with trio.fail_after(3600):
        assert await one.read(1) == b""
    assert (trio.current_time(), raw.ended) == (60.0, True)
    one, raw = end(Limit(60, 0))
    await trio.sleep(60)
    with pytest.raises(ConnectionClosedError):
        await one.write(b"too late")


async def test_who_reads_a_pipe_that_is_ended_here_is_let_go() -> None:
    """Before: the library never woke that reader, and the connection stayed for ever."""
    wire = Wire(RELAY)
    pipe, got = Pipe(wire), list[bytes]()  # type: ignore[arg-type]

    async def read() -> None:
        got.append(await pipe.read(9))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            await pipe.end()
    assert got == [b""]
    assert await pipe.read(9) == b""


# -- the peer behind the relay

@pytest.mark.parametrize(("wire", "status"), [
    (Wire(RELAY, encode_stop(Stop(StopType.CONNECT, peer=b"x"))), Status.OK),
    (Wire(SOURCE, encode_stop(Stop(StopType.CONNECT, peer=b"x"))), Status.PERMISSION_DENIED),  # CIRCUIT-1
    (over_a_circuit(Wire(RELAY, encode_stop(Stop(StopType.CONNECT)))), Status.PERMISSION_DENIED),  # CIRCUIT-3
    (Wire(RELAY, encode_stop(Stop(StopType.STATUS))), Status.UNEXPECTED_MESSAGE),
])
async def test_circuits_are_taken_from_our_own_relays_alone(wire: Wire, status: Status) -> None:
    taken = list[Any]()

    async def upgrade(raw: Any, way: Any) -> None:
        taken.append(raw)
        raise ConnectionAbortedError("as guards.py, when the connection has ended")

    await Accepting(SimpleNamespace(upgrade_inbound_raw_conn=upgrade), lambda: {RELAY}).serve(wire)  # type: ignore[arg-type]
    assert decode_stop(wire.sent[0]).status == status
    assert [getattr(raw, RELAYED) for raw in taken] == [relayed_group(RELAY, "9.1.0.1")] * (status is Status.OK)
    assert wire.raw.ended is (status is Status.OK)


async def test_garbage_from_a_relay_is_its_fault() -> None:
    with pytest.raises(RemoteProtocolError):
        await Accepting(None, lambda: {RELAY}).serve(Wire(RELAY, b"\xff" * 40))  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [
    Hop(HopType.STATUS, Status.NO_RESERVATION), Hop(HopType.STATUS, 999), Hop(HopType.STATUS),
    Hop(HopType.CONNECT, Status.OK),
])
async def test_a_relay_that_does_not_agree_gives_a_reason(answer: Hop) -> None:
    with pytest.raises(Unavailable, match=f"relay {RELAY} gives no way to {HOST}"):
        await connect_through(None, Wire(RELAY, encode_hop(answer)), HOST)  # type: ignore[arg-type]


async def test_a_handshake_that_fails_ends_the_circuit() -> None:
    async def upgrade(raw: Any, peer: Any) -> None:
        raise ValueError("not the peer that was meant")

    wire = Wire(RELAY, encode_hop(Hop(HopType.STATUS, Status.OK, limit=OURS)))
    with pytest.raises(ValueError, match="not the peer"):
        await connect_through(SimpleNamespace(upgrade_outbound_raw_conn=upgrade), wire, HOST)  # type: ignore[arg-type]
    assert wire.raw.ended


# -- the relay

AGREES = encode_stop(Stop(StopType.STATUS, Status.OK))
Opening = Callable[[str, str], Awaitable[Any]]


def to_host(*frames: bytes, wires: list[Wire] | None = None) -> Opening:
    async def opened(peer: str, protocol: str) -> Any:
        await trio.lowlevel.checkpoint()
        wire = Wire(peer, *frames, host="9.8.0.1")
        if wires is not None:
            wires.append(wire)
        return wire

    return opened


def relay(opened: Opening, is_open: bool = True) -> RelayService:
    made = RelayService(Door(Budgets()), opened, lambda: (), lambda: is_open, lambda peer: peer != OTHER)
    assert (made.places.reserve(HOST, "9.8.0.0/24", 0.0) is not None)
    return made


def connect(peer: str = SOURCE, host: str = "9.5.0.1", target: str = HOST) -> Wire:
    return Wire(peer, encode_hop(Hop(HopType.CONNECT, peer=ID.from_string(target).to_bytes())), host=host)


async def test_a_relay_moves_bytes_both_ways_until_one_side_ends() -> None:
    wires, near = list[Wire](), connect()
    made = relay(to_host(AGREES, wires=wires))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.serve, near)
        await trio.testing.wait_all_tasks_blocked()
        (far,) = wires
        assert decode_stop(far.sent[0]).limit == decode_hop(near.sent[0]).limit == OURS, "both ends know the limits"
        await near.raw.feed.send(b"there")
        await far.raw.feed.send(b"and back")
        await trio.testing.wait_all_tasks_blocked()
        assert (bytes(far.raw.written), bytes(near.raw.written)) == (b"there", b"and back")
        assert (made.circuits, made.places.carried) == (1, 13)
        far.raw.feed.close()
    assert near.raw.ended
    assert far.raw.ended
    assert made.circuits == made._door.budgets.circuits.used == 0


async def test_a_circuit_ends_with_its_bytes_or_its_time(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock,
) -> None:
    """RELAY-5."""
    monkeypatch.setattr(service, "OURS", Limit(60, 10))
    for data, lasts_s in ((b"x" * 11, 0.0), (b"", CIRCUIT_S)):
        wires, near, begun = list[Wire](), connect(), trio.current_time()
        if data:
            await near.raw.feed.send(data)
        with trio.fail_after(2 * CIRCUIT_S):
            await relay(to_host(AGREES, wires=wires)).serve(near)  # type: ignore[arg-type]
        assert trio.current_time() - begun == lasts_s
        assert near.raw.ended
        assert wires[0].raw.ended
        assert not wires[0].raw.written, "what exceeds the limit is not passed on"


async def test_bytes_above_the_rate_wait(autojump_clock: trio.testing.MockClock) -> None:
    wires, near, mib = list[Wire](), connect(), 1 << 20
    for _ in range(8):
        await near.raw.feed.send(bytes(mib))
    near.raw.feed.close()
    await relay(to_host(AGREES, wires=wires)).serve(near)  # type: ignore[arg-type]
    assert len(wires[0].raw.written) == 8 * mib
    assert trio.current_time() == pytest.approx(6.0, abs=0.1), "two seconds' worth at once, then 1 MiB a second"


@pytest.mark.parametrize(("opened", "status"), [
    (to_host(encode_stop(Stop(StopType.STATUS, Status.PERMISSION_DENIED))), Status.CONNECTION_FAILED),
    (to_host(b"\xff\xff"), Status.CONNECTION_FAILED),
    (to_host(), Status.CONNECTION_FAILED),  # it says nothing
])
async def test_a_host_that_does_not_agree_costs_no_circuit(
    opened: Opening, status: Status, autojump_clock: trio.testing.MockClock,
) -> None:
    made, near = relay(opened), connect()
    await made.serve(near)  # type: ignore[arg-type]
    assert decode_hop(near.sent[0]).status == status
    assert made._door.budgets.circuits.used == 0
    assert trio.current_time() <= 2 * CIRCUIT_SETUP_S


@pytest.mark.parametrize(("wire", "is_open", "status"), [
    (Wire(SOURCE, encode_hop(Hop(HopType.RESERVE))), True, Status.OK),
    (Wire(SOURCE, encode_hop(Hop(HopType.RESERVE))), False, Status.RESERVATION_REFUSED),  # RELAY-4
    (Wire(OTHER, encode_hop(Hop(HopType.RESERVE))), True, Status.RESERVATION_REFUSED),  # RELAY-7
    (over_a_circuit(Wire(SOURCE, encode_hop(Hop(HopType.RESERVE)))), True, Status.PERMISSION_DENIED),  # RELAY-6
    (over_a_circuit(connect()), True, Status.PERMISSION_DENIED),
    (connect(HOST), True, Status.PERMISSION_DENIED),  # to itself
    (connect(target=RELAY), True, Status.NO_RESERVATION),
    (Wire(SOURCE, encode_hop(Hop(HopType.STATUS, Status.OK))), True, Status.UNEXPECTED_MESSAGE),
    (Wire(SOURCE, encode_hop(Hop(HopType.CONNECT))), True, Status.NO_RESERVATION),  # to nobody
])
async def test_every_request_has_its_status(wire: Wire, is_open: bool, status: Status) -> None:
    await relay(to_host(), is_open).serve(wire)  # type: ignore[arg-type]
    answer = decode_hop(wire.sent[0])
    assert answer.status == status
    assert (answer.expires > 0) is (status is Status.OK)


async def test_one_network_does_not_take_all_circuits_to_a_host() -> None:
    made, wires = relay(to_host(AGREES)), [connect(name(20 + n), f"9.5.0.{n}") for n in range(6)]
    async with trio.open_nursery() as nursery:
        for wire in wires:
            nursery.start_soon(made.serve, wire)
        await trio.testing.wait_all_tasks_blocked()
        assert made.circuits == CIRCUITS_TO_PEER_FROM_GROUP
        nursery.cancel_scope.cancel()
    refused = [decode_hop(wire.sent[0]).status for wire in wires].count(Status.RESOURCE_LIMIT_EXCEEDED)
    assert refused == len(wires) - CIRCUITS_TO_PEER_FROM_GROUP


async def test_garbage_for_a_relay_is_answered_and_its_senders_fault() -> None:
    wire = Wire(SOURCE, b"\x08\x07")
    with pytest.raises(RemoteProtocolError):
        await relay(to_host()).serve(wire)  # type: ignore[arg-type]
    assert decode_hop(wire.sent[0]).status == Status.MALFORMED_MESSAGE
