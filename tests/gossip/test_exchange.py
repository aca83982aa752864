"""What neighbours send is charged to them, judged once, and never ends the host (PUBSUB-1, 4, 5 and 6, RATE-1, READ-1
and READ-2)."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.errors import RemoteProtocolError, Unavailable
from p2p.base.limits import (
    FRAME_TIMEOUT_S,
    GOSSIP_RATE_PER_FORWARDER,
    IGNORED_COSTS,
    IGNORED_S,
    LATE_COPY_S,
    MAX_PUBSUB_STREAMS_PER_PEER,
    MAX_RPC,
)
from p2p.base.outcome import Outcome
from p2p.gossip.exchange import Exchange
from p2p.gossip.host import _Judge
from p2p.gossip.rpc_codec import encode, varint
from p2p.gossip.rpc_reader import RpcReader
from p2p.gossipsub.router import Router
from p2p.gossipsub.rpc import Graft, IHave, IWant, Message, Rpc, Subscription

from .attacks import rpc as library_rpc
from .attacks import signed
from .fake_host import TOPIC, InStream, Lab, NoLimit, name

PEER, OTHER = name(1), name(2)
GROUP = "10.0.0.0/24"


class Scene(Lab):
    """An exchange with two neighbours, whose handlers' outcomes a test gives."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: list[str] = []
        self.heard: list[bytes] = []
        self.outcomes: list[Outcome] = []
        self.exchange = Exchange(
            self.router, self.neighbours, self.door, lambda peer, error: self.reports.append(str(error)),
            lambda peer: True, 1.0,
        )
        self.exchange.judges[TOPIC] = self._judge
        for peer in (PEER, OTHER):
            self.router.add_peer(peer, version=11, outbound=False, group="", now=0.0)  # type: ignore[arg-type]

    def _judge(self, forwarder: str, data: bytes) -> Outcome:
        self.heard.append(data)
        return self.outcomes.pop(0) if self.outcomes else Outcome.ACCEPT

    async def take(self, *data: bytes, peer: str = PEER) -> None:
        raw = encode(Rpc(messages=tuple(Message(TOPIC, one) for one in data)))
        await self.exchange._take(peer, raw, GROUP)


async def test_a_message_is_judged_once_and_an_ignored_one_again_from_another_or_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """PUBSUB-1."""
    scene = Scene()
    scene.outcomes = [Outcome.IGNORE, Outcome.IGNORE, Outcome.IGNORE]
    for peer in (PEER, PEER, OTHER, OTHER):
        await scene.take(b"early", peer=peer)
    assert scene.heard == [b"early"] * 2, "once from each who brings it"
    await trio.sleep(IGNORED_S + 0.1)
    await scene.take(b"early")
    await trio.sleep(IGNORED_S + 0.1)
    await scene.take(b"early")
    assert scene.heard == [b"early"] * 4
    for peer in (PEER, OTHER):
        await scene.take(b"early", peer=peer)
    assert scene.heard == [b"early"] * 4, "now it was accepted"


@pytest.mark.parametrize(("outcome", "times"), [
    (Outcome.ACCEPT, 1), (Outcome.REJECT, 1), (Outcome.IGNORE, IGNORED_COSTS),
])
async def test_the_cpu_for_what_is_ignored_counts_several_times(
    outcome: Outcome, times: int, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PUBSUB-5: five peers that share two cores decided 0.83 of their blocks while one stranger sent each 90 batches a
    second that no block could take."""
    scene, spent = Scene(), a_second_for_each_look(monkeypatch)
    scene.outcomes = [outcome] * 2
    await scene.take(b"first", b"second")
    reading, *messages = spent
    assert (reading, messages) == (1000, [1000 * times] * 2)


async def test_a_copy_in_time_counts_once_and_a_late_one_several_times(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PUBSUB-5: each neighbour in a mesh brings a copy. When these counted several times, eight busy peers owed work to
    one another, ignored what came and got it by IWANT a second later."""
    scene, spent = Scene(), a_second_for_each_look(monkeypatch)
    await scene.take(b"first", b"second")
    spent.clear()
    await scene.take(b"first", b"second", peer=OTHER)
    assert spent == [1000]
    await trio.sleep(LATE_COPY_S + 0.1)
    spent.clear()
    await scene.take(b"first", b"first", b"third", b"fourth")
    assert spent[0] == 1000 * (1 + (IGNORED_COSTS - 1) / 2), "half of it was late"


@pytest.mark.parametrize(("rpc", "soon"), [
    (Rpc(messages=(Message(TOPIC, b"x"),)), True), (Rpc(messages=(Message(TOPIC, b"x"),) * 2), True), (Rpc(), True),
    (Rpc(iwant=(IWant((bytes(20),)),)), False), (Rpc(ihave=(IHave(TOPIC, (bytes(20),)),)), False),
    (Rpc(graft=(Graft(TOPIC),)), False), (Rpc(subscriptions=(Subscription(TOPIC, True),)), False),
])
@pytest.mark.parametrize("urgent", [False, True])
async def test_only_what_is_forwarded_may_wait_and_votes_do_not(
    rpc: Rpc, soon: bool, urgent: bool, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """LINK-2."""
    scene, stirred = Scene(), list[bool]()
    monkeypatch.setattr(scene.neighbours, "stir", lambda *, soon=False: stirred.append(soon))
    monkeypatch.setattr(Router, "hurries", lambda self, topic: urgent)
    await scene.exchange._take(PEER, encode(rpc), GROUP)
    assert stirred[-1] == (soon and not (urgent and bool(rpc.messages)))


def a_second_for_each_look(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """CPU in ms that is charged from now on. Every look at the CPU's clock finds that a second has passed."""
    spent = list[float]()

    def spend(self: Any, peer: str, group: str, amount: float, now: float, *, valued: bool) -> None:
        spent.append(amount)

    monkeypatch.setattr("p2p.gossip.connections.budget.Flow.spend", spend)
    clock = iter(range(1000))
    monkeypatch.setattr("p2p.gossip.exchange.time.thread_time", lambda: next(clock))
    return spent


async def test_who_owes_work_is_not_judged(autojump_clock: trio.testing.MockClock) -> None:
    """PUBSUB-1: and what it brought is judged when another brings it."""
    scene = Scene()
    work, now = scene.door.budgets.work, trio.current_time()
    work.spend(PEER, GROUP, 1e6, now)
    await scene.take(b"x")
    assert scene.heard == []
    await trio.sleep(0)
    work._buckets.clear()
    await scene.take(b"x", peer=OTHER)
    assert scene.heard == [b"x"]


async def test_reading_what_is_no_rpc_is_charged_too(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    before = scene.door.budgets.work.spent
    with pytest.raises(RemoteProtocolError):
        await scene.exchange._take(PEER, b"\xff" * 40, GROUP)
    assert scene.door.budgets.work.spent > before


async def test_old_messages_that_somebody_repeats_take_nothing_from_anybody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """RATE-1: a peer that recorded a validator's old votes sends them again and again."""
    scene, heard = Scene(), list[bytes]()
    judge = _Judge("me", scene.door)
    scene.door.valued = lambda peer: True  # its budget of CPU is not what this is about

    def handler(forwarder: str, data: bytes) -> Outcome:
        heard.append(data)
        return Outcome.IGNORE if data.startswith(b"old") else Outcome.ACCEPT

    rated = judge.validator(TOPIC, handler)
    scene.exchange.judges[TOPIC] = rated
    for number in range(GOSSIP_RATE_PER_FORWARDER):
        assert rated(PEER, b"old %d" % number) is Outcome.IGNORE
    assert rated(PEER, b"fresh") is Outcome.ACCEPT
    burst = [rated(PEER, b"more") for _ in range(2 * GOSSIP_RATE_PER_FORWARDER)]
    assert burst.count(Outcome.ACCEPT) == GOSSIP_RATE_PER_FORWARDER - 1, "what is accepted is held to the rate"
    assert rated(OTHER, b"more") is Outcome.ACCEPT, "another forwarder has its own"
    votes = judge.validator("votes", handler)
    assert votes(PEER, b"vote") is Outcome.ACCEPT, "and so has another topic"
    assert judge.scores.points(PEER, trio.current_time()) == 0


async def test_what_is_wrong_for_everybody_costs_its_forwarder_points() -> None:
    judge = _Judge("me", Scene().door)
    refuses = judge.validator(TOPIC, lambda forwarder, data: Outcome.REJECT)
    for number in range(9):
        assert not judge.scores.banned(PEER, trio.current_time()), number
        assert refuses(PEER, b"bad") is Outcome.REJECT
    assert judge.scores.banned(PEER, trio.current_time())

    def explode(forwarder: str, data: bytes) -> Outcome:
        raise ZeroDivisionError("a bug in a handler")

    assert judge.validator(TOPIC, explode)(OTHER, b"fine") is Outcome.IGNORE
    assert judge.scores.points(OTHER, trio.current_time()) == 0


async def test_a_long_rpc_lets_other_tasks_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """PUBSUB-6."""
    scene, turns = Scene(), 0
    clock = iter(range(10_000))
    monkeypatch.setattr("p2p.gossip.exchange.time.thread_time", lambda: next(clock))
    monkeypatch.setattr("p2p.gossip.connections.budget.Flow.allows", lambda *what, **more: True)

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await scene.take(*(b"%d" % number for number in range(50)))
        nursery.cancel_scope.cancel()
    assert len(scene.heard) == 50
    assert turns > 40


async def serve(scene: Scene, data: bytes, step: int = 7) -> InStream:
    stream = InStream(data, step)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.neighbours.run)
        await trio.testing.wait_all_tasks_blocked()
        scene.connect(1)
        await scene.exchange.serve(stream)
        nursery.cancel_scope.cancel()
    return stream


async def test_a_stream_is_read_rpc_by_rpc_until_it_ends() -> None:
    scene = Scene()
    raw = encode(Rpc(messages=(Message(TOPIC, b"x" * 300),)))
    stream = await serve(scene, (varint(len(raw)) + raw) + library_rpc(publish=[]))
    assert scene.heard == [b"x" * 300]
    assert stream.was_reset
    assert not scene.exchange._readers
    assert scene.door.budgets.unparsed.used == 0


@pytest.mark.parametrize(("data", "said"), [
    (b"\xff" * 11, "not a varint"), (varint(MAX_RPC + 1) + b"x", "at most"), (b"\x64abc", "inside an RPC"),
    (b"\x04\xff\xff\xff\xff", "not an RPC"), (library_rpc(publish=[signed()]), "StrictNoSign"),
    (b"\x80", "inside an RPC"),
])  # fmt: skip
async def test_garbage_is_reported_and_ends_its_stream(data: bytes, said: str) -> None:
    """READ-1. RemoteProtocolError costs ten points (host.report)."""
    scene = Scene()
    stream = await serve(scene, data)
    assert stream.was_reset
    assert said in scene.reports[0]
    assert scene.door.budgets.unparsed.used == 0


async def test_a_peer_has_so_many_gossip_streams_and_no_more() -> None:
    scene = Scene()
    scene.connect(1)
    scene.exchange._readers[PEER] = MAX_PUBSUB_STREAMS_PER_PEER
    stream = InStream(library_rpc(publish=[]))
    await scene.exchange.serve(stream)
    assert stream.was_reset
    assert stream.left


async def test_a_banned_peer_is_read_and_not_heard() -> None:
    scene = Scene()
    scene.exchange._admit = lambda peer: False
    raw = encode(Rpc(messages=(Message(TOPIC, b"x"),)))
    await serve(scene, varint(len(raw)) + raw)
    assert scene.heard == []


@given(st.lists(st.binary(max_size=200), max_size=6), st.integers(1, 50))
async def test_rpcs_come_out_as_they_went_in(bodies: list[bytes], step: int) -> None:
    reader = RpcReader(InStream(b"".join(varint(len(one)) + one for one in bodies), step), NoLimit())
    assert [await reader.next() for _ in bodies] == bodies
    with pytest.raises(Unavailable):
        await reader.next()


async def test_an_rpc_waits_for_room_and_half_of_one_not_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    """READ-2."""

    class Full(NoLimit):
        def reserve(self, amount: int, *, ours: bool) -> bool:
            assert not ours
            return trio.current_time() >= free_at

    free_at = trio.current_time() + 5
    began = trio.current_time()
    assert await RpcReader(InStream(b"\x03abc", 1), Full()).next() == b"abc"
    assert 5 <= trio.current_time() - began < 6
    free_at = float("inf")
    with pytest.raises(trio.TooSlowError):
        await RpcReader(InStream(b"\x03abc", 1), Full()).next()
    assert trio.current_time() - began == pytest.approx(5 + FRAME_TIMEOUT_S, abs=1)
