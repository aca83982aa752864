"""Which connections have a place, and whom we dial: strangers that greet and leave decide neither."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from libp2p.peer.id import ID

from p2p.base.errors import FolkmootError, Unavailable
from p2p.base.keys import Key
from p2p.base.limits import (
    DIALS_AT_ONCE,
    MAX_ADDRESSES_PER_PEER,
    MAX_CHOSEN,
    MAX_CONNECTIONS,
    MAX_FAREWELLS,
    REDIAL_FIRST_S,
)
from p2p.gossip.connections.budget import Budgets
from p2p.gossip.connections.door import Door
from p2p.gossip.connections.reach import DialPolicy
from p2p.gossip.connections.score import Scores
from p2p.gossip.discovery.book import AddressBook, Rank
from p2p.gossip.discovery.discovery import Discovery
from p2p.gossip.discovery.farewell import Farewells
from tests.gossip.lab import peers, seed

PLACES = MAX_CONNECTIONS - MAX_CONNECTIONS // 4


def name(number: int) -> str:
    return Key(number.to_bytes(32, "big")).peer_id


class Connection:
    """A connection in the library's table, with what discovery uses of it."""

    def __init__(self, host: str, direction: str) -> None:
        self.direction, self.muxed_conn = direction, self
        self._host = host

    def get_remote_address(self) -> tuple[str, int]:
        return self._host, 4001


class Host:
    """The library's host, with what discovery uses of it."""

    def __init__(self) -> None:
        self.connections: dict[ID, list[Connection]] = {}

    def get_id(self) -> ID:
        return ID.from_string(name(0))

    def get_network(self) -> Host:
        return self

    def get_connected_peers(self) -> list[ID]:
        return list(self.connections)

    def get_connections(self, peer: ID) -> list[Connection]:
        return self.connections.get(peer, [])

    async def close_peer(self, peer: ID) -> None:
        self.connections.pop(peer, None)

    def add(self, number: int, host: str, direction: str) -> None:
        self.connections[ID.from_string(name(number))] = [Connection(host, direction)]


def discovery(host: Host) -> Discovery:
    return Discovery(host, None, "lab", Scores(), 4, Door(Budgets()), DialPolicy())


async def test_who_is_dialled_because_it_greeted_and_left_is_not_kept_for_ever() -> None:
    """Before: after 96 keys at one address, each an outbound connection, every newcomer was refused."""
    host = Host()
    net = discovery(host)
    for number in range(1, PLACES + 1):
        host.add(number, "203.0.113.7", "outbound")
        net.verified.add(name(number))
    stays, leaves = net.door.room_for(name(500), "198.51.100.0/24")
    assert stays
    assert leaves in net.verified
    assert not net.door.room_for(name(501), "203.0.113.0/24")[0], "its network has its share, whichever side dialled"
    net.door.valued = lambda peer: peer == name(501)
    assert net.door.room_for(name(501), "203.0.113.0/24")[0]


async def test_what_we_chose_stays_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    net = discovery(host)

    async def connect(peer: str, addresses: tuple[str, ...]) -> None:
        host.add(int(addresses[0]), f"10.{int(addresses[0])}.0.1", "outbound")
        net.verified.add(peer)

    monkeypatch.setattr(net.dialler, "connect", connect)
    for number in range(1, 2 * MAX_CHOSEN):
        await net.dial(name(number), (f"{number}",), chosen=True)
    assert net.chosen == {name(number) for number in range(1, MAX_CHOSEN + 1)}
    assert {one.peer for one in net.held() if one.valued} == net.chosen
    await net.disconnect(name(1))
    net.forget_chosen()
    assert name(1) not in net.chosen, "a choice ends with its connection"
    net.bootstrap = ((name(2 * MAX_CHOSEN - 1), "/ip4/9.9.9.9/tcp/1"),)
    assert {one.peer for one in net.held() if one.valued} == net.chosen | {net.bootstrap[0][0]}


async def test_one_dial_that_fails_counts_once(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """BOOK-1. Before: the dial and its caller both counted a failure, so the second wait was eight seconds."""
    net = discovery(Host())
    net.book.learn(name(1), ["/ip4/9.9.9.9/tcp/1"], Rank.REACHED)

    async def fail(peer: str, addresses: tuple[str, ...]) -> None:
        raise Unavailable("nobody", field="peer")

    monkeypatch.setattr(net.dialler, "connect", fail)
    with pytest.raises(FolkmootError):
        await net.dial(name(1), ("/ip4/9.9.9.9/tcp/1",), chosen=True)
    assert net.book.to_dial((), trio.current_time() + REDIAL_FIRST_S, wanted=1) == (name(1),)
    assert net.chosen == set()


async def test_a_place_is_given_away_once_and_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """DISC-5. Whose place was given away counts no more and is not chosen again; words are for MAX_FAREWELLS at
    once."""
    host = Host()
    net = discovery(host)
    for number in range(1, PLACES + 1):
        host.add(number, f"10.0.{number % 8}.1", "inbound")
    gone = [net.door.room_for(name(1000 + number), "172.16.0.0/24")[1] for number in range(2)]
    assert gone[0] == gone[1]
    assert net.door.admit(name(1000), "172.16.0.0/24")
    host.add(1000, "172.16.0.1", "inbound")
    assert net.door.admit(name(1001), "172.16.0.0/24")
    assert len(net.door.leaving) == 2
    farewells, told = Farewells(net), []

    async def say(peer: str, code: str, why: str, seconds: float) -> None:
        told.append((peer, code))

    monkeypatch.setattr(farewells, "_say_goodbye", say)
    for peer in tuple(net.door.leaving):
        await farewells.give_place_away(peer)
        assert ID.from_string(peer) not in host.connections
    assert (len(told), {code for _, code in told}) == (2, {"full"})
    assert net.door.leaving == set()
    assert not net.troubles, "strangers that come and go drive out no other reason"
    farewells._parting.update(f"{number}" for number in range(MAX_FAREWELLS))
    await farewells.give_place_away(name(3))
    assert len(told) == 2
    assert ID.from_string(name(3)) not in host.connections


def dials(book: AddressBook, until: float, *, fresh: int = 0) -> list[str]:
    """Whom a peer without connections dials when nobody answers: each dial takes eight seconds. fresh: strangers that
    greet and leave each half second."""
    out: list[str] = []
    running: dict[str, float] = {}
    for tick in range(2, int(until * 2)):
        now, stranger = tick / 2, 10_000 + tick * fresh
        for number in range(stranger, stranger + fresh):
            book.learn(f"fresh{number}", [f"/ip4/8.8.9.9/tcp/{number % 60_000 + 1}"], Rank.TOLD)
            book.lost(f"fresh{number}", now)
        for peer in [peer for peer, end in running.items() if end <= now]:
            del running[peer]
            book.dialled(peer, False, now)
        chosen = book.to_dial((), now, wanted=4 - len(running), busy=tuple(running), slots=DIALS_AT_ONCE - len(running))
        running |= dict.fromkeys(chosen, now + 8)
        out += chosen
        assert len(running) <= DIALS_AT_ONCE
    return out


@pytest.mark.parametrize("fresh", [0, 3])
def test_lost_strangers_do_not_take_the_dials_of_those_we_know(fresh: int) -> None:
    """BOOK-5: fourteen keys that greet, each naming an address that swallows SYNs, and the bootstrap was never dialled
    again."""
    book = AddressBook()
    book.learn("bootstrap", ["/ip4/9.9.9.9/tcp/4001"], Rank.REACHED)
    book.dialled("bootstrap", False, 0.0)
    for number in range(14):
        book.learn(f"stranger{number}", [f"/ip4/8.8.8.{number + 1}/tcp/81"], Rank.TOLD)
        book.lost(f"stranger{number}", 0.0)
    made = dials(book, 120, fresh=fresh)
    assert made.count("bootstrap") >= 4
    assert len(set(made)) > 10, "the others have their turns as well"


def test_many_that_were_reached_and_lost_leave_dials_to_others() -> None:
    book = AddressBook()
    book.learn("told", ["/ip4/9.9.9.9/tcp/4001"], Rank.TOLD)
    for number in range(30):
        book.learn(f"reached{number}", [f"/ip4/8.8.8.{number + 1}/tcp/81"], Rank.REACHED)
        book.lost(f"reached{number}", 0.0)
    assert dials(book, 60).count("told") >= 2


def test_each_source_of_hearsay_has_its_turn() -> None:
    """BOOK-4. Before: a liar that named an honest peer first, with eight dead addresses, kept the true one out."""
    book, true = AddressBook(), "/ip4/203.0.113.9/tcp/4001"
    book.learn("peer", [f"/ip4/8.8.4.{number}/tcp/9" for number in range(1, 9)], source="liar")
    book.learn("peer", [true], source="honest")
    assert book.addresses("peer")[1] == true
    assert len(book.addresses("peer")) == MAX_ADDRESSES_PER_PEER
    for number in range(20):
        book.learn("peer", [f"/ip4/8.8.5.{number}/tcp/9"], source=f"liar{number}")
    assert true in book.addresses("peer"), "and later liars do not drive it out"
    crowd = AddressBook()
    for number in range(20):
        crowd.learn("peer", [f"/ip4/8.8.5.{number}/tcp/9"], source=f"liar{number}")
    crowd.dialled("peer", False, 0.0)
    crowd.learn("peer", [true], source="honest")
    assert crowd.addresses("peer")[0] == true, "what failed makes way"


def crowd_of(number: int, state: dict[str, Any]) -> bool:
    return len(state["connected"]) == number


async def test_who_has_to_go_is_told_that_there_is_no_room() -> None:
    """DISC-5, with real peers: three places, and a fourth peer that comes; the youngest makes room."""
    async with peers({"seed": seed("inn").hex(), "places": 4, "min": 0}) as (inn,), AsyncExitStack() as stack:
        guests = []
        for number in range(4):
            words = {"seed": seed(f"guest{number}").hex(), "bootstrap": [inn.address], "min": 1}
            guests += await stack.enter_async_context(peers(words))
            if number < 3:
                await inn.until(partial(crowd_of, number + 1))
        state = await guests[2].until(lambda state: state["status"]["refused_by"])
        assert [(row["peer"], row["code"]) for row in state["status"]["refused_by"]] == [(inn.id, "full")]
        assert "every place is taken" in state["status"]["refused_by"][0]["message"]
        assert not (await inn.tell("state"))["status"]["troubles"]
