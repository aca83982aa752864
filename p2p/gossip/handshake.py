"""First words on a connection, and the exchange of addresses. Law: another network or version is refused in words.

One round trip on `/folkmoot/peers/1`: Hello, then Welcome or Refusal; or a Goodbye, which nobody answers. Rule HELLO-1: the version is
looked at before the shape, so a newer peer gets a clear refusal. HELLO-2: lists are bounded and every address checked before it is believed.
HELLO-3: who ends a connection on purpose says why first, in words the other side shows its user.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from p2p.base.codec import Message, convert, decode, encode
from p2p.base.errors import RemoteProtocolError, unsupported_version
from p2p.base.keys import NetworkId
from p2p.base.limits import MAX_ADDRESSES_PER_PEER, MAX_HELLO, MAX_PEERS_SHARED, MAX_REFUSED_S
from p2p.base.types import U32, VERSION, NetworkField, Reason, Short

Address = Annotated[str, Meta(max_length=256)]
Start = Annotated[bytes, Meta(min_length=8, max_length=8)]
Addresses = Annotated[tuple[Address, ...], Meta(max_length=MAX_ADDRESSES_PER_PEER)]


class Hello(Message, frozen=True):
    """version, network: what the sender speaks. start: a random number of this run. addresses: where it listens (empty: a client, not to be
    dialled)."""

    version: U32
    kind: Literal["hello"]
    network: NetworkField
    start: Start
    addresses: Addresses


class Goodbye(Message, frozen=True):
    """The sender ends the connection. code: 'banned' | 'overload' | 'full'. seconds: how long it will refuse another."""

    version: U32
    kind: Literal["goodbye"]
    code: Short
    message: Reason
    seconds: U32


class Entry(Message, frozen=True):
    """One peer the sender is connected to."""

    peer: Short
    addresses: Addresses


class Welcome(Message, frozen=True):
    """twin: another peer greets with the key of the one that is welcomed."""

    version: U32
    kind: Literal["welcome"]
    start: Start
    twin: bool
    addresses: Addresses
    peers: Annotated[tuple[Entry, ...], Meta(max_length=MAX_PEERS_SHARED)]


class Refusal(Message, frozen=True):
    """Why the connection ends. code: 'wrong_network' | 'other_genesis' | 'version' | another error's code."""

    version: U32
    kind: Literal["refusal"]
    code: Short
    field: Short
    message: Reason


def pack_hello(network: NetworkId, addresses: tuple[str, ...], start: bytes = bytes(8)) -> bytes:
    return encode(Hello(VERSION, "hello", network, start, addresses[:MAX_ADDRESSES_PER_PEER]))


def pack_goodbye(code: str, message: str, seconds: float) -> bytes:
    return encode(Goodbye(VERSION, "goodbye", code[:96], message[:300], max(0, min(round(seconds), MAX_REFUSED_S))))


def pack_welcome(addresses: tuple[str, ...], peers: tuple[Entry, ...], start: bytes = bytes(8), *, twin: bool = False) -> bytes:
    return encode(Welcome(VERSION, "welcome", start, twin, addresses[:MAX_ADDRESSES_PER_PEER], peers[:MAX_PEERS_SHARED]))


def pack_refusal(error: RemoteProtocolError) -> bytes:
    return encode(Refusal(VERSION, "refusal", error.code[:96], error.field[:96], error.message[:300]))


def parse_opening(data: bytes, network: NetworkId) -> Hello | Goodbye:
    """A Hello for `network`, or a Goodbye. Raises RemoteProtocolError 'version' | 'wrong_network' | 'other_genesis' | 'cbor' | 'shape'."""
    value = _versioned(data)
    if value[1:2] == ["goodbye"]:
        return convert(Goodbye, value)
    hello = convert(Hello, value)
    if hello.network != network:
        raise other_network(network, hello.network)
    return hello


def other_network(ours: str, theirs: str) -> RemoteProtocolError:
    """What is wrong, in the words of the side that serves `ours`. A network's id is its name and, after '@', its genesis file's hash."""
    (name, _, genesis), (their_name, _, their_genesis) = ours.partition("@"), theirs.partition("@")
    if name == their_name:
        return RemoteProtocolError(
            f"another genesis under the same name {name!r}: this peer has {genesis[:8]}, you have {their_genesis[:8]}; get the network's own file",
            field="network", code="other_genesis", penalty=0,
        )
    return RemoteProtocolError(f"this peer serves network {name!r}, not {their_name!r}", field="network", code="wrong_network", penalty=0)


def parse_reply(data: bytes) -> Welcome | Refusal:
    value = _versioned(data)
    return convert(Refusal, value) if value[1:2] == ["refusal"] else convert(Welcome, value)


def _versioned(data: bytes) -> list[object]:
    value = decode(data, limit=MAX_HELLO)
    if not isinstance(value, list) or not value:
        raise RemoteProtocolError("not a greeting", field="hello", code="shape")
    if value[0] != VERSION:
        raise RemoteProtocolError(
            unsupported_version("protocol", value[0], VERSION), field="version", code="version", penalty=0,
        )
    return value
