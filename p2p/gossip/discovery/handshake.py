"""The messages of a greeting, which exchanges addresses, and of a farewell, on protocol `/folkmoot/peers/1`.

Law: a peer of another network or version gets a refusal that says so.

A Hello is answered with a Welcome or a Refusal; a Goodbye is not answered.

- HELLO-1: the version is checked before the shape, so a newer peer gets a clear refusal.
- HELLO-2: lists are bounded, and every address is checked before it is used.
- HELLO-3: a peer that ends a connection on purpose first says why, in words that the other side shows its user.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from p2p.base.codec import Message, convert, decode, encode
from p2p.base.errors import RemoteProtocolError, unsupported_version
from p2p.base.keys import NetworkId
from p2p.base.limits import (
    MAX_ADDRESSES_PER_PEER,
    MAX_HELLO,
    MAX_NAME,
    MAX_PEERS_SHARED,
    MAX_REASON,
    MAX_REFUSED_S,
)
from p2p.base.types import U32, VERSION, NetworkField, Reason, Short

SHOWN_DIGITS = 8  # of a genesis file's hash, in a message
MAX_ADDRESS = 256  # characters of a multiaddr
Address = Annotated[str, Meta(max_length=MAX_ADDRESS)]
START_BYTES = 8
Start = Annotated[bytes, Meta(min_length=START_BYTES, max_length=START_BYTES)]  # a random number of one run of a peer
Addresses = Annotated[tuple[Address, ...], Meta(max_length=MAX_ADDRESSES_PER_PEER)]


class Hello(Message, frozen=True):
    """The first message of the side that dialled."""

    version: U32
    kind: Literal["hello"]
    network: NetworkField
    start: Start
    addresses: Addresses  # where it listens; empty: a client, which cannot be dialled


class Goodbye(Message, frozen=True):
    """The sender ends the connection."""

    version: U32
    kind: Literal["goodbye"]
    code: Short  # 'banned' | 'overload' | 'full'
    message: Reason
    seconds: U32  # for which it will refuse another connection


class Entry(Message, frozen=True):
    """One peer that the sender is connected to."""

    peer: Short
    addresses: Addresses


class Welcome(Message, frozen=True):
    """The answer to a Hello of the same network."""

    version: U32
    kind: Literal["welcome"]
    start: Start
    twin: bool  # another peer greets with the receiver's key
    addresses: Addresses  # where the sender listens
    peers: Annotated[tuple[Entry, ...], Meta(max_length=MAX_PEERS_SHARED)]


class Refusal(Message, frozen=True):
    """The answer to a Hello that is not accepted: why the connection ends."""

    version: U32
    kind: Literal["refusal"]
    code: Short  # 'wrong_network' | 'other_genesis' | 'version' | the code of another error
    field: Short
    message: Reason


def pack_hello(network: NetworkId, addresses: tuple[str, ...], start: bytes = bytes(START_BYTES)) -> bytes:
    """An encoded Hello; so do the other pack functions, each with lists and texts cut to their limits."""
    return encode(Hello(VERSION, "hello", network, start, addresses[:MAX_ADDRESSES_PER_PEER]))


def pack_goodbye(code: str, message: str, seconds: float) -> bytes:
    wait = max(0, min(round(seconds), MAX_REFUSED_S))
    return encode(Goodbye(VERSION, "goodbye", code[:MAX_NAME], message[:MAX_REASON], wait))


def pack_welcome(
    addresses: tuple[str, ...], peers: tuple[Entry, ...], start: bytes = bytes(START_BYTES), *, twin: bool = False,
) -> bytes:
    own = addresses[:MAX_ADDRESSES_PER_PEER]
    return encode(Welcome(VERSION, "welcome", start, twin, own, peers[:MAX_PEERS_SHARED]))


def pack_refusal(error: RemoteProtocolError) -> bytes:
    code, field, message = error.code[:MAX_NAME], error.field[:MAX_NAME], error.message[:MAX_REASON]
    return encode(Refusal(VERSION, "refusal", code, field, message))


def parse_opening(data: bytes, network: NetworkId) -> Hello | Goodbye:
    """A Hello for `network`, or a Goodbye.

    Raises RemoteProtocolError with code 'version', 'wrong_network', 'other_genesis', 'cbor' or 'shape'.
    """
    value = _versioned(data)
    if value[1:2] == ["goodbye"]:
        return convert(Goodbye, value)
    hello = convert(Hello, value)
    if hello.network != network:
        raise other_network(network, hello.network)
    return hello


def other_network(ours: str, theirs: str) -> RemoteProtocolError:
    """The error that a peer of network `ours` sends to one of network `theirs`: another name, or another genesis."""
    (name, _, genesis), (their_name, _, their_genesis) = ours.partition("@"), theirs.partition("@")
    if name == their_name:
        return RemoteProtocolError(
            f"another genesis under the same name {name!r}: this peer has {genesis[:SHOWN_DIGITS]}, you have"
            f" {their_genesis[:SHOWN_DIGITS]}; get the network's own file",
            field="network", code="other_genesis", penalty=0,
        )
    return RemoteProtocolError(
        f"this peer serves network {name!r}, not {their_name!r}", field="network", code="wrong_network", penalty=0,
    )


def parse_reply(data: bytes) -> Welcome | Refusal:
    """The answer to a Hello. Raises RemoteProtocolError with code 'version', 'cbor' or 'shape'."""
    value = _versioned(data)
    return convert(Refusal, value) if value[1:2] == ["refusal"] else convert(Welcome, value)


def _versioned(data: bytes) -> list[object]:
    value = decode(data, limit=MAX_HELLO)
    if not isinstance(value, list) or not value:
        raise RemoteProtocolError("not a message of this protocol: an array is expected", field="hello", code="shape")
    if value[0] != VERSION:
        raise RemoteProtocolError(
            unsupported_version("protocol", value[0], VERSION), field="version", code="version", penalty=0,
        )
    return value
