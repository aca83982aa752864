"""What a relay promises: within limits, shared between strangers, with room for the network's own hosts."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from p2p.base.limits import (
    BUDGETS,
    CIRCUITS_TO_PEER,
    CIRCUITS_TO_PEER_FROM_GROUP,
    RESERVATION_S,
)
from p2p.gossip.connections.budget import Budgets, group_of
from p2p.gossip.relays.messages import Status
from p2p.gossip.relays.places import Circuit, Places

FREE = BUDGETS["reservations"].total * 3 // 4  # places that strangers may have
DATA = 1000


def group(number: int) -> str:
    return group_of(f"9.{number % 250}.{number // 250}.1")


def open_all(places: Places, sources: list[tuple[str, str]], target: str) -> list[Circuit | Status]:
    return [places.open(source, of, target, DATA) for source, of in sources]


def test_one_address_group_has_a_quarter_of_the_places_and_validators_have_the_last_quarter() -> None:
    """RELAY-1."""
    places, budget = Places(Budgets()), BUDGETS["reservations"]
    crowd = [places.reserve(f"crowd{n}", group(0), 0.0) for n in range(budget.total)]
    assert sum(until is not None for until in crowd) == budget.group
    others = [places.reserve(f"other{n}", group(n), 0.0) for n in range(1, budget.total)]
    assert sum(until is not None for until in others) == FREE - budget.group
    assert places.refused[Status.RESERVATION_REFUSED] == 2 * budget.total - 1 - FREE
    own = [places.reserve(f"validator{n}", group(0), 0.0, valued=True) for n in range(budget.total)]
    assert sum(until is not None for until in own) == budget.total - FREE, "whatever their address"


def test_a_place_is_renewed_without_a_second_one_and_ends_with_its_time_or_its_connection() -> None:
    places, ledger = Places(budgets := Budgets()), budgets.reservations
    assert places.reserve("host", group(1), 0.0) == RESERVATION_S
    assert places.reserve("host", group(1), 100.0) == 100.0 + RESERVATION_S
    assert ledger.used == 1
    places.sweep({"host"}, RESERVATION_S + 1)
    assert places.has("host"), "it was renewed"
    places.sweep({"host"}, RESERVATION_S + 100.0)
    assert not places.has("host")
    places.reserve("host", group(1), 4000.0)
    places.sweep({"somebody else"}, 4001.0)
    assert (places.peers(), ledger.used) == ((), 0)


def test_no_stranger_takes_all_circuits_to_a_peer() -> None:
    """RELAY-2, RELAY-3."""
    places = Places(Budgets())
    assert places.open("a", group(1), "host", DATA) is Status.NO_RESERVATION
    places.reserve("host", group(9), 0.0)
    got = open_all(places, [(f"sybil{n}", group(1)) for n in range(20)], "host")
    assert sum(isinstance(one, Circuit) for one in got) == CIRCUITS_TO_PEER_FROM_GROUP
    got = open_all(places, [(f"p{n}", group(n)) for n in range(2, 40)], "host")
    assert sum(isinstance(one, Circuit) for one in got) == CIRCUITS_TO_PEER - CIRCUITS_TO_PEER_FROM_GROUP
    assert got[-1] is Status.RESOURCE_LIMIT_EXCEEDED


def test_validators_are_not_counted_in_their_address_group() -> None:
    places = Places(Budgets())
    places.reserve("host", group(9), 0.0)
    made = [places.open(f"v{n}", group(1), "host", DATA, valued=True) for n in range(CIRCUITS_TO_PEER)]
    assert all(isinstance(one, Circuit) for one in made)
    assert places.open("one more", group(1), "host", DATA, valued=True) is Status.RESOURCE_LIMIT_EXCEEDED


def test_a_circuit_carries_what_was_promised_and_no_more() -> None:
    places = Places(Budgets())
    places.reserve("host", group(9), 0.0)
    circuit = places.open("a", group(1), "host", DATA)
    assert isinstance(circuit, Circuit)
    assert circuit.carry(DATA)
    assert not circuit.carry(1)


KINDS = st.sampled_from(["reserve", "sweep", "open", "close"])
STEPS = st.lists(st.tuples(KINDS, st.integers(0, 60), st.integers(0, 5), st.booleans()), max_size=120)


@given(STEPS)
def test_no_promise_exceeds_a_limit_and_all_is_given_back(steps: list[tuple[str, int, int, bool]]) -> None:
    places, made = Places(budgets := Budgets()), list[Circuit]()
    for now, (kind, number, of, valued) in enumerate(steps):
        if kind == "reserve":
            places.reserve(f"host{of}", group(of), now, valued=valued)
        elif kind == "sweep":
            places.sweep({f"host{n}" for n in range(of)}, float(now))
        elif kind == "open":
            got = places.open(f"p{number}", group(number % 3), f"host{of}", DATA, valued=valued)
            made += [got] if isinstance(got, Circuit) else []
        elif made:
            places.close(made.pop(number % len(made)))
        to = [sum(one.target == f"host{n}" for one in made) for n in range(6)]
        assert max(to) <= CIRCUITS_TO_PEER
        assert len(made) == budgets.circuits.used <= BUDGETS["circuits"].total
        assert len(places.peers()) == budgets.reservations.used <= BUDGETS["reservations"].total
    for one in made:
        places.close(one)
    places.sweep((), float(len(steps)))
    assert (budgets.circuits.used, budgets.reservations.used, places._open) == (0, 0, {})
