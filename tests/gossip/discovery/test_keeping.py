"""Which connections end, what is counted of them, and whom a starting peer asks first. The real case (a stopped process
is noticed) is in test_network.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from libp2p.peer.id import ID

from p2p.base.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.base.keys import Key
from p2p.base.limits import (
    BOOK_FIRST_S,
    GREETING_GRACE_S,
    MAX_BOOK_FILE,
    MAX_STRETCH,
    PING_INTERVAL_S,
    SILENT_S,
    START_SPREAD_S,
)
from p2p.gossip.connections import pulse
from p2p.gossip.connections.budget import Budgets
from p2p.gossip.connections.door import MARK, Door
from p2p.gossip.connections.partings import Partings, Why
from p2p.gossip.connections.pulse import Silence
from p2p.gossip.connections.reach import DialPolicy
from p2p.gossip.connections.score import Scores
from p2p.gossip.discovery import book_file
from p2p.gossip.discovery.book import AddressBook, Rank
from p2p.gossip.discovery.discovery import Discovery
from p2p.gossip.discovery.keeping import Keeper
from p2p.machine.deadlines import of_this_run, own_time
from tests.gossip.discovery.test_places import Host, name

PEER = Key(bytes(32)).peer_id


class Muxed:
    """FAKE: a Yamux connection without a socket; `answers` says whether pings come back."""

    peer_id, is_closed = PEER, False

    def __init__(self, *, answers: bool) -> None:
        self.stream_buffers: dict[int, bytes] = {}
        self.event_shutting_down = trio.Event()
        self.answers, self.pings, self._rtt, self._ping_id = answers, 0, 0.0, 0

    def rtt(self) -> float:
        return self._rtt

    async def _write_frame(self, frame: bytes) -> None:
        self.pings += 1
        if self.answers:
            self._rtt = 0.01
            self._ping_event.set()  # type: ignore[attr-defined]


# -- silence (PULSE-1, PULSE-2, DISC-3)


@given(st.lists(st.tuples(st.floats(0, 20), st.booleans(), st.floats(0, 1)), max_size=60))
def test_a_connection_is_dead_only_after_its_silence_in_own_time(looks: list[tuple[float, bool, float]]) -> None:
    """Each look: seconds passed, whether something came meanwhile, which share of the time this process was on time."""
    silence, now, own, heard, heard_own = Silence(), 0.0, 0.0, 0.0, 0.0
    silence.look([(PEER, heard)], own)
    for passed, talks, on_time in looks:
        now, own = now + passed, own + passed * on_time
        heard, heard_own = (now, own) if talks else (heard, heard_own)
        dead = silence.look([(PEER, heard)], own)
        assert (dead == [PEER]) is (own - heard_own >= SILENT_S)


def test_a_new_connection_of_a_silent_peer_has_its_time() -> None:
    silence = Silence()
    silence.look([(PEER, 1.0)], 0.0)
    silence.look([], SILENT_S)
    assert silence.look([(PEER, 1.0)], SILENT_S + 1) == []


@pytest.mark.parametrize(("talks", "strain", "pings"), [
    (True, 1, 1), (False, 1, round(8 * SILENT_S / PING_INTERVAL_S)), (False, 2, round(4 * SILENT_S / PING_INTERVAL_S)),
])
async def test_only_a_silent_connection_is_pinged(
    talks: bool, strain: int, pings: int, autojump_clock: trio.testing.MockClock
) -> None:
    """PULSE-1: before, each peer opened a stream to each other one every five seconds: two cores' work for 48 peers."""
    own = of_this_run().own
    own._share = 1 - 1 / strain
    muxed = Muxed(answers=True)
    intake = Door(Budgets()).intake(muxed, "10.0.0.0/24")
    muxed.__dict__[MARK] = intake
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse._ping_when_silent, muxed)
        for _ in range(round(8 * SILENT_S)):
            await trio.sleep(1.0)
            own.lost_s += 1 - 1 / strain
            if talks:
                intake.heard_at = trio.current_time()
        nursery.cancel_scope.cancel()
    assert abs(muxed.pings - pings) <= (not talks)
    assert trio.current_time() - intake.heard_at <= strain * PING_INTERVAL_S + 1.0, "a pong is heard"


async def test_a_process_that_is_late_no_more_pings_before_it_misses_an_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """48 peers that start on two cores are late, and then on time: each had put off its pings, and heard nobody."""
    own, muxed = of_this_run().own, Muxed(answers=True)
    own._share = 1 - 1 / MAX_STRETCH
    muxed.__dict__[MARK] = Door(Budgets()).intake(muxed, "10.0.0.0/24")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse._ping_when_silent, muxed)
        await trio.sleep(PING_INTERVAL_S + 1)
        own._share, before, begun = 0.0, muxed.pings, own_time()
        while muxed.pings == before:
            await trio.sleep(0.5)
        assert own_time() - begun < SILENT_S / 2
        nursery.cancel_scope.cancel()


async def test_a_ping_without_an_answer_is_the_last_one(autojump_clock: trio.testing.MockClock) -> None:
    muxed = Muxed(answers=False)
    with trio.move_on_after(10 * SILENT_S):
        await pulse._ping_when_silent(muxed)
    assert muxed.pings == 1


@pytest.mark.parametrize("late", [False, True])
async def test_a_dead_connection_ends_and_the_reason_is_counted(
    late: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """PARTING-1: before, nobody could say why connections ended. DISC-3: a peer that lost all this time ends none."""
    host = Home()
    net = discovery(host)
    for number in (1, 2, 3):
        host.add(number, "10.0.0.1", "inbound")
        net.verified.add(name(number))
    keeper, talker = Keeper(net, ()), net.door.intake(SimpleNamespace(peer_id=name(1), is_closed=False), "10.0.0.0/24")
    async with trio.open_nursery() as nursery:
        for tick in range(round(2 * (SILENT_S + 3))):
            talker.heard_at = trio.current_time()
            of_this_run().own.lost_s += 0.5 * late
            keeper._look_at_links(nursery)
            if tick == 5:
                await host.close_peer(ID.from_string(name(2)))
            await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    assert net.linked() == ({name(1), name(3)} if late else {name(1)})
    assert net.door.partings.status() == ({"lost": 1} if late else {"lost": 1, "silent": 1})


@pytest.mark.parametrize(("answers", "greetings", "mute"), [
    ([None], 1, False), ([Unavailable("busy"), None], 2, False), ([Unavailable("busy")] * 2, 2, True),
    ([RemoteProtocolError("another network")], 1, True),
])
async def test_who_is_late_for_a_greeting_is_greeted_once_more_and_who_refuses_is_not(
    answers: list[FolkmootError | None], greetings: int, mute: bool, autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DISC-6. Before: of 24 peers that started together some took others for mute, and ended their connections."""
    host = Home()
    net = discovery(host)
    host.add(1, "10.0.0.1", "inbound")
    greeted: list[str] = []

    async def greet(peer: str) -> None:
        answer = answers[len(greeted)]
        greeted.append(peer)
        if answer is not None:
            raise answer
        net.verified.add(peer)

    monkeypatch.setattr(net, "greet", greet)
    keeper = Keeper(net, ())
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            keeper._look_at_links(nursery)
            await trio.sleep(0.5)
    assert greeted == [name(1)] * greetings
    assert (net.mute == {name(1)}) is mute


@pytest.mark.parametrize(("validator", "late", "streams"), [
    (True, False, 0), (False, False, 0), (False, True, 0), (False, False, 1),
])
async def test_who_stays_mute_is_disconnected_in_own_time_and_a_validator_or_who_has_a_stream_greeted_again(
    validator: bool, late: bool, streams: int, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DISC-6. Before: of 48 peers that started together on two cores, most ended each other's connections for ever."""
    host = Home()
    net = discovery(host)
    host.add(1, "10.0.0.1", "inbound")
    monkeypatch.setattr(net, "dear", lambda peer: validator)
    greeted: list[float] = []

    async def greet(peer: str) -> None:
        greeted.append(trio.current_time())
        raise Unavailable("busy")

    monkeypatch.setattr(net, "greet", greet)
    monkeypatch.setattr(Keeper, "_has_stream", lambda keeper, peer: streams > 0)
    keeper, talker = Keeper(net, ()), net.door.intake(SimpleNamespace(peer_id=name(1), is_closed=False), "10.0.0.0/24")
    async with trio.open_nursery() as nursery:
        for _ in range(round(2 * (GREETING_GRACE_S + 3))):
            talker.heard_at = trio.current_time()
            of_this_run().own.lost_s += 0.5 * late
            keeper._look_at_links(nursery)
            await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    assert net.linked() == ({name(1)} if validator or late or streams else set())
    assert len(greeted) == (4 if validator or streams else 2)


def test_each_end_has_one_reason_and_the_first_said_counts() -> None:
    partings = Partings()
    partings.say("a", Why.BANNED, "too much")
    partings.say("a", Why.FULL)
    assert (partings.ended("a"), partings.ended("b"), partings.ended("a")) == (Why.BANNED, Why.LOST, Why.LOST)
    for number in range(1000):
        partings.say(f"{number}", Why.UNREAD)
    partings.forget({"7"})
    assert len(partings._said) == 1


# -- starting (DISC-7, DISC-8)


class Home(Host):
    """FAKE: the library's host with a peer store."""

    def get_peerstore(self) -> Any:
        return SimpleNamespace(_enforce_peer_limit=lambda: None)


def discovery(host: Host) -> Discovery:
    dht: Any = SimpleNamespace()
    return Discovery(host, dht, "lab", Scores(), 4, Door(Budgets()), DialPolicy())


@pytest.mark.parametrize("has_book", [True, False])
async def test_the_book_is_dialled_before_the_bootstrap(
    has_book: bool, tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DISC-8: those of the last run first, anchors before all; the bootstrap only where they do not answer."""
    file, anchor, old, user = tmp_path / "peers", name(1), name(2), name(3)
    if has_book:
        book = AddressBook()
        book.learn(old, ["/ip4/8.8.8.8/tcp/1"], Rank.REACHED)
        book.learn(anchor, ["/ip4/9.9.9.9/tcp/1"], Rank.REACHED)
        file.write_bytes(book_file.dump(book, (anchor,), MAX_BOOK_FILE, 1e9))
    net = discovery(Home())
    dialled: dict[str, float] = {}

    async def dial(peer: str, addresses: tuple[str, ...], *, chosen: bool = False) -> None:
        dialled.setdefault(peer, trio.current_time() - begun)
        net.book.dialled(peer, False, trio.current_time())

    async def at_once(work: Any, *words: Any) -> Any:
        return work(*words)

    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)  # a test's clock does not wait for threads
    monkeypatch.setattr(net, "dial", dial)
    keeper, begun = Keeper(net, ((user, "/ip4/7.7.7.7/tcp/1"),), file), trio.current_time()
    with trio.move_on_after(4 * BOOK_FIRST_S):
        await keeper.run()
    assert set(dialled) == ({anchor, old, user} if has_book else {user})
    if has_book:
        assert dialled[anchor] <= dialled[old] < BOOK_FIRST_S <= dialled[user]
    else:
        assert dialled[user] <= START_SPREAD_S + 1.0
