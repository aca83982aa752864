"""Our own places at relays: renewed in time, at relays of different networks, replaced when lost."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from p2p.base.limits import RELAY_PAUSE_MAX_S, RELAY_PAUSE_S, RELAYS, RESERVATION_LEAST_S, RESERVATION_S
from p2p.gossip.relays.holding import Holding, Near

A, B, C, D = (Near(name, host, 7470) for name, host in (
    ("A", "9.1.0.1"), ("B", "9.1.7.7"), ("C", "9.2.0.1"), ("D", "9.3.0.1"),
))
ALL = (A, B, C, D)


def asked(holding: Holding, now: float, near: tuple[Near, ...] = ALL) -> Near:
    relay = holding.to_ask(near, now)
    assert relay is not None
    return relay


def test_two_relays_in_different_networks_and_no_third() -> None:
    """HOLD-4."""
    for me in map(str, range(20)):
        holding = Holding(me)
        for _ in range(RELAYS):
            holding.granted(asked(holding, 0.0), RESERVATION_S, 0.0)
        assert not {"A", "B"} <= holding.places.keys(), "both are in 9.1.0.0/16"
        assert holding.to_ask(ALL, 1.0) is None
    holding = Holding()
    for _ in range(RELAYS):
        holding.granted(asked(holding, 0.0, (A, B)), RESERVATION_S, 0.0)
    assert holding.places.keys() == {"A", "B"}, "better than none"


def test_peers_behind_one_router_do_not_all_ask_the_same_relay() -> None:
    assert {asked(Holding(str(me)), 0.0).peer for me in range(40)} == {"A", "B", "C", "D"}


@given(st.floats(-1e9, 1e9), st.floats(0, 1e6))
def test_a_place_is_renewed_before_it_is_over_whatever_the_relays_clock_says(lasts_s: float, now: float) -> None:
    """HOLD-1."""
    holding = Holding()
    holding.granted(A, lasts_s, now)
    place = holding.places["A"]
    assert now + RESERVATION_LEAST_S / 2 <= place.renew_at < place.until <= now + RESERVATION_S
    assert holding.to_ask((A,), place.renew_at - 1.0) is None
    assert holding.to_ask((A,), place.renew_at) == A
    holding.granted(A, lasts_s, place.renew_at)
    assert holding.places["A"].until > place.until or lasts_s > 1e8
    assert not holding.look({"A"}, place.until), "so it lasts on"


def test_a_relay_that_is_gone_is_replaced_at_once() -> None:
    """HOLD-2."""
    holding = Holding()
    holding.granted(A, RESERVATION_S, 0.0)
    holding.granted(C, RESERVATION_S, 0.0)
    assert holding.look({"C", "D"}, 10.0)
    assert asked(holding, 10.0, (C, D)) == D
    assert holding.addresses() == ("/ip4/9.2.0.1/tcp/7470/p2p/C/p2p-circuit",)


def test_a_relay_that_refuses_is_asked_less_and_less_often() -> None:
    """HOLD-3."""
    holding, now, waits = Holding(), 0.0, []
    for _ in range(12):
        holding.refused("A", now, "full")
        later = now
        while holding.to_ask((A,), later) is None:
            later += 1.0
        waits.append(later - now)
        now = later
    assert waits[:3] == [RELAY_PAUSE_S, 2 * RELAY_PAUSE_S, 4 * RELAY_PAUSE_S]
    assert waits[-1] == RELAY_PAUSE_MAX_S
    assert asked(holding, now, (A, B)) == B, "others come first"


def test_a_renewal_that_fails_is_tried_again_while_the_place_lasts() -> None:
    holding = Holding()
    holding.granted(A, RESERVATION_S, 0.0)
    now = holding.places["A"].renew_at
    holding.refused("A", now, "no answer")
    assert holding.to_ask((), now) is None
    assert holding.to_ask((), now + RELAY_PAUSE_S) == A
    assert holding.addresses(), "it is a place until its time is over"
    assert holding.look({"A"}, RESERVATION_S)
    assert not holding.addresses()
