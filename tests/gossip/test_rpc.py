"""Gossip RPCs are counted before they are parsed, and control messages cleaned before the router sees them (fault
K-A)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from libp2p.exceptions import ParseError
from libp2p.io.exceptions import MessageTooLarge
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import get_peer_and_seqno_msg_id

from p2p.base.limits import (
    GOSSIP_RATE_PER_ORIGIN,
    IGNORED_COSTS,
    IGNORED_S,
    MAX_CONTROL_TOPICS,
    MAX_GOSSIP,
    MAX_IGNORED,
    MAX_IGNORING,
    MAX_MESSAGE_IDS,
    MAX_PRUNE_BACKOFF_S,
    MAX_RPC_ITEMS,
    MIB,
)
from p2p.base.outcome import Outcome
from p2p.gossip.budget import Budgets
from p2p.gossip.door import Door
from p2p.gossip.guarded_pubsub import GuardedPubsub, bare_message, count_fields
from p2p.gossip.host import _Judge
from p2p.gossip.score import Ignored

from .attacks import AUTHOR, signed

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
    made._door, made._given, made.judges, made._ignored = Door(Budgets()), OrderedDict(), {}, Ignored()
    made._msg_id_constructor = get_peer_and_seqno_msg_id
    made.router = type("Router", (), {"mcache": Cache(message), "back_off": {}})
    made.subscribed_topics_receive = {TOPIC: None}
    return made


def listening(made: Any, reports: list[str]) -> None:
    seen: set[bytes] = set()
    made.host = type("Host", (), {"get_id": lambda: type("Id", (), {"to_bytes": lambda: b"me"})})
    made._is_msg_seen, made._mark_msg_seen = lambda m: m.seqno in seen, lambda m: seen.add(m.seqno)
    made._report = lambda peer, error: reports.append(peer)


async def test_what_one_message_can_be_pulled_for_is_bounded() -> None:
    """PUBSUB-3: 3,000 IWANT of one large message made 889 MiB; each id counts once an RPC, and twice in all."""
    message = signed(bytes(MAX_GOSSIP - 1000))
    made, name = pubsub(message), (message.from_id + message.seqno).hex().encode()
    control = rpc_pb2.ControlMessage()
    for _ in range(3000):
        control.iwant.add(messageIDs=[name] * 10)
    answers = [made._cleaned("peer", "10.0.0.0/24", control).control.iwant for _ in range(5)]
    pulled = [sum(len(want.messageIDs) for want in answer) for answer in answers]
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
    pruned = [(prune.topicID, prune.backoff, len(prune.peers)) for prune in out.prune]
    assert pruned == [(TOPIC, MAX_PRUNE_BACKOFF_S, 0)]
    assert sum(len(have.messageIDs) for have in out.ihave) <= MAX_MESSAGE_IDS
    assert len(out.ihave) <= MAX_CONTROL_TOPICS


async def test_what_is_ignored_may_be_judged_later_and_a_bad_signature_is_not_remembered() -> None:
    """An ignored message is not remembered for good, and a forged one does not keep out the true one of the same id."""
    message, made, reports = signed(), pubsub(signed()), []
    listening(made, reports)
    outcomes = [Outcome.IGNORE, Outcome.ACCEPT]
    made.judges[TOPIC] = lambda forwarder, m: outcomes.pop(0)
    forged = rpc_pb2.Message()
    forged.CopyFrom(message)
    forged.data += b"!"
    assert made._judged("forger", forged) is Outcome.REJECT
    assert reports == ["forger"]
    assert made._judged("peer", message) is Outcome.IGNORE
    assert made._judged("another", message) is Outcome.ACCEPT
    assert made._judged("peer", message) is Outcome.IGNORE, "seen"
    assert outcomes == []
    assert reports == ["forger"]


@pytest.mark.parametrize(("outcome", "times"), [
    (Outcome.ACCEPT, 1), (Outcome.REJECT, 1), (Outcome.IGNORE, IGNORED_COSTS),
])
async def test_the_cpu_for_what_is_ignored_counts_several_times(
    outcome: Outcome, times: int, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PUBSUB-5: five peers that share two cores decided 0.83 of their blocks while one stranger sent each 90 batches a
    second that no block could take."""
    made, reports, spent = pubsub(signed()), list[str](), list[float]()
    listening(made, reports)
    made.judges[TOPIC] = lambda forwarder, m: outcome

    def spend(self: Any, peer: str, group: str, amount: float, now: float, *, valued: bool) -> None:
        spent.append(amount)

    monkeypatch.setattr("p2p.gossip.budget.Flow.spend", spend)
    clock = iter(range(1000))
    monkeypatch.setattr("p2p.gossip.guarded_pubsub.time.thread_time", lambda: next(clock))  # a second for each look
    record_check = "p2p.gossip.guarded_pubsub.pubsub_module.maybe_consume_signed_record"
    monkeypatch.setattr(record_check, lambda rpc, host, peer: True)

    async def publish(peer: Any, message: Any) -> None:
        assert outcome is Outcome.ACCEPT

    made.router.publish = publish
    both = rpc_pb2.RPC(publish=[signed(b"first"), signed(b"second")])
    await made._take("peer", both.SerializeToString(), "10.0.0.0/24")
    parsing, *messages, subscriptions = spent
    assert (parsing, messages, subscriptions) == (1000, [1000 * times] * 2, 1000)


async def test_old_messages_that_others_repeat_take_nothing_from_their_author(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """PUBSUB-1, RATE-1: a peer that recorded a validator's old votes sends them again and again."""
    old, made, reports = [signed(b"old") for _ in range(3)], pubsub(signed()), []
    listening(made, reports)
    heard: list[bytes] = []

    def handler(author: str, data: bytes) -> Outcome:
        heard.append(data)
        return Outcome.IGNORE if data == b"old" else Outcome.ACCEPT

    made.judges[TOPIC] = _Judge("me", made._door).validator(handler)
    for _ in range(GOSSIP_RATE_PER_ORIGIN):
        for message in old:
            for forwarder in ("evil", "worse"):
                assert made._judged(forwarder, message) is Outcome.IGNORE
    assert heard == [b"old"] * 6, "each once from each who repeats it"
    assert made._judged("honest", signed(b"fresh")) is Outcome.ACCEPT
    burst = [made._judged("author", signed(b"more")) for _ in range(2 * GOSSIP_RATE_PER_ORIGIN)]
    assert burst.count(Outcome.ACCEPT) == GOSSIP_RATE_PER_ORIGIN - 1, "what is accepted is held to the rate"
    assert Outcome.IGNORE in burst


async def test_what_an_author_says_on_one_topic_takes_nothing_from_the_others() -> None:
    """RATE-1: strangers make a validator send their transactions; its votes must still be heard."""
    judge, message = _Judge("me", pubsub(signed())._door), signed(b"x")
    transactions, votes = (judge.validator(lambda author, data: Outcome.ACCEPT) for _ in range(2))
    assert [transactions("peer", message) for _ in range(2 * GOSSIP_RATE_PER_ORIGIN)].count(Outcome.IGNORE) > 0
    assert votes("peer", message) is Outcome.ACCEPT


@given(st.lists(st.tuples(st.integers(0, 2 * MAX_IGNORING), st.integers(0, 2 * MAX_IGNORED)), max_size=100))
def test_what_is_remembered_as_ignored_is_bounded_and_its_bringers_own(steps: list[tuple[int, int]]) -> None:
    ignored = Ignored()
    for number in range(2 * MAX_IGNORED):
        ignored.add("flooder", b"%d" % number, 0.0)
    for forwarder, number in steps:
        ignored.add(f"{forwarder}", b"%d" % number, 1.0)
        assert ignored.has(f"{forwarder}", b"%d" % number, 1.0)
        assert not ignored.has(f"{forwarder}", b"%d" % number, 1.0 + IGNORED_S)
        assert not ignored.has("another", b"%d" % number, 1.0)
    for number in range(2 * MAX_IGNORING):
        ignored.add(f"key{number}", b"x", 1.0)
    assert len(ignored._until) <= MAX_IGNORING
    assert max(map(len, ignored._until.values())) <= MAX_IGNORED


async def test_nobody_makes_anothers_message_heavier() -> None:
    """PUBSUB-4: the signature covers neither `key` nor unknown fields, and a copy that is too heavy to be sent on drove
    out the true one."""
    true, made, reports = signed(), pubsub(signed()), []
    listening(made, reports)
    made.judges[TOPIC] = lambda forwarder, m: Outcome.ACCEPT
    padded = rpc_pb2.Message()
    padded.CopyFrom(true)
    padded.key = bytes(MIB)
    unknown = rpc_pb2.Message()
    unknown.ParseFromString(true.SerializeToString() + b"\x7a\x04junk")
    assert unknown.ByteSize() > true.ByteSize()
    seqno = rpc_pb2.Message(data=b"x", topicIDs=[TOPIC], from_id=true.from_id, seqno=bytes(1000))
    seqno.signature = AUTHOR.private_key.sign(b"libp2p-pubsub:" + seqno.SerializeToString())
    for message in (padded, unknown, seqno):
        assert made._judged("heavy", message) is Outcome.REJECT
    assert reports == ["heavy"] * 3
    own = rpc_pb2.Message()
    own.CopyFrom(true)
    own.key = AUTHOR.public_key.serialize()
    assert made._judged("honest", own) is Outcome.ACCEPT, "as the library makes it; padded copies were not remembered"
    assert bare_message(own) == true
    assert reports == ["heavy"] * 3
