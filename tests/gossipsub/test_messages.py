"""MSG-1 to MSG-8, PUBLISH-1 to PUBLISH-3, PEER-1 to PEER-3: what becomes of a message."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from p2p.base.limits import IGNORED_S, MAX_GOSSIP, MAX_JUDGING, MAX_TOPICS_PER_PEER
from p2p.base.outcome import Outcome
from p2p.gossipsub.params import Thresholds
from p2p.gossipsub.rpc import Message, Prune, Rpc, Subscription, message_id
from tests.gossipsub.net import ADVERTS, PARAMS, PROPOSALS, SCORES, TXS, VOTES, One, few


def test_msg_1_an_id_is_of_topic_and_data() -> None:
    expected = sha256(b"\x03\0\0\0\0\0\0\0" + b"abc" + b"data").digest()[:20]
    assert message_id("abc", b"data") == expected
    assert message_id("ab", b"cdata") != expected


def test_msg_1_a_delivery_has_the_id_of_its_message() -> None:
    one = One()
    one.peer("p")
    assert one.accepts("p", b"x") == message_id(TXS, b"x") == one.router.publish(TXS, b"x", one.now)


def test_the_status_counts_messages_and_bytes_of_each_topic_copies_too() -> None:
    one = One()
    for name in ("p", "q"):
        one.peer(name)
        one.brings(name, b"x" * 300)
    assert one.router.status()["bytes"][TXS] == 600
    assert one.router.status()["messages"][TXS] == 2


def test_msg_2_other_topics_and_too_large_messages_are_not_delivered() -> None:
    one = One()
    one.peer("p", TXS, ADVERTS)
    assert one.brings("p", b"x", ADVERTS) == []
    assert one.router.score("p") == 0
    assert one.brings("p", bytes(MAX_GOSSIP)) != []
    assert one.brings("p", bytes(MAX_GOSSIP + 1)) == []
    assert one.router.score("p") == -10, "it is wrong for everybody"


def test_msg_3_a_message_is_delivered_once() -> None:
    one = One()
    for name in ("p", "q"):
        one.peer(name)
    (delivery,) = one.says("p", Rpc(messages=(Message(TXS, b"x"), Message(TXS, b"x"))))
    assert (delivery.topic, delivery.data, delivery.peer) == (TXS, b"x", "p")
    assert one.brings("q", b"x") == [], "while it is judged"
    one.router.judge(delivery.id, Outcome.ACCEPT, one.now)
    assert one.brings("q", b"x") == []
    one.router.judge(delivery.id, Outcome.REJECT, one.now)
    assert one.router.score("p") == 0, "a second judgement is none"


def test_msg_3_it_is_remembered_for_the_seen_ttl_and_not_for_ever() -> None:
    one = One()
    one.peer("p")
    one.accepts("p", b"x")
    one.beat(119)
    assert one.brings("p", b"x") == []
    one.beat(240)
    assert len(one.brings("p", b"x")) == 1


def test_msg_3_our_own_message_is_not_delivered_to_us() -> None:
    one = One()
    one.peer("p")
    one.router.publish(TXS, b"x", one.now)
    assert one.brings("p", b"x") == []


def test_only_votes_are_forwarded_at_once() -> None:
    router = One(topics=(VOTES, PROPOSALS, TXS)).router
    assert [router.hurries(topic) for topic in (VOTES, PROPOSALS, TXS, "unknown")] == [True, False, False, False]


def test_msg_4_an_accepted_message_goes_to_the_mesh_and_the_wanted_but_not_to_those_who_sent_it() -> None:
    one = One()
    members = [one.member(f"m{i}") for i in range(4)]
    one.peer("outside")
    one.peer("wanted")
    one.router.wants("wanted", True)
    one.peer("wanted elsewhere", VOTES)
    one.router.wants("wanted elsewhere", True)
    (delivery,) = one.brings("m0", b"x")
    one.brings("m1", b"x")
    assert all(one.told(name) == [] for name in members), "not before it is judged"
    one.router.judge(delivery.id, Outcome.ACCEPT, one.now)
    told = [name for name in (*members, "outside", "wanted", "wanted elsewhere") if one.told(name) == [b"x"]]
    assert told == ["m2", "m3", "wanted"]


def test_msg_4_wishes_change_who_is_told_at_once_and_at_most_d_are_told_for_being_wanted() -> None:
    one = One()
    one.peer("source")
    members = [one.member(f"m{i}") for i in range(2)]
    one.router.wants(members[0], True)
    names = [one.peer(f"p{i:02}") for i in range(3 * PARAMS.degree)]
    for name in names:
        one.router.wants(name, True)
    one.accepts("source", b"1")
    assert all(one.told(name) == [b"1"] for name in members)
    assert sum(one.told(name) == [b"1"] for name in names) == PARAMS.degree - 1, "one member is wanted"
    for name in names:
        one.router.wants(name, False)
    one.accepts("source", b"2")
    assert all(one.told(name) == [] for name in names)


def test_msg_4_a_wish_may_come_before_the_peer() -> None:
    one = One()
    one.router.wants("late", True)
    one.peer("late")
    one.peer("p")
    one.accepts("p", b"x")
    assert one.told("late") == [b"x"]


def test_msg_4_who_is_first_gains_and_copies_in_time_count_where_a_topic_says_so() -> None:
    expects = replace(
        SCORES.topics[TXS], mesh_message_deliveries_weight=-1.0, mesh_message_deliveries_threshold=2.0,
        mesh_message_deliveries_decay=1.0, mesh_message_deliveries_activation=0.5,
    )
    one = One(few(score=replace(SCORES, topics={TXS: expects})))
    for name in ("first", "meanwhile", "soon", "late", "echo"):
        one.member(name)
    for i in range(2):
        (delivery,) = one.brings("first", bytes([i]))
        one.brings("meanwhile", bytes([i]))
        one.router.judge(delivery.id, Outcome.ACCEPT, one.now)
        one.now += 0.5
        one.brings("soon", bytes([i]))
        one.brings("soon", bytes([i]))
        one.now += 0.01
        one.brings("late", bytes([i]))
        one.router.publish(TXS, b"ours %d" % i, one.now)
        one.brings("echo", b"ours %d" % i)
    one.beat()
    assert one.router.score("first") == pytest.approx(2 * 0.9)
    assert [one.router.score(name) for name in ("meanwhile", "soon", "late", "echo")] == [0, 0, -4, -4]


def test_msg_4_copies_count_where_only_failures_of_the_mesh_weigh() -> None:
    expects = replace(
        SCORES.topics[TXS], mesh_failure_penalty_weight=-1.0, mesh_failure_penalty_decay=1.0,
        mesh_message_deliveries_threshold=1.0, mesh_message_deliveries_decay=1.0,
        mesh_message_deliveries_activation=0.5,
    )
    one = One(few(score=replace(SCORES, topics={TXS: expects})))
    for name in ("first", "soon", "idle"):
        one.member(name)
    one.accepts("first", b"x")
    one.brings("soon", b"x")
    one.beat()
    for name in ("soon", "idle"):
        one.says(name, Rpc(prune=(Prune(TXS),)))
    one.beat()
    assert [one.router.score(name) for name in ("soon", "idle")] == [0, -1]


@pytest.mark.parametrize(("outcome", "told"), [(Outcome.IGNORE, []), (Outcome.REJECT, [])])
def test_msg_5_6_what_is_not_accepted_is_not_forwarded(outcome: Outcome, told: list[bytes]) -> None:
    one = One()
    one.member("m")
    one.peer("p")
    (delivery,) = one.brings("p", b"x")
    one.router.judge(delivery.id, outcome, one.now)
    assert one.told("m") == told
    one.beat()
    assert one.sent("m").ihave == one.sent("p").ihave == (), "nor offered"


def test_msg_5_an_ignored_message_is_forgotten_and_nobody_loses() -> None:
    one = One()
    one.member("m")
    for name in ("p", "q", "r"):
        one.peer(name)
    (delivery,) = one.brings("p", b"x")
    one.brings("q", b"x")
    one.router.judge(delivery.id, Outcome.IGNORE, one.now)
    assert [one.router.score(name) for name in ("p", "q")] == [0, 0]
    assert one.brings("p", b"x") == one.brings("q", b"x") == [], "not at once again from those who sent it"
    (again,) = one.brings("r", b"x")
    assert again.peer == "r"
    one.router.judge(again.id, Outcome.ACCEPT, one.now)
    assert one.told("m") == [b"x"]


def test_msg_5_an_ignored_message_is_judged_again_later_from_the_same_peer() -> None:
    one = One()
    one.peer("p")
    (delivery,) = one.brings("p", b"x")
    one.router.judge(delivery.id, Outcome.IGNORE, one.now)
    one.now += IGNORED_S - 0.01
    assert one.brings("p", b"x") == []
    one.now += 0.02
    assert len(one.brings("p", b"x")) == 1


def test_msg_6_a_rejected_message_costs_all_who_sent_it_and_whoever_sends_it_later() -> None:
    one = One()
    for name in ("p", "q", "late", "innocent"):
        one.peer(name)
    (delivery,) = one.brings("p", b"x")
    one.brings("q", b"x")
    one.router.judge(delivery.id, Outcome.REJECT, one.now)
    assert one.brings("late", b"x") == []
    assert [one.router.score(name) for name in ("p", "q", "late", "innocent")] == [-10, -10, -10, 0]


def test_msg_6_a_sender_that_has_left_finds_its_penalty_again() -> None:
    one = One()
    one.peer("p")
    (delivery,) = one.brings("p", b"x")
    one.brings("p", bytes(MAX_GOSSIP + 1))
    one.router.remove_peer("p", one.now)
    one.router.judge(delivery.id, Outcome.REJECT, one.now)
    one.peer("p")
    assert one.router.score("p") < 0


def test_msg_7_a_copy_that_comes_cancels_ours() -> None:
    one = One()
    one.member("m")
    one.member("n")
    one.peer("p")
    one.accepts("p", b"x")
    one.accepts("p", b"y")
    one.brings("m", b"x")
    assert one.told("m") == [b"y"]
    assert one.told("n") == [b"x", b"y"]


def test_msg_8_whatever_a_graylisted_peer_sends_is_dropped() -> None:
    one = One()
    one.peer("p")
    one.router.app_score("p", -80)
    assert len(one.brings("p", b"1")) == 1
    one.router.app_score("p", -80.1)
    one.says("p", Rpc(subscriptions=(Subscription(VOTES, True),)))
    assert one.brings("p", b"2") == []
    assert one.router.status()["graylisted"] == ["p"]
    assert one.router.status()["graylisted messages"] == 1


def test_what_nobody_judges_is_bounded() -> None:
    one = One()
    one.peer("p")
    for i in range(MAX_JUDGING + 5):
        one.brings("p", str(i).encode())
    assert one.router.status()["judging"] == MAX_JUDGING


def test_a_judgement_after_leaving_the_topic_sends_nothing() -> None:
    one = One()
    one.member("m")
    one.peer("p")
    (delivery,) = one.brings("p", b"x")
    one.router.leave(TXS, one.now)
    one.sent("m")
    one.router.judge(delivery.id, Outcome.ACCEPT, one.now)
    assert one.sent("m") == Rpc()


# -- our own messages


def test_publish_1_a_message_floods_to_all_above_the_publish_threshold_and_the_wanted() -> None:
    one = One()
    names = one.peers(20)
    one.peer("elsewhere", VOTES)
    one.router.app_score(names[0], -50)
    one.router.app_score(names[1], -50.1)
    one.router.app_score(names[2], -60)
    one.router.wants(names[2], True)
    one.router.publish(TXS, b"x", one.now)
    assert [name for name in (*names, "elsewhere") if one.told(name)] == [names[0], *names[2:]]


def test_publish_2_without_flooding_it_goes_to_the_mesh_or_the_fanout() -> None:
    one = One(few(flood_publish=False))
    names = one.peers(20)
    one.beat()
    for name in names:
        one.sent(name)
    one.router.publish(TXS, b"x", one.now)
    assert sorted(name for name in names if one.told(name)) == sorted(one.router.mesh(TXS))


def test_publish_3_what_was_published_before_is_sent_again() -> None:
    one = One()
    one.peer("p")
    first = one.router.publish(TXS, b"x", one.now)
    assert one.told("p") == [b"x"]
    one.peer("late")
    assert one.router.publish(TXS, b"x", one.now) == first
    assert one.told("late") == one.told("p") == [b"x"]
    assert one.router.status()["cache"] == 1


def test_publish_3_what_is_being_judged_is_right_when_we_say_it_ourselves() -> None:
    one = One()
    one.peer("p")
    (delivery,) = one.brings("p", b"x")
    one.router.publish(TXS, b"x", one.now)
    one.router.judge(delivery.id, Outcome.REJECT, one.now)
    assert one.router.score("p") == 0


def test_fanout_1_a_topics_fanout_lasts_for_its_ttl() -> None:
    one = One(few(flood_publish=False), topics=())
    names = one.peers(40)

    def publish(data: bytes) -> set[str]:
        one.router.publish(TXS, data, one.now)
        return {name for name in names if one.told(name)}

    first = publish(b"1")
    assert len(first) == 6
    one.beat(59)
    assert publish(b"2") == first
    gone = min(first)
    one.router.remove_peer(gone, one.now)
    assert len(publish(b"3") & first) == 5
    one.beat(60)
    assert one.router.status()["fanout"] == 0


def test_fanout_1_topics_are_bounded() -> None:
    one = One(few(flood_publish=False), topics=())
    one.peer("p")
    for i in range(40):
        one.router.publish(f"/t/{i}", b"x", one.now)
    assert one.router.status()["fanout"] == 32


# -- neighbours


def test_peer_1_a_new_neighbour_is_told_our_topics_and_all_hear_of_changes() -> None:
    one = One(topics=(TXS, VOTES))
    one.peer("p", quiet=False)
    assert one.sent("p").subscriptions == (Subscription(TXS, True), Subscription(VOTES, True))
    one.router.join(PROPOSALS, one.now)
    one.router.join(PROPOSALS, one.now)
    one.router.leave(VOTES, one.now)
    assert one.sent("p").subscriptions == (Subscription(PROPOSALS, True), Subscription(VOTES, False))
    one.peer("p", quiet=False)
    assert one.sent("p") == Rpc(), "it is known already"


def test_peer_2_a_neighbours_topics_are_bounded() -> None:
    one = One()
    one.peer("p")
    for start in range(0, 200, 20):
        one.says("p", Rpc(subscriptions=tuple(Subscription(f"/t/{start + i}", True) for i in range(20))))
    one.router.publish(f"/t/{MAX_TOPICS_PER_PEER - 2}", b"in", one.now)
    one.router.publish(f"/t/{MAX_TOPICS_PER_PEER}", b"beyond", one.now)
    assert one.told("p") == [b"in"]
    one.peer("q", "/" + 256 * "t")
    one.router.publish("/" + 256 * "t", b"long", one.now)
    assert one.told("q") == []


def test_peer_3_unknown_peers_are_no_error() -> None:
    one = One()
    one.router.remove_peer("x", one.now)
    one.router.app_score("x", 5)
    assert one.brings("x", b"x") == []
    assert one.router.take("x", 1000) is None
    assert one.router.score("x") == 0


def test_the_wanted_are_graylisted_like_others() -> None:
    one = One(few(thresholds=Thresholds()))
    one.peer("p")
    one.router.wants("p", True)
    one.router.app_score("p", -1000)
    assert one.brings("p", b"x") == []
    one.router.publish(TXS, b"y", one.now)
    assert one.told("p") == [b"y"]
