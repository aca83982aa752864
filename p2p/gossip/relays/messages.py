"""Messages of circuit relay v2 to bytes and back, in the protobuf format of the libp2p specification.

Law: a message is bounded, and one that is wrong is answered with a status that says so.

A peer and its relay speak HOP: the peer reserves a place, or asks for a circuit to a peer that has one. The relay and
that peer speak STOP. Unknown fields are skipped, so other libraries may send what they like in them. Vouchers are
neither sent nor read: whoever has a connection to a relay needs no proof of its place there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from p2p.base.errors import RemoteProtocolError
from p2p.base.limits import CIRCUIT_BYTES, CIRCUIT_S, MAX_ADDRESSES_PER_PEER, MAX_PEER_ID

HOP: Final = "/libp2p/circuit/relay/0.2.0/hop"
STOP: Final = "/libp2p/circuit/relay/0.2.0/stop"
_PACKAGE: Final = "folkmoot.circuit"
_BYTES, _U32, _U64 = FieldDescriptorProto.TYPE_BYTES, FieldDescriptorProto.TYPE_UINT32, FieldDescriptorProto.TYPE_UINT64
_ONE, _MANY = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED
_Field = tuple[int, str, Any, Any]
_SHAPES: Final[dict[str, tuple[_Field, ...]]] = {
    "Hop": (
        (1, "type", _U32, _ONE), (2, "peer", _BYTES, _ONE), (3, "reservation", _BYTES, _ONE),
        (4, "limit", _BYTES, _ONE), (5, "status", _U32, _ONE),
    ),
    "Stop": ((1, "type", _U32, _ONE), (2, "peer", _BYTES, _ONE), (3, "limit", _BYTES, _ONE), (4, "status", _U32, _ONE)),
    "Peer": ((1, "id", _BYTES, _ONE), (2, "addresses", _BYTES, _MANY)),
    "Reservation": ((1, "expire", _U64, _ONE), (2, "addresses", _BYTES, _MANY), (3, "voucher", _BYTES, _ONE)),
    "Limit": ((1, "duration", _U32, _ONE), (2, "data", _U64, _ONE)),
}


def _made() -> dict[str, Any]:
    file = FileDescriptorProto(name="folkmoot/circuit.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _SHAPES.items():
        message = file.message_type.add(name=name)
        for number, field, kind, label in fields:
            message.field.add(name=field, number=number, type=kind, label=label)
    pool = DescriptorPool()  # of our own: the default one belongs to the whole process
    pool.Add(file)
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _SHAPES}


_WIRE: Final = _made()


class HopType(IntEnum):
    RESERVE = 0
    CONNECT = 1
    STATUS = 2


class StopType(IntEnum):
    CONNECT = 0
    STATUS = 1


class Status(IntEnum):
    """Numbers of the specification."""

    OK = 100
    RESERVATION_REFUSED = 200
    RESOURCE_LIMIT_EXCEEDED = 201
    PERMISSION_DENIED = 202
    CONNECTION_FAILED = 203
    NO_RESERVATION = 204
    MALFORMED_MESSAGE = 400
    UNEXPECTED_MESSAGE = 401


WORDS: Final = {
    Status.OK: "it agreed",
    Status.RESERVATION_REFUSED: "it has no place left, or relays for nobody",
    Status.RESOURCE_LIMIT_EXCEEDED: "it has no circuit left for this connection",
    Status.PERMISSION_DENIED: "it does not allow this",
    Status.CONNECTION_FAILED: "it could not reach the peer",
    Status.NO_RESERVATION: "the peer has no place there",
    Status.MALFORMED_MESSAGE: "it did not understand us",
    Status.UNEXPECTED_MESSAGE: "it expected another message",
}


@dataclass(frozen=True, slots=True)
class Limit:
    """What one circuit may take. 0: no limit is named."""

    seconds: int = 0
    data: int = 0  # bytes in both directions together


@dataclass(frozen=True, slots=True)
class Hop:
    """One message between a peer and a relay."""

    kind: HopType
    status: int = 0
    peer: bytes = b""  # of CONNECT: whom to reach
    expires: int = 0  # of a reservation that was made: seconds since 1970
    addresses: tuple[bytes, ...] = ()  # of the relay
    limit: Limit = Limit()


@dataclass(frozen=True, slots=True)
class Stop:
    """One message between a relay and the peer that somebody wants to reach."""

    kind: StopType
    status: int = 0
    peer: bytes = b""  # of CONNECT: who dials, as the relay says
    limit: Limit = Limit()


OURS: Final = Limit(int(CIRCUIT_S), CIRCUIT_BYTES)


def encode_hop(message: Hop) -> bytes:
    wire = _WIRE["Hop"](type=message.kind)
    _fill(wire, message.status, message.peer, message.limit)
    if message.expires:
        part = _WIRE["Reservation"](expire=message.expires, addresses=message.addresses[:MAX_ADDRESSES_PER_PEER])
        wire.reservation = part.SerializeToString()
    return bytes(wire.SerializeToString())


def encode_stop(message: Stop) -> bytes:
    wire = _WIRE["Stop"](type=message.kind)
    _fill(wire, message.status, message.peer, message.limit)
    return bytes(wire.SerializeToString())


def decode_hop(raw: bytes) -> Hop:
    """Raises RemoteProtocolError for what is no message of HOP."""
    try:
        wire = _WIRE["Hop"].FromString(raw)
        made = _WIRE["Reservation"].FromString(wire.reservation)
        return Hop(
            HopType(wire.type), wire.status, _peer(wire.peer), made.expire,
            tuple(made.addresses[:MAX_ADDRESSES_PER_PEER]), _limit(wire.limit),
        )
    except (DecodeError, ValueError) as error:
        raise _malformed("hop") from error


def decode_stop(raw: bytes) -> Stop:
    """Raises RemoteProtocolError for what is no message of STOP."""
    try:
        wire = _WIRE["Stop"].FromString(raw)
        return Stop(StopType(wire.type), wire.status, _peer(wire.peer), _limit(wire.limit))
    except (DecodeError, ValueError) as error:
        raise _malformed("stop") from error


def said(status: int) -> str:
    """A status of another peer as words."""
    return WORDS.get(Status(status), "") if status in Status._value2member_map_ else f"status {status}"


def _fill(wire: Any, status: int, peer: bytes, limit: Limit) -> None:
    if status:
        wire.status = status
    if peer:
        wire.peer = _WIRE["Peer"](id=peer).SerializeToString()
    if limit != Limit():
        wire.limit = _WIRE["Limit"](duration=limit.seconds, data=limit.data).SerializeToString()


def _peer(raw: bytes) -> bytes:
    found = bytes(_WIRE["Peer"].FromString(raw).id)
    if len(found) > MAX_PEER_ID:
        raise ValueError("a peer id is too long")
    return found


def _limit(raw: bytes) -> Limit:
    wire = _WIRE["Limit"].FromString(raw)
    return Limit(wire.duration, wire.data)


def _malformed(field: str) -> RemoteProtocolError:
    return RemoteProtocolError("these bytes are not a message of circuit relay v2", field=field, code="relay")
