"""Gossip RPCs are counted before they are parsed, and control messages cleaned before the router sees them (fault K-A)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from libp2p.exceptions import ParseError
from libp2p.io.exceptions import MessageTooLarge
from libp2p.pubsub.pb import rpc_pb2

from p2p.base.limits import MAX_CONTROL_TOPICS, MAX_GOSSIP, MAX_MESSAGE_IDS, MAX_PRUNE_BACKOFF_S, MAX_RPC_ITEMS, MIB
from p2p.base.outcome import Outcome
from p2p.gossip.budget import Budgets
from p2p.gossip.door import Door
from p2p.gossip.guarded_pubsub import GuardedPubsub, count_fields

from .attacks import signed

TOPIC = "/folkmoot/lab/t/1"


@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(0, 30), st.integers(0, 30))
def test_every_field_counts_once(bodies: list[bytes], wants: int, subscriptions: int) -> None:
    rpc = rpc_pb2.RPC()
    for body in bodies:
        rpc.publish.add(data=body)
    for number in range(wants):
        rpc.control.iwant.add(messageIDs=[b"id%d" % number])
    for _ in range(subscriptions):
        rpc.subscriptions.add(topicid="t", subscribe=True)
    fields = 2 * len(bodies) + 2 * wants + (1 if wants else 0) + 3 * subscriptions
    raw = rpc.SerializeToString()
    assert count_fields(raw, fields) == fields
    if fields:
        with pytest.raises(MessageTooLarge):
            count_fields(raw, fields - 1)


@given(st.binary(max_size=300))
def test_any_bytes_are_counted_or_refused(raw: bytes) -> None:
    try:
        assert count_fields(raw, 200) <= 200
    except (MessageTooLarge, ParseError) as error:
        known = str(error)
        if not known:
            raise AssertionError("an error without a word") from error


def test_an_rpc_of_endless_parts_is_refused_before_it_is_parsed() -> None:
    bomb = rpc_pb2.RPC()
    for _ in range(3000):
        bomb.control.iwant.add(messageIDs=[b"00" * 40])
    for raw in (bomb.SerializeToString(), b"\x12\x00" * (MIB // 2), b"\x1a\x80\x80\x20" + b"\x1a\x00" * (MIB // 4)):
        with pytest.raises(MessageTooLarge):
            count_fields(raw, MAX_RPC_ITEMS)


class Cache:
    def __init__(self, message: Any) -> None:
        self.message, self.id = message, message.from_id + message.seqno

    def get(self, id_: bytes) -> Any:
        return self.message if id_ == self.id else None


def pubsub(message: Any) -> Any:
    made = GuardedPubsub.__new__(GuardedPubsub)
    made._door, made._given, made.judges = Door(Budgets()), OrderedDict(), {}
    made.router = type("Router", (), {"mcache": Cache(message), "back_off": {}})
    made.subscribed_topics_receive = {TOPIC: None}
    return made


async def test_what_one_message_can_be_pulled_for_is_bounded() -> None:
    """PUBSUB-3: 3,000 IWANT of one large message made 889 MiB; each id counts once an RPC, and twice in all."""
    message = signed(bytes(MAX_GOSSIP - 1000))
    made, name = pubsub(message), (message.from_id + message.seqno).hex().encode()
    control = rpc_pb2.ControlMessage()
    for _ in range(3000):
        control.iwant.add(messageIDs=[name] * 10)
    pulled = [sum(len(want.messageIDs) for want in made._cleaned("peer", "10.0.0.0/24", control).control.iwant) for _ in range(5)]
    assert pulled == [1, 1, 0, 0, 0]


async def test_the_bytes_pulled_in_a_second_are_bounded() -> None:
    made = pubsub(signed(bytes(MAX_GOSSIP - 1000)))
    made._given = type("Nothing", (dict,), {"get": lambda self, key, default: 0})()
    made._door.budgets.wanted.spend("peer", "", 1e9, trio.current_time())
    control = rpc_pb2.ControlMessage()
    control.iwant.add(messageIDs=[made.router.mcache.id.hex().encode()])
    assert not made._cleaned("peer", "10.0.0.0/24", control).control.iwant


async def test_control_messages_are_cleaned() -> None:
    """PUBSUB-2."""
    made, control = pubsub(signed()), rpc_pb2.ControlMessage()
    for topic in [TOPIC, TOPIC, *(f"invented{number}" for number in range(500))]:
        control.graft.add(topicID=topic)
        prune = control.prune.add(topicID=topic, backoff=2**62)
        prune.peers.add(peerID=b"x", signedPeerRecord=b"y")
        control.ihave.add(topicID=topic, messageIDs=[b"%x" % n for n in range(5000)] * 2)
    out = made._cleaned("peer", "", control).control
    assert [graft.topicID for graft in out.graft] == [TOPIC]
    assert [(prune.topicID, prune.backoff, len(prune.peers)) for prune in out.prune] == [(TOPIC, MAX_PRUNE_BACKOFF_S, 0)]
    assert sum(len(have.messageIDs) for have in out.ihave) <= MAX_MESSAGE_IDS
    assert len(out.ihave) <= MAX_CONTROL_TOPICS


def test_what_is_ignored_may_be_judged_later_and_a_bad_signature_is_not_remembered() -> None:
    """K-B: ignore is not cached; a forged message must not keep the true one of the same id out."""
    message, made, reports = signed(), pubsub(signed()), []
    seen: set[bytes] = set()
    made.host = type("Host", (), {"get_id": lambda: type("Id", (), {"to_bytes": lambda: b"me"})})
    made._is_msg_seen, made._mark_msg_seen = lambda m: m.seqno in seen, lambda m: seen.add(m.seqno)
    made._report = lambda peer, error: reports.append(peer)
    outcomes = [Outcome.IGNORE, Outcome.ACCEPT]
    made.judges[TOPIC] = lambda forwarder, m: outcomes.pop(0)
    forged = rpc_pb2.Message()
    forged.CopyFrom(message)
    forged.data += b"!"
    assert made._judged("forger", forged) is Outcome.REJECT
    assert reports == ["forger"]
    assert made._judged("peer", message) is Outcome.IGNORE
    assert made._judged("peer", message) is Outcome.ACCEPT
    assert made._judged("peer", message) is Outcome.IGNORE, "seen"
    assert outcomes == []
    assert reports == ["forger"]
