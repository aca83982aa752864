"""What the score remembers: senders of a message, disconnected peers; and that both are bounded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.limits import MAX_DELIVERY_RECORDS, MAX_RETAINED_SCORES
from p2p.gossipsub.deliveries import Deliveries
from p2p.gossipsub.score import PeerScore
from tests.gossipsub.neutral import score_params, topic_params

TOPIC = "blocks"
PEERS = st.sampled_from(["a", "b", "c", "d"])
IDS = st.integers(0, 3).map(lambda number: bytes([number]))
EVENTS = st.lists(st.one_of(
    st.tuples(st.just("add_peer"), PEERS, st.sampled_from(["g", "h", ""])),
    st.tuples(st.sampled_from(["remove_peer", "rejected", "graft", "prune"]), PEERS, st.none()),
    st.tuples(st.sampled_from(["first_delivery", "duplicate"]), PEERS, IDS),
    st.tuples(st.sampled_from(["behaviour", "app_score"]), PEERS, st.floats(-3, 3)),
    st.tuples(st.just("decay"), PEERS, st.none()),
), max_size=60)
# 5 mesh deliveries are expected once in the mesh; a score of -(deficit ** 2) - 100 * invalid ** 2
PARAMS = topic_params(
    mesh_message_deliveries_weight=-1.0, mesh_message_deliveries_decay=0.999, mesh_message_deliveries_cap=50.0,
    mesh_message_deliveries_threshold=5.0, mesh_message_deliveries_window=0.25, mesh_message_deliveries_activation=0.5,
    invalid_message_deliveries_weight=-100.0, invalid_message_deliveries_decay=0.5,
)


def in_mesh(*peers: str, **params: Any) -> PeerScore:
    """These neighbours, in the mesh for long enough at time 1."""
    score = PeerScore(score_params(topics={TOPIC: PARAMS}, **params))
    score.decay(0.0)
    for peer in peers:
        score.add_peer(peer, peer, 0.0)
        score.graft(peer, TOPIC, 0.0)
    score.decay(1.0)
    return score


def test_copies_count_within_the_window_and_once_each() -> None:
    """SCORE-11."""
    score = in_mesh("first", "near", "late", "outside")
    score.prune("outside", TOPIC, 1.0)
    before = score.score("outside", 1.0)
    score.duplicate("near", TOPIC, b"m", 1.0)
    assert score.score("near", 1.0) == -25.0, "not accepted yet"
    score.first_delivery("first", TOPIC, b"m", 9.0)
    for peer, now in (("near", 9.25), ("near", 9.25), ("first", 9.1), ("outside", 9.1), ("late", 9.26)):
        score.duplicate(peer, TOPIC, b"m", now)
    assert [score.score(peer, 9.5) for peer in ("first", "near", "late")] == [-16.0, -16.0, -25.0]
    assert score.score("outside", 9.5) == before


def test_a_record_is_kept_for_the_longest_window() -> None:
    """SCORE-11."""
    score = PeerScore(score_params(topics={TOPIC: replace(PARAMS, mesh_message_deliveries_window=2.0), "fast": PARAMS}))
    score.decay(0.0)
    score.add_peer("near", "g", 0.0)
    score.graft("near", TOPIC, 0.0)
    score.decay(1.0)
    score.first_delivery("first", TOPIC, b"m", 1.0)
    score.decay(1.5)
    score.duplicate("near", TOPIC, b"m", 3.0)
    assert score.score("near", 3.0) == -16.0, "though its first sender is gone"
    score.decay(3.1)
    assert len(score._deliveries) == 0


def test_delivery_records_are_bounded_and_the_oldest_goes() -> None:
    """SCORE-11."""
    deliveries = Deliveries(10.0)
    for number in range(MAX_DELIVERY_RECORDS + 3):
        deliveries.first(number.to_bytes(4, "big"), "p", 1.0)
    assert len(deliveries) == MAX_DELIVERY_RECORDS
    assert deliveries.copy((2).to_bytes(4, "big"), "q", 2.0) is None
    assert deliveries.copy((3).to_bytes(4, "big"), "q", 2.0) == 1.0
    deliveries.expire(11.0)
    assert len(deliveries) == MAX_DELIVERY_RECORDS
    deliveries.expire(11.1)
    assert len(deliveries) == 0


def test_nothing_is_remembered_where_mesh_deliveries_count_for_nothing() -> None:
    """SCORE-11."""
    seen = PeerScore(score_params(topics={TOPIC: topic_params(mesh_message_deliveries_window=1.0)}))
    seen.add_peer("p", "p", 0.0)
    seen.first_delivery("p", TOPIC, b"m", 0.0)
    assert len(seen._deliveries) == 0


def test_a_bad_score_waits_for_the_peer_s_return_and_does_not_fade_meanwhile() -> None:
    """SCORE-10."""
    score = in_mesh("bad", retain_score=100.0)
    score.rejected("bad", TOPIC)
    score.remove_peer("bad", 2.0)
    score.remove_peer("bad", 50.0)
    for now in range(3, 61):
        score.decay(float(now))
    score.add_peer("bad", "elsewhere", 60.0)
    assert score.score("bad", 60.0) == -100.0
    score.decay(61.0)
    assert score.score("bad", 61.0) == -25.0, "it fades while connected"


@pytest.mark.parametrize("decayed", [False, True])
def test_a_retained_score_is_forgotten_after_its_time(decayed: bool) -> None:
    """SCORE-10."""
    score = in_mesh("bad", retain_score=100.0)
    score.rejected("bad", TOPIC)
    score.remove_peer("bad", 2.0)
    assert score.score("bad", 101.9) == -100.0
    if decayed:
        score.decay(102.0)
    assert score.score("bad", 102.0) == 0.0
    score.add_peer("bad", "bad", 102.0)
    assert score.score("bad", 102.0) == 0.0


def test_a_good_score_is_forgotten_and_first_deliveries_do_not_outlive_a_connection() -> None:
    """SCORE-10."""
    topic = topic_params(first_message_deliveries_weight=1.0, first_message_deliveries_cap=10.0)
    score = PeerScore(score_params(topics={TOPIC: topic}, behaviour_penalty_weight=-10.0))
    for peer in ("good", "bad"):
        score.add_peer(peer, peer, 0.0)
        for number in range(5):
            score.first_delivery(peer, TOPIC, peer.encode() + bytes([number]), 0.0)
    score.behaviour("bad", 1.0)
    assert [score.score(peer, 0.0) for peer in ("good", "bad")] == [5.0, -5.0]
    for peer in ("good", "bad"):
        score.remove_peer(peer, 0.0)
        score.add_peer(peer, peer, 0.0)
    assert [score.score(peer, 0.0) for peer in ("good", "bad")] == [0.0, -10.0]


def test_a_peer_that_leaves_with_its_connection_keeps_its_mesh_failure() -> None:
    """SCORE-3b, SCORE-10."""
    topic = topic_params(
        mesh_message_deliveries_weight=-1.0, mesh_message_deliveries_threshold=5.0,
        mesh_message_deliveries_activation=0.5, mesh_failure_penalty_weight=-1.0,
    )
    score = PeerScore(score_params(topics={TOPIC: topic}))
    score.decay(0.0)
    score.add_peer("p", "g", 0.0)
    score.graft("p", TOPIC, 0.0)
    score.decay(1.0)
    score.remove_peer("p", 1.0)
    score.add_peer("p", "g", 1.0)
    score.graft("p", TOPIC, 1.0)
    assert score.score("p", 1.0) == -25.0


def test_retained_scores_are_bounded_and_the_least_bad_goes() -> None:
    """SCORE-10."""
    score = PeerScore(score_params(behaviour_penalty_weight=-1.0, retain_score=1e6))
    for number in range(MAX_RETAINED_SCORES + 10):
        peer = f"p{number}"
        score.add_peer(peer, "", 0.0)
        score.behaviour(peer, 1000.0 if number == 0 else 1.0 + number % 5)
        score.remove_peer(peer, 0.0)
    held = [score.score(f"p{number}", 0.0) for number in range(MAX_RETAINED_SCORES + 10)]
    assert sum(value < 0 for value in held) == MAX_RETAINED_SCORES
    assert held[0] == -1e6, "many that are a little bad do not clear one that is very bad"


def test_a_retained_score_counts_in_its_group() -> None:
    """SCORE-6, SCORE-10."""
    score = in_mesh(ip_colocation_factor_weight=-1.0, behaviour_penalty_weight=-1.0, retain_score=10.0)
    for peer in ("a", "b", "c"):
        score.add_peer(peer, "g", 1.0)
    assert score.score("c", 1.0) == -4.0
    score.behaviour("a", 1.0)
    score.remove_peer("a", 1.0)
    assert score.score("c", 1.0) == -4.0
    score.decay(11.0)
    assert score.score("c", 11.0) == -1.0


def play(score: PeerScore, event: tuple[str, str, Any], now: float) -> None:
    """One of EVENTS."""
    name, peer, more = event
    if name == "decay":
        score.decay(now)
    elif name in ("graft", "prune"):
        getattr(score, name)(peer, TOPIC, now)
    elif name == "rejected":
        score.rejected(peer, TOPIC)
    elif name == "remove_peer":
        score.remove_peer(peer, now)
    elif name == "add_peer":
        score.add_peer(peer, more, now)
    elif name in ("behaviour", "app_score"):
        getattr(score, name)(peer, more)
    else:
        getattr(score, name)(peer, TOPIC, more, now)


@given(EVENTS)
def test_what_is_cached_is_what_would_be_computed(events: list[tuple[str, str, Any]]) -> None:
    """SCORE-12: asking between any two events changes no answer."""
    params = score_params(
        topics={TOPIC: PARAMS}, ip_colocation_factor_weight=-1.0, behaviour_penalty_weight=-1.0, retain_score=5.0,
    )
    asked, not_asked = PeerScore(params), PeerScore(params)
    for number, event in enumerate(events):
        now = number * 0.4
        for score in (asked, not_asked):
            play(score, event, now)
        for peer in "abcd":
            asked.score(peer, now)
    assert [asked.score(peer, 24.0) for peer in "abcd"] == [not_asked.score(peer, 24.0) for peer in "abcd"]
