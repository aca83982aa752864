"""HOP and STOP: the bytes of the specification, and an error for all others."""

from __future__ import annotations

from contextlib import suppress

import hypothesis.strategies as st
import pytest
from hypothesis import given
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, StopMessage

from p2p.base.errors import RemoteProtocolError
from p2p.base.limits import MAX_ADDRESSES_PER_PEER, MAX_PEER_ID
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
    said,
)

GRANTED = Hop(HopType.STATUS, Status.OK, b"", 1_800_000_000, (b"\x04\x09\x09\x09\x09", b"b"), OURS)
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**63 - 1)
LIMITS = st.builds(Limit, U32, U64)
PEERS = st.binary(max_size=MAX_PEER_ID)


def test_other_libraries_read_what_we_write() -> None:
    """The classes of py-libp2p are made from the specification's file."""
    found = HopMessage.FromString(encode_hop(GRANTED))
    assert (found.type, found.status) == (HopMessage.STATUS, Status.OK)
    assert (found.reservation.expire, list(found.reservation.addrs)) == (GRANTED.expires, list(GRANTED.addresses))
    assert (found.limit.duration, found.limit.data) == (OURS.seconds, OURS.data)
    asked = StopMessage.FromString(encode_stop(Stop(StopType.CONNECT, peer=b"id")))
    assert (asked.type, asked.peer.id, asked.HasField("limit")) == (StopMessage.CONNECT, b"id", False)
    refused = HopMessage.FromString(encode_hop(Hop(HopType.STATUS, Status.NO_RESERVATION)))
    assert (refused.status, refused.HasField("reservation")) == (Status.NO_RESERVATION, False)


def test_we_read_what_other_libraries_write() -> None:
    theirs = HopMessage(type=HopMessage.RESERVE, senderRecord=b"a field that we do not know")
    assert decode_hop(theirs.SerializeToString()) == Hop(HopType.RESERVE)
    assert decode_stop(StopMessage(type=StopMessage.STATUS, status=100).SerializeToString()).status == Status.OK


@given(st.builds(Hop, st.sampled_from(HopType), U32, PEERS, st.integers(1, 2**63), st.just((b"a",)), LIMITS))
def test_hop_survives_the_way(message: Hop) -> None:
    assert decode_hop(encode_hop(message)) == message


@given(st.builds(Stop, st.sampled_from(StopType), U32, PEERS, LIMITS))
def test_stop_survives_the_way(message: Stop) -> None:
    assert decode_stop(encode_stop(message)) == message


@given(st.binary(max_size=200))
def test_garbage_is_an_error_of_the_peer_and_nothing_else(raw: bytes) -> None:
    for decode in (decode_hop, decode_stop):
        with suppress(RemoteProtocolError):
            decode(raw)


def test_lists_and_ids_are_bounded() -> None:
    many = HopMessage(type=HopMessage.STATUS)
    many.reservation.addrs.extend([b"x"] * 50)
    assert len(decode_hop(many.SerializeToString()).addresses) == MAX_ADDRESSES_PER_PEER
    long = HopMessage(type=HopMessage.CONNECT)
    long.peer.id = bytes(MAX_PEER_ID + 1)
    with pytest.raises(RemoteProtocolError):
        decode_hop(long.SerializeToString())
    with pytest.raises(RemoteProtocolError):
        decode_hop(b"\x08\x07")  # a type that is none


def test_every_status_has_words() -> None:
    assert all(said(status) for status in Status)
    assert said(777) == "status 777"
