"""A peer asks others whether they can dial it, and keeps places at relays while they cannot; under a test's clock."""

from __future__ import annotations

import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from p2p.base.codec import decode, encode
from p2p.base.errors import Unavailable
from p2p.base.limits import DIAL_BACK_EVERY_S, DIAL_BACK_FIRST_S, RELAYS, RESERVATION_S, TELLS, WITNESSES
from p2p.base.types import VERSION
from p2p.gossip.connections.budget import Budgets, relayed_group
from p2p.gossip.connections.guards import RELAYED
from p2p.gossip.discovery.outside import Asking
from p2p.gossip.relays.dial_back import Answer, clock_ms
from p2p.gossip.relays.messages import HOP, Hop, HopType, Status, encode_hop
from p2p.gossip.relays.outside import Outside
from p2p.gossip.relays.places import Places
from p2p.gossip.relays.reachability import REACHED, Verdict
from tests.gossip.discovery.test_places import name

ME, PORT = name(0), 7470
SEEN = f"/ip4/11.101.0.1/tcp/{PORT}"


class Stream:
    """One question to a peer, and its answer."""

    def __init__(self, connection: Any, peer: str, answer: bytes) -> None:
        self.connection, self.peer, self._answer = connection, peer, answer

    async def send(self, frame: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async def receive(self, **_: Any) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._answer

    async def close(self) -> None: ...


class Net:
    """What the tasks use of discovery. Peers answer by `code`, and as relays by `status`."""

    def __init__(self, code: str = "timeout", known: Verdict | None = None) -> None:
        self.me, self.outside, self.code, self.status = ME, Outside(ME, known), code, Status.OK
        self.made: dict[str, Any] = {}
        self.busy = set[str]()
        self.deaf = Counter[str]()  # greetings that each does not hear
        self.asked, self.reserved, self.told = list[tuple[float, str]](), list[tuple[float, str]](), list[str]()

    def add(self, number: int, direction: str = "outbound", host: str = "") -> str:
        host = host or f"11.{number}.0.1"
        muxed = SimpleNamespace(get_remote_address=lambda: (host, 7000 + number))
        self.made[name(number)] = SimpleNamespace(direction=direction, muxed_conn=muxed)
        return name(number)

    def connected(self) -> tuple[str, ...]:
        return tuple(sorted(self.made))

    def linked(self) -> set[str]:
        return set(self.made)

    @property
    def verified(self) -> set[str]:
        return set(self.made)

    def table(self) -> list[tuple[str, Any]]:
        return list(self.made.items())

    def bound(self) -> tuple[str, ...]:
        return (f"/ip4/0.0.0.0/tcp/{PORT}/p2p/{ME}",)

    def ports(self) -> dict[bool, int]:
        return {False: PORT}

    async def greet(self, peer: str) -> None:
        await trio.lowlevel.checkpoint()
        self.told.append(peer)
        if peer in self.deaf:
            self.deaf[peer] -= 1
            self.deaf += Counter()
            await trio.sleep(6.0)
            raise Unavailable("it is late", field="peer")

    async def open_raw(self, peer: str, protocol: str) -> Any:
        await trio.lowlevel.checkpoint()
        if peer not in self.made:
            raise Unavailable("it is gone", field="peer")
        now, muxed = trio.current_time(), self.made[peer].muxed_conn
        if protocol == HOP:
            self.reserved.append((now, peer))
            expires = round(time.time() + RESERVATION_S)
            return Stream(muxed, peer, encode_hop(Hop(HopType.STATUS, self.status, expires=expires)))
        self.asked.append((now, peer))
        code = "busy" if peer in self.busy else self.code
        answer = Answer(VERSION, "answer", code, SEEN, clock_ms(), clock_ms())
        return Stream(muxed, peer, encode(answer))

    def verdict(self) -> Verdict:
        return self.outside.verdict(trio.current_time())

    async def run(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                asking = Asking(self, Places(Budgets()))  # type: ignore[arg-type]
                nursery.start_soon(asking.witnesses)
                nursery.start_soon(asking.relays)


async def test_three_witnesses_of_different_networks_are_asked_and_then_seldom(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """OUT-1."""
    net = Net(REACHED)
    for number in range(1, 6):
        net.add(number)
    await net.run(60)
    assert DIAL_BACK_FIRST_S <= net.asked[0][0] <= DIAL_BACK_FIRST_S + 2
    assert len({peer for _, peer in net.asked}) == len(net.asked) == WITNESSES
    assert net.verdict() is Verdict.OPEN
    await net.run(4 * DIAL_BACK_EVERY_S)
    assert WITNESSES + 3 <= len(net.asked) <= WITNESSES + 5
    assert net.reserved == []


async def test_a_witness_that_never_looks_does_not_silence_the_others(autojump_clock: trio.testing.MockClock) -> None:
    """Else what the others said would be too old in the end, and the verdict, and with it the relays, be lost."""
    net = Net("timeout")
    net.busy.add(net.add(1))
    for number in (2, 3):
        net.add(number)
    for _ in range(20):
        await net.run(DIAL_BACK_EVERY_S)
        assert net.verdict() is Verdict.CLOSED


async def test_who_dialled_us_is_asked_only_where_we_dialled_nobody(autojump_clock: trio.testing.MockClock) -> None:
    """Else strangers would become witnesses by dialling us; and what they prove by it counts."""
    net = Net("timeout")
    own = {net.add(number) for number in (1, 2)}
    for number in range(3, 30):
        net.add(number, "inbound", f"192.168.1.{number}")  # of a narrower network: REACHED-3
    await net.run(600)
    assert {peer for _, peer in net.asked} == own
    assert net.verdict() is Verdict.CLOSED
    net.add(40, "inbound")
    await net.run(60)
    assert net.verdict() is Verdict.OPEN, "somebody did dial it"
    alone = Net("timeout")
    alone.add(1, "inbound", "192.168.1.1")
    await alone.run(60)
    assert alone.asked, "a seed has nobody else"


async def test_peers_on_this_machine_and_relayed_ones_are_no_witnesses(autojump_clock: trio.testing.MockClock) -> None:
    """OUT-2."""
    net = Net(REACHED)
    net.add(1, host="127.0.0.1")
    muxed = net.made[net.add(2)].muxed_conn
    muxed.get_remote_address = lambda: None
    setattr(muxed, RELAYED, relayed_group(name(9), "11.9.0.1"))
    await net.run(600)
    assert (net.asked, net.verdict()) == ([], Verdict.UNKNOWN)


async def test_places_are_taken_renewed_and_replaced_and_others_are_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """HOLD-1 to HOLD-3, OUT-3."""
    net = Net("timeout")
    peers = {net.add(number) for number in range(1, 5)}
    net.add(9, "inbound", "192.168.1.9")
    await net.run(30)
    places = net.outside.holding.places
    assert len(places) == RELAYS
    assert set(places) <= peers, "never one that dialled us"
    assert {place.relay.port for place in places.values()} <= {7001, 7002, 7003, 7004}, "where we dialled it"
    assert set(net.told) == net.linked()
    before = len(net.reserved)
    await net.run(RESERVATION_S * 3)
    renewed = len(net.reserved) - before
    assert 4 * RELAYS <= renewed <= 8 * RELAYS, "each about every half of its time"
    assert set(places) == {peer for _, peer in net.reserved}
    gone = next(iter(places))
    del net.made[gone]
    net.told.clear()
    await net.run(5)
    assert len(places) == RELAYS
    assert gone not in places
    assert set(net.told) == net.linked()
    assert all(gone not in address for address in net.outside.to_name((), trio.current_time()))


@pytest.mark.parametrize("misses", [1, 1000])
async def test_whom_a_greeting_does_not_reach_is_told_again_but_not_for_ever(
    misses: int, autojump_clock: trio.testing.MockClock,
) -> None:
    """OUT-3. Before: a peer that was late once knew us only at relays which we left."""
    net = Net("timeout", Verdict.CLOSED)
    for number in range(1, 5):
        net.add(number)
    await net.run(10)
    net.told.clear()
    del net.made[next(iter(net.outside.holding.places))]
    late = next(iter(net.made))
    net.deaf[late] = misses
    await net.run(120)
    assert Counter(net.told) == Counter([*net.made, *[late] * min(misses, TELLS - 1)])


async def test_a_relay_that_refuses_is_not_pressed(autojump_clock: trio.testing.MockClock) -> None:
    net = Net("timeout", Verdict.CLOSED)
    net.add(1)
    net.status = Status.RESERVATION_REFUSED
    await net.run(3600)
    assert 8 <= len(net.reserved) <= 15
    assert "no place left" in net.outside.holding.why
    net.status = Status.OK
    await net.run(601)
    assert len(net.outside.holding.places) == 1


async def test_who_can_be_dialled_again_gives_its_places_back(autojump_clock: trio.testing.MockClock) -> None:
    net = Net("timeout")
    for number in range(1, 5):
        net.add(number)
    await net.run(30)
    assert net.outside.holding.places
    net.code = REACHED
    await net.run(3 * DIAL_BACK_EVERY_S)
    assert (net.verdict(), dict(net.outside.holding.places)) == (Verdict.OPEN, {})
    assert net.outside.to_name((), trio.current_time()) == (f"{SEEN}/p2p/{ME}",)
    net.made.clear()
    await net.run(10)
    assert net.verdict() is Verdict.UNKNOWN, "it may be in another network now"


@pytest.mark.parametrize("known", list(Verdict))
async def test_what_is_known_is_not_asked(known: Verdict, autojump_clock: trio.testing.MockClock) -> None:
    net = Net(REACHED, known)
    net.add(1)
    await net.run(100)
    assert net.asked == []
    assert bool(net.outside.holding.places) is (known is Verdict.CLOSED)


def test_an_answer_is_one_that_the_wire_takes() -> None:
    assert decode(encode(Answer(VERSION, "answer", REACHED, SEEN, 1, 2)))[2] == REACHED
