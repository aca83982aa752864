"""Addresses that lead through a relay: which are believed, how they are counted, in which order they are dialled."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import pytest
import trio
import trio.testing
from hypothesis import given

from p2p.base.errors import ConfigError, FolkmootError, Unavailable
from p2p.base.limits import BUDGETS, MAX_CIRCUIT_TRIES, WIDE_PLACES
from p2p.gossip.connections.budget import (
    Budgets,
    Flow,
    Held,
    group_of,
    relay_of,
    relayed_group,
    wide_group,
    wide_of,
)
from p2p.gossip.connections.door import Door
from p2p.gossip.connections.guards import RELAYED, group_at
from p2p.gossip.connections.reach import PUBLIC, may_name, relay_in, scope_at
from p2p.gossip.discovery import slots
from p2p.gossip.discovery.book import AddressBook, Rank, bare_address
from p2p.gossip.discovery.book import group_at as book_group
from p2p.gossip.discovery.dialling import Dialler
from p2p.gossip.host import split_address
from tests.gossip.discovery.test_places import name

ME, PEER, RELAY, OTHER = name(1), name(2), name(3), name(4)
DIRECT = "/ip4/9.9.9.9/tcp/7470"
AT = "/ip4/9.1.0.1/tcp/7470"
WAY = f"{AT}/p2p/{RELAY}/p2p-circuit"
WAY2 = f"/ip4/9.2.0.1/tcp/7470/p2p/{OTHER}/p2p-circuit"


# -- which are believed

def test_an_address_through_a_relay_is_taken_apart() -> None:
    assert bare_address(f"{WAY}/p2p/{PEER}", PEER) == bare_address(WAY, PEER) == WAY
    assert relay_in(WAY) == (RELAY, AT)
    assert relay_in(DIRECT) is relay_in(AT + f"/p2p/{RELAY}") is None
    assert split_address(f"{WAY}/p2p/{PEER}") == (PEER, WAY)
    assert scope_at(WAY) == PUBLIC


@pytest.mark.parametrize("bad", [
    f"{WAY}/p2p/{OTHER}",  # of another peer
    f"{AT}/p2p/{PEER}/p2p-circuit/p2p/{PEER}",  # through itself
    f"{AT}/p2p-circuit/p2p/{PEER}",  # a relay without a key could be anybody
    f"{WAY}/p2p-circuit/p2p/{PEER}",
    f"{WAY}/p2p/{OTHER}/p2p-circuit/p2p/{PEER}",  # over two relays
    f"/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",
    f"/ip4/0.0.0.0/tcp/7470/p2p/{RELAY}/p2p-circuit",
    f"/ip4/9.1.0.1/udp/7470/p2p/{RELAY}/p2p-circuit",
])
def test_what_is_no_way_is_not_believed(bad: str) -> None:
    assert bare_address(bad, PEER) is None
    with pytest.raises(ConfigError):
        split_address(bad if bad.endswith(PEER) else f"{bad}/p2p/{PEER}")


def test_nobody_sends_us_into_our_own_network_by_way_of_a_relay() -> None:
    """REACH-2 holds for the relay's address."""
    near = f"/ip4/192.168.1.1/tcp/22/p2p/{RELAY}/p2p-circuit"
    here = f"/ip4/127.0.0.1/tcp/22/p2p/{RELAY}/p2p-circuit"
    assert may_name(WAY, "8.8.8.8")
    assert may_name(WAY, None), "a relayed peer has no address that is seen, and may name public ones"
    assert not any(may_name(way, source) for way in (near, here) for source in ("8.8.8.8", None))
    assert may_name(near, "192.168.1.9")


# -- how they are counted

def test_all_who_come_through_one_relay_are_one_group_apart_from_the_relays_own() -> None:
    """GROUP-3."""
    group = relayed_group(RELAY, "9.1.0.1")
    assert relay_of(group) == RELAY
    assert group not in (group_of("9.1.0.1"), relayed_group(OTHER, "9.1.0.1"))
    assert wide_of(group) == wide_of(relayed_group(OTHER, "9.1.77.1")) != wide_group("9.1.0.1")
    assert wide_of(relayed_group(RELAY, "9.2.0.1")) != wide_of(group)
    assert wide_of(relayed_group(RELAY, "10.0.0.1")) == wide_of(relayed_group(RELAY, "127.0.0.1")) == ""
    assert relayed_group(RELAY, "127.0.0.1") != "", "whoever comes through a relay here is not on this machine"
    assert relay_of(group_of("9.1.0.1")) == relay_of("") == ""
    assert book_group(WAY) == wide_of(group)


def test_a_connection_has_the_group_that_it_was_given() -> None:
    muxed = SimpleNamespace(get_remote_address=lambda: ("9.1.0.1", 1))
    assert group_at(muxed) == group_of("9.1.0.1")
    setattr(muxed, RELAYED, relayed_group(RELAY, "9.1.0.1"))
    assert relay_of(group_at(muxed)) == RELAY


async def test_relays_of_one_network_bring_at_most_a_wide_groups_places() -> None:
    """Else an operator with one address could be any number of peers to us."""
    door, held = Door(Budgets()), list[Held]()
    door.connections = lambda: held
    for number in range(200):
        group = relayed_group(f"relay{number % 7}", f"9.1.{number % 7}.1")
        if door.room_for(f"p{number}", group)[0]:
            held.append(Held(f"p{number}", group, float(number), True, False))
    assert len(held) == WIDE_PLACES
    assert door.room_for("neighbour", group_of("9.1.3.3"))[0], "who comes directly from there has places of its own"
    assert door.room_for("other", relayed_group("relay", "9.2.0.1"))[0]


def test_own_slots_lead_through_each_network_of_relays_once() -> None:
    """SLOT-2: one relay cannot surround us with identities of its own."""
    book = AddressBook(ME)
    for number in range(20):
        book.learn(name(100 + number), [f"/ip4/9.1.0.{number}/tcp/1/p2p/{RELAY}/p2p-circuit"], Rank.TOLD)
    assert len(book.to_dial((), 1.0, wanted=8)) == 1
    taken = slots.groups_taken([Held(PEER, relayed_group(RELAY, "9.1.0.1"), 0.0, True, True, True)])
    assert book.to_dial((), 1.0, wanted=8, taken=taken) == ()
    book.learn(PEER, ["/ip4/9.1.0.1/tcp/1"], Rank.TOLD)
    assert book.to_dial((), 1.0, wanted=8, taken=taken) == (PEER,), "the relay itself is another group"


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4 << 20), st.floats(0, 3)), max_size=40))
def test_bytes_above_the_rate_wait_until_nothing_is_owed(steps: list[tuple[int, int, float]]) -> None:
    flow, budget, now, total = Flow(BUDGETS["relayed bytes"]), BUDGETS["relayed bytes"], 0.0, 0
    for peer, amount, pause_s in steps:
        now += pause_s
        flow.spend(f"p{peer}", "9.1.0.0/24", amount, now)
        total += amount
        now += flow.wait_s(f"p{peer}", "9.1.0.0/24", now)
        assert flow.wait_s(f"p{peer}", "9.1.0.0/24", now) < 1e-6
    assert total <= budget.group * (now + 2) + 1, "two seconds' worth, and then the group's rate"


# -- what the book does with them

def test_a_peers_own_word_replaces_its_relays() -> None:
    """BOOK-8."""
    book = AddressBook(ME)
    book.learn(PEER, [WAY, DIRECT], Rank.REACHED)
    book.learn(PEER, [WAY2], Rank.TOLD, now=1.0)
    assert book.addresses(PEER) == (WAY2, DIRECT)
    book.learn(PEER, [WAY], Rank.REACHED, now=2.0)
    assert book.addresses(PEER) == (WAY, WAY2, DIRECT), "what we reached adds to what it said"


def test_who_can_be_reached_by_relays_alone_is_dialled_after_others_that_failed_as_seldom() -> None:
    book = AddressBook(ME)
    book.learn(PEER, [WAY], Rank.REACHED)
    for number in range(20):
        book.learn(name(100 + number), [f"/ip4/9.{number}.9.9/tcp/1"], Rank.REACHED)
    assert PEER not in book.to_dial((), 1.0, wanted=20, slots=20)
    assert PEER in book.to_dial((), 1.0, wanted=21, slots=21)
    for number in range(20):
        book.dialled(name(100 + number), False, 1.0)
    assert book.to_dial((), 1000.0, wanted=1, slots=1) == (PEER,)


# -- in which order they are dialled

class Net:
    """What a dialler uses of discovery. bad: ways that fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bad: set[str], linked: set[str]) -> None:
        self.me, self._linked, self.tried = ME, linked, list[str]()
        self.dialler = Dialler(self)  # type: ignore[arg-type]

        async def directly(peer: str, addresses: tuple[str, ...]) -> None:
            await self._try(addresses[0], bad)

        async def through(peer: str, address: str, relay: str, at: str) -> None:
            await self._try(address, bad)

        monkeypatch.setattr(self.dialler, "_directly", directly)
        monkeypatch.setattr(self.dialler, "_through", through)

    async def _try(self, way: str, bad: set[str]) -> None:
        self.tried.append(way)
        await trio.lowlevel.checkpoint()
        if way in bad:
            raise Unavailable(f"{way} fails", field="peer")

    def linked(self) -> set[str]:
        return self._linked


WAY3 = f"/ip4/9.3.0.1/tcp/7470/p2p/{name(5)}/p2p-circuit"


@pytest.mark.parametrize(("bad", "linked", "tried"), [
    (set(), set(), [DIRECT]),
    ({DIRECT}, set(), [DIRECT, WAY]),
    ({DIRECT}, {OTHER}, [DIRECT, WAY2]),  # DIAL-1: a relay that is connected already
    ({DIRECT, WAY}, set(), [DIRECT, WAY, WAY2]),
    ({DIRECT, WAY, WAY2}, set(), [DIRECT, WAY, WAY2]),  # and not a third relay
])
async def test_direct_first_then_relays(
    bad: set[str], linked: set[str], tried: list[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DIAL-1."""
    net, failed = Net(monkeypatch, bad, linked), ""
    try:
        await net.dialler.connect(PEER, (WAY, WAY2, DIRECT, WAY3))
    except FolkmootError as error:
        failed = error.message
    assert net.tried == tried
    assert bool(failed) is (tried[-1] in bad)
    assert len(tried) <= 1 + MAX_CIRCUIT_TRIES


async def test_a_way_through_ourselves_leads_nowhere() -> None:
    net: Any = SimpleNamespace(me=RELAY, linked=set)
    with pytest.raises(Unavailable, match="through this peer"):
        await Dialler(net).connect(PEER, (WAY,))
