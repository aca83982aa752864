"""A client asks fast peers first, those that failed lately last, and measures again what it has not measured for a
while."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from p2p.base.serving_limits import MAX_CHOICES, PEER_AVOID_FIRST_S, PEER_AVOID_MAX_S, PEER_FORGET_S
from p2p.client.peer_choice import PeerChoice

PEERS = ("a", "b", "c")
SECONDS = st.floats(0.001, 100)


def choice() -> PeerChoice:
    return PeerChoice(random.Random(1))


@given(st.dictionaries(st.sampled_from(PEERS), SECONDS, min_size=3))
def test_the_fastest_is_asked_first(measured: dict[str, float]) -> None:
    made = choice()
    for peer, seconds in measured.items():
        made.answered(peer, seconds, 0.0)
    order = made.order(PEERS, 1.0)
    assert [measured[peer] for peer in order] == sorted(measured.values())


@given(SECONDS, st.lists(SECONDS, max_size=8))
def test_a_measurement_is_between_those_before_and_the_new_one(first: float, later: list[float]) -> None:
    made = choice()
    for at, seconds in enumerate([first, *later]):
        made.answered("a", seconds, float(at))
    low, high = min([first, *later]), max([first, *later])
    made.answered("b", low * 0.99, 9.0)
    made.answered("c", high * 1.01, 9.0)
    assert made.order(PEERS, 9.0) == ("b", "a", "c")


@given(st.integers(1, 40), st.floats(0, 1000))
def test_a_peer_that_failed_is_asked_last_for_a_while_that_is_bounded(failures: int, now: float) -> None:
    made = choice()
    made.answered("b", 50.0, now)
    made.answered("c", 60.0, now)
    for _ in range(failures):
        made.failed("a", now)
    assert made.is_avoided("a", now + PEER_AVOID_FIRST_S * 0.99)
    assert made.order(PEERS, now) == ("b", "c", "a")
    assert not made.is_avoided("a", now + PEER_AVOID_MAX_S)
    assert set(made.order(PEERS, now)) == set(PEERS), "nobody is left out"


def test_each_failure_in_a_row_costs_twice_as_long_and_an_answer_ends_the_row() -> None:
    made = choice()
    made.failed("a", 0.0)
    assert not made.is_avoided("a", PEER_AVOID_FIRST_S)
    made.failed("a", 10.0)
    assert made.is_avoided("a", 10.0 + PEER_AVOID_FIRST_S * 1.9)
    made.answered("a", 1.0, 11.0)
    assert not made.is_avoided("a", 11.0)
    made.failed("a", 20.0)
    assert not made.is_avoided("a", 20.0 + PEER_AVOID_FIRST_S)


def test_a_peer_that_names_a_pause_has_it() -> None:
    made = choice()
    made.failed("a", 0.0, pause_s=30.0)
    assert made.is_avoided("a", 29.0)
    made.failed("b", 0.0, pause_s=10**9)
    assert not made.is_avoided("b", PEER_AVOID_MAX_S), "nobody decides that it is never asked again"


def test_when_all_failed_the_one_is_asked_whose_time_ends_first() -> None:
    made = choice()
    for at, peer in enumerate(("c", "a", "b")):
        made.failed(peer, float(at))
    assert made.order(PEERS, 2.0)[0] == "c"


def test_a_peer_that_was_not_measured_lately_is_measured() -> None:
    made = choice()
    made.answered("a", 1.0, 0.0)
    made.answered("b", 2.0, 0.0)
    assert made.order(PEERS, 1.0)[0] == "c"
    made.answered("c", 3.0, 1.0)
    assert made.order(PEERS, 2.0) == ("a", "b", "c")
    made.answered("a", 1.0, PEER_FORGET_S - 1)
    made.answered("c", 3.0, PEER_FORGET_S - 1)
    assert made.order(PEERS, PEER_FORGET_S + 1) == ("b", "a", "c")


def test_questions_at_once_are_spread_over_peers() -> None:
    made, asked = choice(), []
    for _ in range(6):
        peer = made.order(PEERS, 0.0)[0]
        made.begun(peer)
        asked.append(peer)
    assert [asked.count(peer) for peer in PEERS] == [2, 2, 2]
    for peer in PEERS:
        made.answered(peer, 1.0, 1.0)
    made.ended("b")
    assert made.order(PEERS, 1.0)[0] == "b"


def test_a_peer_whose_caller_left_without_a_token_is_at_least_so_slow() -> None:
    made = choice()
    made.waited("a", 5.0, 0.0)
    made.answered("b", 4.0, 0.0)
    made.answered("c", 6.0, 0.0)
    made.waited("c", 0.1, 0.0)
    assert made.order(PEERS, 1.0) == ("b", "a", "c")


def test_a_preferred_peer_comes_first_unless_it_failed() -> None:
    made = choice()
    for peer, seconds in zip(PEERS, (1.0, 2.0, 3.0), strict=True):
        made.answered(peer, seconds, 0.0)
    assert made.order(PEERS, 1.0, "c") == ("c", "a", "b")
    made.failed("c", 1.0)
    assert made.order(PEERS, 1.0, "c") == ("a", "b", "c")


def test_clients_that_know_nothing_do_not_all_ask_the_same_peer() -> None:
    firsts = {PeerChoice(random.Random(seed)).order(PEERS, 0.0)[0] for seed in range(20)}
    assert firsts == set(PEERS)


def test_what_is_remembered_is_bounded() -> None:
    made = choice()
    for at in range(MAX_CHOICES + 100):
        made.answered(str(at), 1.0, 0.0)
    assert len(made._peers) == MAX_CHOICES
