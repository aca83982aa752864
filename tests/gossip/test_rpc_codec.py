"""Gossipsub RPCs: the same bytes as py-libp2p's own protobuf, and any bytes are an RPC within its limits or refused."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from libp2p.pubsub.pb import rpc_pb2

from p2p.base.errors import RemoteProtocolError
from p2p.base.limits import (
    MAX_CONTROL_TOPICS,
    MAX_GOSSIP,
    MAX_MESSAGE_ID,
    MAX_MESSAGE_IDS,
    MAX_PEER_RECORD,
    MAX_PRUNE_BACKOFF_S,
    MAX_PRUNE_PEERS,
    MAX_RPC_ITEMS,
    MAX_TOPIC_NAME,
    MIB,
)
from p2p.gossip.rpc_codec import decode, encode, varint
from p2p.gossipsub.rpc import Graft, IDontWant, IHave, IWant, Message, PeerInfo, Prune, Rpc, Subscription

topics = st.text(min_size=1, max_size=40)
ids = st.lists(st.binary(max_size=MAX_MESSAGE_ID) | st.binary(min_size=20, max_size=20), unique=True, max_size=8)
some_ids = ids.filter(bool).map(tuple)
rpcs = st.builds(
    Rpc,
    subscriptions=st.lists(st.builds(Subscription, topics, st.booleans()), max_size=4).map(tuple),
    messages=st.lists(st.builds(Message, topics, st.binary(max_size=300)), max_size=4).map(tuple),
    ihave=st.lists(st.builds(IHave, topics, ids.map(tuple)), max_size=3).map(tuple),
    iwant=some_ids.map(lambda found: (IWant(found),)) | st.just(()),
    graft=st.lists(topics, unique=True, max_size=3).map(lambda found: tuple(map(Graft, found))),
    prune=st.lists(
        st.builds(
            Prune, topics,
            st.lists(st.builds(PeerInfo, st.binary(max_size=64), st.binary(max_size=99)), max_size=3).map(tuple),
            st.integers(0, MAX_PRUNE_BACKOFF_S),
        ), max_size=3, unique_by=lambda prune: prune.topic,
    ).map(tuple),
    idontwant=some_ids.map(lambda found: (IDontWant(found),)) | st.just(()),
)


def as_library(rpc: Rpc) -> Any:
    """The same RPC as py-libp2p's protobuf object."""
    out = rpc_pb2.RPC()
    for one in rpc.subscriptions:
        out.subscriptions.add(topicid=one.topic, subscribe=one.subscribe)
    for message in rpc.messages:
        out.publish.add(topicIDs=[message.topic], data=message.data)
    for have in rpc.ihave:
        out.control.ihave.add(topicID=have.topic, messageIDs=have.ids)
    for want in rpc.iwant:
        out.control.iwant.add(messageIDs=want.ids)
    for graft in rpc.graft:
        out.control.graft.add(topicID=graft.topic)
    for prune in rpc.prune:
        made = out.control.prune.add(topicID=prune.topic)
        for peer in prune.peers:
            made.peers.add(peerID=peer.peer)
            if peer.record:
                made.peers[-1].signedPeerRecord = peer.record
        if prune.backoff_s:
            made.backoff = prune.backoff_s
    for unwanted in rpc.idontwant:
        out.control.idontwant.add(messageIDs=unwanted.ids)
    return out


@given(rpcs)
def test_the_bytes_are_those_of_the_library_both_ways(rpc: Rpc) -> None:
    raw = as_library(rpc).SerializeToString()
    assert encode(rpc) == raw
    assert decode(raw) == rpc


def test_golden_bytes() -> None:
    """Written down once, so that a change of both codecs is seen too."""
    rpc = Rpc(
        subscriptions=(Subscription("a", True),), messages=(Message("b", b"xy"),),
        ihave=(IHave("c", (b"1" * 20, b"2" * 20)),),
        iwant=(IWant((b"i",)),), graft=(Graft("d"),), prune=(Prune("e", (PeerInfo(b"p", b"r"),), 60),),
        idontwant=(IDontWant((b"n",)),),
    )  # fmt: skip
    control = (
        "0a2f" "0a0163" + "1214" + "31" * 20 + "1214" + "32" * 20 + "1203" "0a0169" "1a03" "0a0164"
        "220d" "0a0165" "1206" "0a0170" "120172" "183c" "2a03" "0a016e"
    )
    assert encode(rpc).hex() == "0a05" "0801" "120161" "1207" "12027879" "220162" "1a4f" + control
    assert decode(encode(rpc)) == rpc


@given(st.binary(max_size=400))
def test_any_bytes_are_an_rpc_or_refused_and_what_the_library_reads_is_read_alike(raw: bytes) -> None:
    check_any(raw)


@given(rpcs, st.data())
def test_damaged_rpcs_too(rpc: Rpc, data: st.DataObject) -> None:
    raw = bytearray(encode(rpc))
    for _ in range(data.draw(st.integers(1, 4))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    check_any(bytes(raw))


def check_any(raw: bytes) -> None:
    try:
        found = decode(raw)
    except RemoteProtocolError as error:
        if error.code == "rpc":
            assert not is_readable(raw)
        return
    again = decode(encode(found))
    assert again == found


def is_readable(raw: bytes) -> bool:
    """Whether the library reads it, and all topics are text; it gives those that are not UTF-8 as bytes."""
    rpc = rpc_pb2.RPC()
    try:
        rpc.ParseFromString(raw)
    except DecodeError:
        return False
    topics = [one.topicid for one in rpc.subscriptions] + [name for one in rpc.publish for name in one.topicIDs]
    topics += [one.topicID for part in (rpc.control.ihave, rpc.control.graft, rpc.control.prune) for one in part]
    return all(isinstance(topic, str) for topic in topics)


@pytest.mark.parametrize("field", ["from_id", "seqno", "signature", "key"])
@pytest.mark.parametrize("value", [b"x", b""])
def test_a_message_with_an_author_or_a_signature_is_refused(field: str, value: bytes) -> None:
    """RPC-2 (StrictNoSign): also one that is present and empty."""
    rpc = rpc_pb2.RPC()
    rpc.publish.add(topicIDs=["t"], data=b"fine")
    assert decode(rpc.SerializeToString()).messages == (Message("t", b"fine"),)
    setattr(rpc.publish.add(topicIDs=["t"], data=b"x"), field, value)
    with pytest.raises(RemoteProtocolError) as refused:
        decode(rpc.SerializeToString())
    assert (refused.value.code, refused.value.penalty) == ("signed", 10)


@pytest.mark.parametrize("names", [[], ["a", "b"], ["a", "a"]])
def test_a_message_has_one_topic(names: list[str]) -> None:
    rpc = rpc_pb2.RPC()
    rpc.publish.add(topicIDs=names, data=b"x")
    with pytest.raises(RemoteProtocolError, match="topics"):
        decode(rpc.SerializeToString())


def test_sizes_are_limited() -> None:
    def refused(**words: Any) -> str:
        with pytest.raises(RemoteProtocolError) as caught:
            decode(encode(Rpc(**words)))
        assert caught.value.code == "too_large"
        return caught.value.field

    assert decode(encode(Rpc(messages=(Message("t" * MAX_TOPIC_NAME, bytes(MAX_GOSSIP)),)))).messages
    assert refused(messages=(Message("t", bytes(MAX_GOSSIP + 1)),)) == "data"
    assert refused(messages=(Message("t" * (MAX_TOPIC_NAME + 1), b""),)) == "topic"
    assert refused(subscriptions=(Subscription("t" * (MAX_TOPIC_NAME + 1), True),)) == "topic"
    assert refused(graft=(Graft("t" * (MAX_TOPIC_NAME + 1)),)) == "topic"
    assert refused(iwant=(IWant((bytes(MAX_MESSAGE_ID + 1),)),)) == "message id"
    assert refused(prune=(Prune("t", (PeerInfo(bytes(65)),)),)) == "peer"
    assert refused(prune=(Prune("t", (PeerInfo(b"p", bytes(MAX_PEER_RECORD + 1)),)),)) == "record"


def test_lists_are_cut_and_repeats_heard_once() -> None:
    """RPC-3; before: PUBSUB-2."""
    rpc = rpc_pb2.RPC()
    for number in range(3 * MAX_CONTROL_TOPICS):
        topic = f"t{number // 2}"
        rpc.subscriptions.add(topicid=topic, subscribe=True)
        rpc.control.graft.add(topicID=topic)
        prune = rpc.control.prune.add(topicID=topic, backoff=2**62)
        for peer in range(MAX_PRUNE_PEERS + 1) if not number else ():
            prune.peers.add(peerID=b"%d" % peer)
        rpc.control.ihave.add(topicID=topic, messageIDs=[b"%d" % one for one in range(20)])
    rpc.control.iwant.add(messageIDs=[b"same"] * 100 + [b"other"])
    rpc.control.iwant.add(messageIDs=[b"same"])
    found = decode(rpc.SerializeToString())
    assert len(found.subscriptions) == len(found.ihave) == MAX_CONTROL_TOPICS
    assert [graft.topic for graft in found.graft] == [f"t{number}" for number in range(MAX_CONTROL_TOPICS // 2)]
    assert [len(prune.peers) for prune in found.prune] == [0] * (MAX_CONTROL_TOPICS // 2), "the last word of two counts"
    assert {prune.backoff_s for prune in found.prune} == {MAX_PRUNE_BACKOFF_S}
    assert found.iwant == (IWant((b"same", b"other")),)
    many = rpc_pb2.RPC()
    many.control.ihave.add(topicID="t", messageIDs=[b"%d" % one for one in range(2 * MAX_MESSAGE_IDS - 100)])
    many.control.ihave.add(topicID="u", messageIDs=[b"x"])
    assert [len(have.ids) for have in decode(many.SerializeToString()).ihave] == [MAX_MESSAGE_IDS, 0]


def test_an_rpc_of_endless_parts_is_refused_before_any_becomes_an_object() -> None:
    """RPC-1, fault K-A; before: 3,000 IWANT of one large message in one RPC made 889 MiB."""
    bomb = rpc_pb2.RPC()
    for _ in range(3000):
        bomb.control.iwant.add(messageIDs=[b"00" * 40])
    raws = [
        bomb.SerializeToString(), b"\x12\x00" * (MIB // 2), b"\x0a\x00" * (MIB // 2), b"\x1a\x00" * (MIB // 2),
        *(b"\x1a" + varint(MIB // 2) + bytes((kind, 0)) * (MIB // 4) for kind in (0x0A, 0x12, 0x1A, 0x22, 0x2A)),
        b"\x1a" + varint(MIB // 2 + 4) + b"\x0a" + varint(MIB // 2) + b"\x12\x00" * (MIB // 4),
    ]  # fmt: skip
    tracemalloc.start()
    for raw in raws:
        tracemalloc.reset_peak()
        with pytest.raises(RemoteProtocolError) as refused:
            decode(raw)
        assert refused.value.code == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB, "Python objects"
    tracemalloc.stop()
    assert decode(b"\x12\x04\x12\x00\x22\x00" * MAX_RPC_ITEMS).messages
    with pytest.raises(RemoteProtocolError):
        decode(b"\x12\x04\x12\x00\x22\x00" * (MAX_RPC_ITEMS + 1))


def test_unknown_fields_are_skipped() -> None:
    """RPC-4: py-libp2p sends its signed record in each RPC, and later versions have other control messages."""
    raw = rpc_pb2.RPC(senderRecord=b"record", publish=[rpc_pb2.Message(topicIDs=["t"], data=b"x")])
    raw.control.extensions.SetInParent()
    assert decode(raw.SerializeToString()) == Rpc(messages=(Message("t", b"x"),))


@given(st.integers(0, 2**64 - 1))
def test_varints(value: int) -> None:
    assert varint(value) == rpc_pb2.ControlPrune(backoff=value).SerializeToString()[1:]
