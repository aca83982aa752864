"""P1 to P7 against values computed by hand, one rule each; the figures are in the tests' own comments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from p2p.gossipsub.params import TopicScoreParams
from p2p.gossipsub.score import PeerScore
from tests.gossipsub.neutral import score_params, topic_params

TOPIC = "blocks"


def scores(topic: TopicScoreParams | None = None, **params: Any) -> PeerScore:
    """One neighbour "p" from group "g", scored in TOPIC only."""
    score = PeerScore(score_params(topics={TOPIC: topic or topic_params()}, **params))
    score.decay(0.0)
    score.add_peer("p", "g", 0.0)
    return score


def deliver(score: PeerScore, peer: str, count: int, now: float, first: int = 0) -> None:
    """`count` messages that `peer` brings first."""
    for number in range(first, first + count):
        score.first_delivery(peer, TOPIC, number.to_bytes(20, "big"), now)


def test_time_in_mesh_counts_whole_quanta_as_of_the_last_decay_and_is_capped() -> None:
    """SCORE-1."""
    score = scores(topic_params(time_in_mesh_weight=0.5, time_in_mesh_quantum=2.0, time_in_mesh_cap=10.0))
    score.decay(10.0)
    assert score.score("p", 10.0) == 0.0, "not in the mesh"
    score.graft("p", TOPIC, 10.0)
    assert score.score("p", 19.0) == 0.0, "computed at a decay only"
    score.decay(15.0)
    assert score.score("p", 15.0) == 1.0  # 5 s = 2 whole quanta, 2 * 0.5
    score.decay(1000.0)
    assert score.score("p", 1000.0) == 5.0  # the cap, 10 * 0.5
    score.prune("p", TOPIC, 1000.0)
    assert score.score("p", 1000.0) == 0.0
    score.graft("p", TOPIC, 1001.0)
    assert score.score("p", 1001.0) == 0.0, "a new stay begins at zero"


def test_first_deliveries_are_capped_and_fade() -> None:
    """SCORE-2."""
    topic = topic_params(
        topic_weight=2.0, first_message_deliveries_weight=3.0, first_message_deliveries_cap=4.0,
        first_message_deliveries_decay=0.9,
    )
    score = scores(topic)
    deliver(score, "p", 3, 0.0)
    assert score.score("p", 0.0) == 18.0  # 2 * 3 * 3
    deliver(score, "p", 5, 0.0, first=3)
    assert score.score("p", 0.0) == 24.0  # 2 * 3 * 4
    score.decay(1.0)
    assert score.score("p", 1.0) == pytest.approx(21.6)  # 24 * 0.9
    score.decay(3.0)
    assert score.score("p", 3.0) == pytest.approx(17.496)  # 24 * 0.9 ** 3


MESH = topic_params(
    mesh_message_deliveries_weight=-1.0, mesh_message_deliveries_decay=0.5, mesh_message_deliveries_cap=8.0,
    mesh_message_deliveries_threshold=5.0, mesh_message_deliveries_window=0.01, mesh_message_deliveries_activation=3.0,
    mesh_failure_penalty_weight=-2.0, mesh_failure_penalty_decay=0.5,
)


def test_a_mesh_deficit_is_squared_and_only_after_the_activation_time() -> None:
    """SCORE-3."""
    score = scores(MESH)
    score.decay(9.0)
    assert score.score("p", 9.0) == 0.0, "not in the mesh: nothing is expected"
    score.graft("p", TOPIC, 10.0)
    score.decay(13.0)
    assert score.score("p", 13.0) == 0.0, "not longer than the activation time"
    score.decay(14.0)
    assert score.score("p", 14.0) == -25.0  # (5 - 0) ** 2
    deliver(score, "p", 3, 14.0)
    assert score.score("p", 14.0) == -4.0  # (5 - 3) ** 2
    deliver(score, "p", 20, 14.0, first=3)
    assert score.score("p", 14.0) == 0.0
    score.decay(15.0)
    assert score.score("p", 15.0) == -1.0  # capped at 8, faded to 4: (5 - 4) ** 2


def test_deliveries_outside_the_mesh_do_not_count_for_it() -> None:
    """SCORE-3."""
    score = scores(MESH)
    deliver(score, "p", 5, 0.0)
    score.graft("p", TOPIC, 1.0)
    score.decay(5.0)
    assert score.score("p", 5.0) == -25.0


def test_a_deficit_at_pruning_sticks_and_fades_on_its_own() -> None:
    """SCORE-3b."""
    score = scores(MESH)
    score.graft("p", TOPIC, 0.0)
    score.decay(4.0)
    deliver(score, "p", 2, 4.0)
    score.prune("p", TOPIC, 4.0)
    assert score.score("p", 4.0) == -18.0  # (5 - 2) ** 2 * -2; P3 itself ends with the stay
    score.prune("p", TOPIC, 4.0)
    assert score.score("p", 4.0) == -18.0, "it left the mesh once"
    score.graft("p", TOPIC, 4.5)
    assert score.score("p", 4.5) == -18.0, "P3 waits for its activation time, P3b does not"
    score.decay(5.0)
    assert score.score("p", 5.0) == -9.0  # 9 * 0.5 * -2


def test_pruning_before_the_activation_time_costs_nothing() -> None:
    """SCORE-3b."""
    score = scores(MESH)
    score.graft("p", TOPIC, 0.0)
    score.decay(2.0)
    score.prune("p", TOPIC, 2.0)
    score.decay(10.0)
    assert score.score("p", 10.0) == 0.0


def test_invalid_messages_are_squared_without_a_cap() -> None:
    """SCORE-4."""
    score = scores(topic_params(
        topic_weight=0.5, invalid_message_deliveries_weight=-10.0, invalid_message_deliveries_decay=0.5,
    ))
    for _ in range(4):
        score.rejected("p", TOPIC)
    assert score.score("p", 0.0) == -80.0  # 0.5 * -10 * 16
    score.decay(1.0)
    assert score.score("p", 1.0) == -20.0  # half of 4, squared
    score.rejected("p", "another topic")
    score.rejected("a stranger", TOPIC)
    assert score.score("p", 1.0) == -20.0


def test_the_application_s_score() -> None:
    """SCORE-5."""
    score = scores(app_specific_weight=2.0)
    score.app_score("p", -7.5)
    assert score.score("p", 0.0) == -15.0
    score.app_score("p", 1.0)
    assert score.score("p", 0.0) == 2.0, "in place of the last one, not added to it"


def test_peers_of_one_group_lose_by_the_squared_surplus() -> None:
    """SCORE-6."""
    score = scores(
        ip_colocation_factor_weight=-1.0, ip_colocation_factor_threshold=2,
        ip_colocation_factor_whitelist=frozenset({"office"}),
    )
    for number in range(4):
        score.add_peer(f"g{number}", "g", 0.0)
        score.add_peer(f"o{number}", "office", 0.0)
        score.add_peer(f"t{number}", "", 0.0)
    score.add_peer("alone", "h", 0.0)
    assert [score.score(peer, 0.0) for peer in ("p", "g3", "o3", "t3", "alone")] == [-9.0, -9.0, 0.0, 0.0, 0.0]
    score.add_peer("g3", "h", 1.0)
    assert [score.score(peer, 1.0) for peer in ("p", "g3", "alone")] == [-4.0, 0.0, 0.0], "its address changed"
    score.remove_peer("g3", 1.0)
    score.add_peer("next", "h", 1.0)
    assert score.score("next", 1.0) == 0.0, "one that leaves with a score of 0 leaves its group"


def test_behaviour_counts_squared_above_its_threshold() -> None:
    """SCORE-7."""
    score = scores(behaviour_penalty_weight=-10.0, behaviour_penalty_threshold=2.0, behaviour_penalty_decay=0.75)
    score.behaviour("p", 2.0)
    assert score.score("p", 0.0) == 0.0
    score.behaviour("p", 2.0)
    assert score.score("p", 0.0) == -40.0  # (4 - 2) ** 2
    score.decay(1.0)
    assert score.score("p", 1.0) == -10.0  # 4 * 0.75 = 3
    score.behaviour("a stranger", 9.0)
    assert score.score("a stranger", 1.0) == 0.0


def test_topics_together_are_capped_and_what_is_held_against_a_peer_is_not() -> None:
    """SCORE-8."""
    topic = topic_params(
        topic_weight=1.0, first_message_deliveries_weight=1.0, first_message_deliveries_cap=100.0,
        invalid_message_deliveries_weight=-1.0,
    )
    score = PeerScore(score_params(topics={"a": topic, "b": topic}, topic_score_cap=10.0))
    score.add_peer("p", "g", 0.0)
    for number in range(16):
        score.first_delivery("p", "ab"[number % 2], bytes([number]), 0.0)
    score.app_score("p", 5.0)
    assert score.score("p", 0.0) == 15.0  # min(8 + 8, 10) + 5
    for _ in range(6):
        score.rejected("p", "b")
    assert score.score("p", 0.0) == -15.0  # 16 - 36, below the cap, + 5
    score.graft("p", "no parameters", 0.0)
    score.first_delivery("p", "no parameters", b"x", 0.0)
    assert score.score("p", 0.0) == -15.0
    assert score.score("a stranger", 0.0) == 0.0


@pytest.mark.parametrize("steps", [(1.0, 2.0, 3.0), (3.0,), (0.4, 0.9, 1.6, 2.1, 3.3)])
def test_fading_follows_time_and_not_the_number_of_calls(steps: tuple[float, ...]) -> None:
    """SCORE-9."""
    score = scores(topic_params(invalid_message_deliveries_weight=-1.0, invalid_message_deliveries_decay=0.5))
    for _ in range(8):
        score.rejected("p", TOPIC)
    for now in steps:
        score.decay(now)
    assert score.score("p", 3.3) == -1.0  # (8 / 2 ** 3) ** 2


def test_a_small_counter_becomes_zero() -> None:
    """SCORE-9."""
    score = scores(
        topic_params(invalid_message_deliveries_weight=-1.0, invalid_message_deliveries_decay=0.5),
        decay_to_zero=0.2,
    )
    score.rejected("p", TOPIC)
    score.decay(2.0)
    assert score.score("p", 2.0) == -0.0625  # 0.25 ** 2
    score.decay(3.0)
    assert score.score("p", 3.0) == 0.0  # 0.125 is below 0.2


def test_with_a_share_nobody_is_to_bring_what_did_not_exist() -> None:
    """SCORE-3, ours."""
    score = scores(replace(MESH, mesh_message_deliveries_share=0.25, mesh_message_deliveries_window=9.0))
    score.graft("p", TOPIC, 0.0)
    score.decay(8.0)
    assert score.score("p", 8.0) == 0.0, "nothing was accepted, so nothing is expected"
    deliver(score, "q", 8, 8.0)
    assert score.score("p", 8.0) == 0.0, "as of the last decay"
    score.decay(9.0)
    assert score.score("p", 9.0) == -1.0  # 8 * 0.5 accepted, a quarter of it expected: (1 - 0) ** 2
    for number in range(3):
        score.duplicate("p", TOPIC, number.to_bytes(20, "big"), 9.0)
    assert score.score("p", 9.0) == 0.0
    deliver(score, "q", 100, 9.0, first=8)
    score.decay(10.0)
    assert score.score("p", 10.0) == -12.25  # 26 is a quarter, the threshold 5: (5 - 3 * 0.5) ** 2
    score.decay(20.0)
    score.decay(40.0)
    assert score.score("p", 40.0) == 0.0, "what was accepted has faded"
