"""Whatever neighbours send: everything stays bounded, and the rules of mesh, back-off and delivery hold."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2p.base.limits import (
    MAX_BACKOFFS,
    MAX_IGNORED,
    MAX_JUDGING,
    MAX_MESSAGE_IDS,
    MAX_OFFERS,
    MAX_PROMISES,
    MAX_SEEN_IDS,
    MAX_TOPICS_PER_PEER,
)
from p2p.base.outcome import Outcome
from p2p.gossipsub.backoffs import Backoffs
from p2p.gossipsub.router import Router
from p2p.gossipsub.rpc import (
    Graft,
    IDontWant,
    IHave,
    IWant,
    Message,
    PeerInfo,
    Prune,
    Rpc,
    Subscription,
    Version,
    message_id,
)
from p2p.gossipsub.seen import Seen
from tests.gossipsub.net import MIB, TXS, VOTES, few

PEERS = [f"p{i}" for i in range(9)]
TOPICS = [TXS, VOTES, "/x/unheard of"]
PARAMS = few(degree=3, degree_low=2, degree_high=4, degree_score=1, degree_out=1, prune_backoff_s=10.0)
topics, peers = st.sampled_from(TOPICS), st.sampled_from(PEERS)
data = st.integers(0, 4).map(lambda i: bytes(2000) if i == 4 else bytes([i]))
ids = st.one_of(st.builds(message_id, topics, data), st.binary(max_size=30), st.binary(min_size=20, max_size=20))
many_ids = st.lists(ids, max_size=6).map(tuple)


def tuples(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=4).map(tuple)


infos = tuples(st.builds(PeerInfo, st.binary(max_size=70), st.binary(max_size=8)))
rpcs = st.builds(
    Rpc, tuples(st.builds(Subscription, topics, st.booleans())), tuples(st.builds(Message, topics, data)),
    tuples(st.builds(IHave, topics, many_ids)), tuples(st.builds(IWant, many_ids)), tuples(st.builds(Graft, topics)),
    tuples(st.builds(Prune, topics, infos, st.integers(0, 2**64 - 1))), tuples(st.builds(IDontWant, many_ids)),
)


class Anything(RuleBasedStateMachine):
    """A router among neighbours that send anything, and a model of what it may do."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.router = Router(PARAMS, Random(1), me="me")
        self.linked: set[str] = set()
        self.waiting: list[tuple[bytes, str]] = []  # delivered, not judged
        self.settled: set[bytes] = set()  # accepted, rejected or published: never to be delivered again
        self.told: dict[str, set[str]] = {}  # peer -> topics on which it hears us to be in its mesh
        self.quiet: dict[tuple[str, str], float] = {}  # (topic, peer) -> until when nobody grafts
        self.joined: set[str] = set()

    @rule(peer=peers, outbound=st.booleans(), version=st.sampled_from(Version))
    def connect(self, peer: str, outbound: bool, version: Version) -> None:
        self.router.add_peer(peer, version=version, outbound=outbound, group="g", now=self.now)
        self.linked.add(peer)

    @rule(peer=peers)
    def disconnect(self, peer: str) -> None:
        self.router.remove_peer(peer, self.now)
        self.linked.discard(peer)

    @rule(topic=topics)
    def join(self, topic: str) -> None:
        self.router.join(topic, self.now)
        self.joined.add(topic)

    @rule(topic=topics)
    def leave(self, topic: str) -> None:
        for peer in self.router.mesh(topic):
            self.quiet[topic, peer] = max(self.quiet.get((topic, peer), 0), self.now + 10)
        self.router.leave(topic, self.now)
        self.joined.discard(topic)

    @rule(peer=peers, wanted=st.booleans())
    def want(self, peer: str, wanted: bool) -> None:
        self.router.wants(peer, wanted)

    @rule(peer=peers, points=st.integers(-100, 100))
    def points(self, peer: str, points: int) -> None:
        self.router.app_score(peer, points)

    @rule(peer=peers, rpc=rpcs)
    def hear(self, peer: str, rpc: Rpc) -> None:
        heard = peer in self.linked and self.router.score(peer) >= PARAMS.thresholds.graylist
        before = {topic: self.router.mesh(topic) for topic in TOPICS}
        found = self.router.receive(peer, rpc, self.now)
        assert heard or not found
        for delivery in found:
            assert delivery.topic in self.joined
            assert delivery.id == message_id(delivery.topic, delivery.data)
            assert delivery.id not in self.settled, "delivered twice"
            assert delivery.id not in [id_ for id_, _ in self.waiting], "delivered while it is judged"
            self.waiting.append((delivery.id, delivery.topic))
        if heard:
            self._check_back_off(peer, rpc, before)

    def _check_back_off(self, peer: str, rpc: Rpc, before: dict[str, tuple[str, ...]]) -> None:
        grafted = {graft.topic for graft in rpc.graft}
        for topic in grafted & self.joined:
            if peer not in before[topic] and self.now < self.quiet.get((topic, peer), 0):
                assert peer not in self.router.mesh(topic), "a GRAFT within the back-off"
        for prune in rpc.prune:
            if prune.topic in self.joined:
                until = self.now + (min(prune.backoff_s, 60) or 10)
                self.quiet[prune.topic, peer] = max(self.quiet.get((prune.topic, peer), 0), until)

    @precondition(lambda self: self.waiting)
    @rule(outcome=st.sampled_from(Outcome), pick=st.randoms(use_true_random=False))
    def judge(self, outcome: Outcome, pick: Random) -> None:
        id_, _ = self.waiting.pop(pick.randrange(len(self.waiting)))
        self.router.judge(id_, outcome, self.now)
        if outcome is not Outcome.IGNORE:
            self.settled.add(id_)

    @rule(topic=topics, body=data)
    def publish(self, topic: str, body: bytes) -> None:
        id_ = self.router.publish(topic, body, self.now)
        self.settled.add(id_)
        self.waiting = [(waiting, topic_) for waiting, topic_ in self.waiting if waiting != id_]

    @rule(peer=peers, most=st.sampled_from([1, 100, 3000, MIB]))
    def take(self, peer: str, most: int) -> None:
        rpc = self.router.take(peer, most)
        if rpc is None:
            assert peer not in self.router.due()
            return
        for graft in rpc.graft:
            assert self.now >= self.quiet.get((graft.topic, peer), 0), "our GRAFT within the back-off"
        for prune in rpc.prune:
            assert prune.backoff_s > 0
        for message in rpc.messages:
            assert message_id(message.topic, message.data) in self.settled, "forwarded before it was accepted"

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0]))
    def beat(self, seconds: float) -> None:
        self.now += seconds
        before = {topic: set(self.router.mesh(topic)) for topic in TOPICS}
        self.router.heartbeat(self.now)
        for topic in TOPICS:
            mesh = self.router.mesh(topic)
            for gone in before[topic] - set(mesh):
                self.quiet[topic, gone] = max(self.quiet.get((topic, gone), 0), self.now + 10)
            for new in set(mesh) - before[topic]:
                assert self.now >= self.quiet.get((topic, new), 0), "grafted within the back-off"
            assert all(self.router.score(peer) >= 0 for peer in mesh)
            unwanted = [peer for peer in mesh if peer not in self.router._neighbours._wanted]
            assert len(unwanted) <= PARAMS.degree_high

    @invariant()
    def meshes_are_of_joined_topics_and_neighbours(self) -> None:
        for topic in TOPICS:
            assert set(self.router.mesh(topic)) <= (self.linked if topic in self.joined else set())
        assert set(self.router.due()) <= self.linked

    @invariant()
    def everything_is_bounded(self) -> None:
        router = self.router
        status = router.status()
        assert status["judging"] <= MAX_JUDGING
        assert status["offers"] <= MAX_OFFERS
        assert status["backoffs"] <= len(PEERS) * len(TOPICS)
        for one in router._neighbours.by_name.values():
            assert len(one.topics) <= MAX_TOPICS_PER_PEER
            assert len(one.ignored) <= MAX_IGNORED
            assert len(one.has) <= MAX_MESSAGE_IDS
            assert len(one.dont_want) <= PARAMS.max_idontwant_messages * PARAMS.idontwant_ttl
            assert one.queue.bytes == sum(item[2] for waiting in one.queue._classes for item in waiting)
            assert one.queue.messages == sum(map(len, one.queue._classes))


TestAnything = Anything.TestCase
TestAnything.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.tuples(st.sampled_from(["p", "q"]), st.floats(0, 100)), max_size=30))
def test_a_back_off_is_never_shortened(steps: list[tuple[str, float]]) -> None:
    backoffs, model = Backoffs(1.0), {"p": 0.0, "q": 0.0}
    for peer, until in steps:
        backoffs.add(TXS, peer, until)
        model[peer] = max(model[peer], until)
        assert backoffs.until(TXS, peer) == model[peer]
        assert not backoffs.may_graft(TXS, peer, model[peer] + 0.9)
        assert backoffs.may_graft(TXS, peer, model[peer] + 1.1)


def test_back_offs_are_bounded_and_the_oldest_goes() -> None:
    backoffs = Backoffs(1.0)
    for i in range(MAX_BACKOFFS + 1):
        backoffs.add(TXS, str(i), 10.0)
    assert len(backoffs) == MAX_BACKOFFS
    assert backoffs.may_graft(TXS, "0", 0.0)
    assert not backoffs.may_graft(TXS, "1", 0.0)
    backoffs.expire(10.5)
    assert len(backoffs) == MAX_BACKOFFS
    backoffs.expire(11.0)
    assert len(backoffs) == 0


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 60)), max_size=60))
def test_an_id_is_remembered_for_its_time_unless_there_are_too_many(steps: list[tuple[int, float]]) -> None:
    seen, model, now = Seen(100.0, 1000), dict[int, float](), 0.0
    for name, wait in steps:
        now += wait
        seen.turn(now)
        seen.add(name.to_bytes(20, "big"), now)
        model[name] = now
        for known, at in model.items():
            found = seen.when(known.to_bytes(20, "big"))
            assert found == at if now - at < 100 else found in (at, None)
            assert found is None or now - at <= 260, "and not for ever"
    assert len(seen) <= 62


def test_ids_are_bounded_and_the_newest_half_at_least_is_kept() -> None:
    seen = Seen(100.0, MAX_SEEN_IDS)
    ids_ = [i.to_bytes(20, "big") for i in range(2 * MAX_SEEN_IDS + 7)]
    for id_ in ids_:
        seen.add(id_, 0.0)
        assert len(seen) <= MAX_SEEN_IDS
    assert all(seen.when(id_) == 0.0 for id_ in ids_[-MAX_SEEN_IDS // 2 :])


def test_promises_do_not_outgrow_their_bound() -> None:
    router = Router(few(max_ihave_messages=10**6, max_ihave_length=10**6), Random(1), me="me")
    router.join(TXS, 0.0)
    router.add_peer("p", version=Version.V1_1, outbound=False, group="", now=0.0)
    for i in range(MAX_PROMISES + 50):
        router.receive("p", Rpc(ihave=(IHave(TXS, (i.to_bytes(20, "big"),)),)), 0.0)
        router.take("p", MIB)
    assert router.status()["promises"] == MAX_PROMISES
