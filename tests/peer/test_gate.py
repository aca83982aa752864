"""Places are held while work runs and given back however it ends; those that wait hear what became of them."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2p.base.errors import Overloaded, Unavailable
from p2p.base.serving_limits import QUEUE_AGE_S
from p2p.peer.gate import Gate
from p2p.scheduling.jobs import Job, Kind
from p2p.scheduling.metrics import Metrics
from p2p.scheduling.nodes import NodeSpec


def gate(*places: int) -> Gate:
    made = Gate(clock=lambda: 0.0)
    for at, most in enumerate(places):
        made.scheduler.add(NodeSpec(f"n{at}", "m", most))
        made.observe(f"n{at}", Metrics())
    made.clock = trio.current_time
    return made


def job(account: bytes = b"a", kind: Kind = Kind.PAID) -> Job:
    return Job(kind, "m", 10, 90, account)


async def test_sixty_at_one_moment_never_run_more_than_sixteen_together() -> None:
    made, running, most, done = gate(16), 0, 0, 0

    async def ask(at: int) -> None:
        nonlocal running, most, done
        async with made.hold(job(bytes([at]))) as place:
            running += 1
            most = max(most, running)
            await trio.lowlevel.checkpoint()
            place.tokens = 100
            running -= 1
        done += 1

    async with trio.open_nursery() as nursery:
        for at in range(60):
            nursery.start_soon(ask, at)
    assert (most, done) == (16, 60)
    assert (made.scheduler.running, made.scheduler.waiting) == (0, 0)


async def test_one_that_leaves_while_it_waits_holds_nothing() -> None:
    made = gate(1)
    async with made.hold(job()):
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                async with made.hold(job()):
                    raise AssertionError

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert made.scheduler.waiting == 1
            nursery.cancel_scope.cancel()
        assert made.scheduler.waiting == 0
    assert made.scheduler.running == 0


async def test_one_that_leaves_at_the_moment_it_is_placed_gives_the_place_back() -> None:
    made, scope = gate(1), trio.CancelScope()
    async with trio.open_nursery() as nursery:
        async with made.hold(job()):

            async def wait() -> None:
                with scope:
                    async with made.hold(job()):
                        await trio.lowlevel.checkpoint()
                        raise AssertionError

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
        scope.cancel()  # it was placed just now, and has not run since
    assert made.scheduler.running == 0


async def test_who_waits_too_long_is_told_when_to_come_again(autojump_clock: trio.testing.MockClock) -> None:
    made = gate(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.run)
        async with made.hold(job()):
            began = trio.current_time()
            with pytest.raises(Overloaded, match=r"try again in \d+ s") as caught:
                async with made.hold(job()):
                    raise AssertionError
            assert QUEUE_AGE_S <= trio.current_time() - began <= QUEUE_AGE_S + 1
            assert caught.value.retry_after > 0
        nursery.cancel_scope.cancel()
    del autojump_clock


async def test_a_request_that_meets_a_dead_engine_keeps_others_from_it_until_the_next_look() -> None:
    made = gate(4, 4)
    with pytest.raises(Unavailable):
        async with made.hold(job()) as place:
            raise Unavailable("connection refused", field="ml_node")
    async with made.hold(job()) as other:
        assert other.node != place.node
    made.observe(place.node, Metrics())
    async with made.hold(job()) as again:
        assert again.node == place.node


async def test_what_no_node_serves_is_refused_at_once() -> None:
    with pytest.raises(Overloaded, match="no ML node here serves"):
        async with Gate().hold(job()):
            raise AssertionError
