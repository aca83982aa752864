"""The outbound streams: one to each neighbour, batched, and none of them waits for another (LINK-1 to LINK-4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from p2p.base.limits import BUDGETS, MAX_WANTED_PEERS, REDIAL_MAX_S, UNREAD_S
from p2p.gossip.neighbours import DENSE_FORWARD_S, FORGIVEN, FORWARD_S, TICK_S
from p2p.gossipsub.params import Thresholds
from p2p.gossipsub.rpc import Message, Subscription

from .fake_host import TOPIC, Connection, Lab, name

HELLO = (Subscription(TOPIC, True),)


@asynccontextmanager
async def running(lab: Lab) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lab.neighbours.run)
        await trio.testing.wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


async def test_a_burst_leaves_in_one_write_and_a_lone_message_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """LINK-2."""
    lab = Lab()
    async with running(lab):
        peer = lab.connect(1)
        lab.subscribed(peer)
        await trio.sleep(1)
        stream = lab.host.streams[peer][0]
        assert (await stream.rpcs())[0].subscriptions == HELLO
        before, at = stream.writes, trio.current_time()
        lab.publish(b"first")
        await trio.testing.wait_all_tasks_blocked()
        assert (stream.writes, trio.current_time()) == (before + 1, at), "after a quiet moment nothing waits"
        for number in range(50):
            lab.publish(b"%d" % number)
            await trio.sleep(TICK_S / 100)
        await trio.sleep(2 * TICK_S)
        assert stream.writes == before + 2
        sent = (await stream.rpcs())[-1].messages
        assert sent == tuple(Message(TOPIC, b"%d" % number) for number in range(50))


async def test_what_is_forwarded_waits_a_little_and_a_copy_cancels_it(autojump_clock: trio.testing.MockClock) -> None:
    """LINK-2. Before: two peers that had a message from its author sent it to each other."""
    lab = Lab()
    async with running(lab):
        source, other = lab.meshed(1, 2)
        await trio.sleep(1)
        stream = lab.host.streams[other][0]
        before, begun = stream.writes, trio.current_time()
        for at, data in enumerate((b"forwarded", b"cancelled", b"with a message of our own"), 1):
            lab.forward(source, data)
            await trio.sleep(TICK_S / 2)
            assert stream.writes == before + (at > 1), data
            if at == 2:
                lab.forward(other, data)
            if at == 3:
                lab.publish(b"mine")
            await trio.sleep(FORWARD_S)
        assert trio.current_time() - begun < 4 * FORWARD_S
        told = [message.data for rpc in await stream.rpcs() for message in rpc.messages]
        assert told == [b"forwarded", b"with a message of our own", b"mine"]


async def test_what_is_forwarded_waits_longer_where_all_are_connected(autojump_clock: trio.testing.MockClock) -> None:
    """LINK-2."""
    waits: dict[int, list[float]] = {3: [], 100: []}
    for size, found in waits.items():
        for _ in range(20):
            lab = Lab(size=size)
            async with running(lab):
                source, other = lab.meshed(1, 2)
                await trio.sleep(1)
                stream, begun = lab.host.streams[other][0], trio.current_time()
                before = stream.writes
                lab.forward(source, b"x")
                while stream.writes == before:
                    await trio.sleep(TICK_S / 10)
                found.append(trio.current_time() - begun)
    assert TICK_S <= max(waits[100]) <= FORWARD_S + 2 * TICK_S
    assert FORWARD_S + 2 * TICK_S < max(waits[3]) <= DENSE_FORWARD_S + 2 * TICK_S


async def test_one_that_does_not_read_delays_nobody_and_is_let_go(autojump_clock: trio.testing.MockClock) -> None:
    """LINK-3. Before: twenty peers that read nothing filled the room for outgoing messages, and a peer's own votes
    found none."""
    lab = Lab()
    async with running(lab):
        slow = [lab.connect(number, f"10.0.{number // 4}.1") for number in range(1, 21)]
        honest = lab.connect(100, "10.9.9.9")
        for peer in (*slow, honest):
            lab.subscribed(peer)
        await trio.sleep(1)
        for peer in slow:
            lab.host.streams[peer][0].stuck = True
        began = trio.current_time()
        for number in range(40):
            lab.publish(b"%d " % number + bytes(200_000))
            await trio.sleep(0.1)
        got = sum(len(rpc.messages) for rpc in await lab.host.streams[honest][0].rpcs())
        assert got == 40, "it reads, so it has all"
        assert lab.door.budgets.outgoing.used <= BUDGETS["outgoing bytes"].total
        assert not lab.door.leaving
        await trio.sleep_until(began + UNREAD_S + 1)
        assert lab.door.leaving == set(slow)
        for peer in slow:
            del lab.host.connections[peer]
        lab.neighbours.look()
        await trio.sleep(1)
        assert lab.door.budgets.outgoing.used == 0
        assert lab.router.status()["neighbours"] == 1


async def test_a_stream_that_ends_is_opened_again_and_begins_with_our_topics(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """LINK-1."""
    lab = Lab()
    async with running(lab):
        peer = lab.connect(1)
        lab.subscribed(peer)
        await trio.sleep(1)
        await lab.host.streams[peer][0].reset()
        lab.publish(b"lost")
        await trio.sleep(2)
        lab.publish(b"found")
        await trio.sleep(1)
        first, *rest = await lab.host.streams[peer][1].rpcs()
        assert first.subscriptions == HELLO
        assert Message(TOPIC, b"found") in [message for rpc in rest for message in rpc.messages]


async def test_a_new_connection_of_a_peer_is_a_new_neighbour(autojump_clock: trio.testing.MockClock) -> None:
    lab = Lab()
    async with running(lab):
        peer = lab.connect(1)
        lab.subscribed(peer)
        await trio.sleep(1)
        lab.host.connections[peer] = [Connection()]
        lab.neighbours.look()
        lab.neighbours.look()
        await trio.sleep(1)
        old, new = lab.host.streams[peer]
        assert old.ended.is_set()
        assert not new.ended.is_set()
        lab.publish(b"not for it")
        await trio.sleep(1)
        assert [rpc.messages for rpc in await new.rpcs()] == [()], "its topics are those that it says anew"


async def test_who_speaks_no_gossip_is_no_neighbour_until_it_does(autojump_clock: trio.testing.MockClock) -> None:
    """LINK-4."""
    lab = Lab()
    async with running(lab):
        lab.host.refusing.add(name(1))
        peer = lab.connect(1)
        assert lab.neighbours.listens(peer), "before we know"
        await trio.sleep(1)
        assert not lab.neighbours.listens(peer)
        assert lab.router.status()["neighbours"] == 0
        lab.host.refusing.clear()
        await trio.sleep(2 * REDIAL_MAX_S)
        assert lab.neighbours.listens(peer)
        assert (await lab.host.streams[peer][0].rpcs())[0].subscriptions == HELLO
    assert not lab.neighbours.listens(name(2)), "it is not connected"


async def test_whom_we_want_is_told_to_the_router_and_bounded(autojump_clock: trio.testing.MockClock) -> None:
    """Before (G-17): twenty strangers that read nothing filled the mesh, no vote arrived, and a chain stood still."""
    lab = Lab()
    lab.door.valued = lambda peer: peer != name(1)

    def wanted() -> set[str]:
        return {peer for peer, one in lab.router._neighbours.by_name.items() if one.wanted}

    async with running(lab):
        for number in range(1, 2 * MAX_WANTED_PEERS):
            lab.connect(number)
        assert name(1) not in wanted()
        assert len(wanted()) == MAX_WANTED_PEERS
        lab.door.valued = lambda peer: False
        lab.neighbours.look()
        assert not wanted()


async def test_penalty_points_count_in_the_score_but_not_one_fault(autojump_clock: trio.testing.MockClock) -> None:
    """LINK-5. Before: a peer one point short of a ban had its place in every mesh."""
    lab, points = Lab(), {name(1): 0.0}
    lab.neighbours._points = points.__getitem__
    async with running(lab):
        peer = lab.connect(1)
        before = lab.router.score(peer)
        for given, score in ((FORGIVEN, before), (99.0, before - 99 + FORGIVEN), (0.0, before)):
            points[peer] = given
            lab.neighbours.look()
            assert lab.router.score(peer) == score
    assert Thresholds().graylist >= FORGIVEN - 99
