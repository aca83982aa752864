"""First words on a connection, and the exchange of addresses. Law: another network or version is refused in words.

One round trip on `/folkmoot/peers/1`: Hello, then Welcome or Refusal. Rule HELLO-1: the version is looked at before the
shape, so a newer peer gets a clear refusal. HELLO-2: lists are bounded and every address checked before it is believed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from p2p.codec import Message, convert, decode, encode
from p2p.errors import RemoteProtocolError
from p2p.keys import NetworkId
from p2p.limits import MAX_ADDRESSES_PER_PEER, MAX_HELLO, MAX_PEERS_SHARED
from p2p.types import U32, VERSION, NetworkField, Reason, Short

Address = Annotated[str, Meta(max_length=256)]
Addresses = Annotated[tuple[Address, ...], Meta(max_length=MAX_ADDRESSES_PER_PEER)]


class Hello(Message, frozen=True):
    """version, network: what the sender speaks. addresses: where it listens (empty: a client, not to be dialled)."""

    version: U32
    network: NetworkField
    addresses: Addresses


class Entry(Message, frozen=True):
    """One peer the sender is connected to."""

    peer: Short
    addresses: Addresses


class Welcome(Message, frozen=True):
    version: U32
    kind: Literal["welcome"]
    addresses: Addresses
    peers: Annotated[tuple[Entry, ...], Meta(max_length=MAX_PEERS_SHARED)]


class Refusal(Message, frozen=True):
    """Why the connection ends. code: 'wrong_network' | 'version' | another error's code."""

    version: U32
    kind: Literal["refusal"]
    code: Short
    field: Short
    message: Reason


def pack_hello(network: NetworkId, addresses: tuple[str, ...]) -> bytes:
    return encode(Hello(VERSION, network, addresses[:MAX_ADDRESSES_PER_PEER]))


def pack_welcome(addresses: tuple[str, ...], peers: tuple[Entry, ...]) -> bytes:
    return encode(Welcome(VERSION, "welcome", addresses[:MAX_ADDRESSES_PER_PEER], peers[:MAX_PEERS_SHARED]))


def pack_refusal(error: RemoteProtocolError) -> bytes:
    return encode(Refusal(VERSION, "refusal", error.code[:96], error.field[:96], error.message[:300]))


def parse_hello(data: bytes, network: NetworkId) -> Hello:
    """A Hello for `network`. Raises RemoteProtocolError 'version' | 'wrong_network' | 'cbor' | 'shape'."""
    hello = convert(Hello, _versioned(data))
    if hello.network != network:
        raise RemoteProtocolError(
            f"this peer serves network {network!r}, not {hello.network!r}",
            field="network",
            code="wrong_network",
            penalty=0,
        )
    return hello


def parse_reply(data: bytes) -> Welcome | Refusal:
    value = _versioned(data)
    kind = value[1] if len(value) > 1 else None
    return convert(Refusal, value) if kind == "refusal" else convert(Welcome, value)


def _versioned(data: bytes) -> list[object]:
    value = decode(data, limit=MAX_HELLO)
    if not isinstance(value, list) or not value:
        raise RemoteProtocolError("not a greeting", field="hello", code="shape")
    if value[0] != VERSION:
        raise RemoteProtocolError(
            f"version {str(value[0])[:20]} is unknown, this peer speaks {VERSION}",
            field="version",
            code="version",
            penalty=0,
        )
    return value
