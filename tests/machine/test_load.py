"""Work gives way while the process is late, and no longer than its limit."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from p2p.base.limits import GIVE_WAY_S, LATE_S, LOAD_LOOK_S
from p2p.machine.deadlines import of_this_run
from p2p.machine.load import Load

BLOCKED_S = 3 * LATE_S
"""How long a test keeps the event loop from turning, in seconds."""


def test_lateness_rises_at_once_and_falls_by_halves() -> None:
    load = Load()
    load.note(1.0)
    assert (load.late_s, load.is_late) == (1.0, True)
    for _ in range(20):
        load.note(0.0)
    assert load.late_s < LATE_S
    assert not load.is_late
    load.note(1.0)
    load.note(0.0, 10 * LOAD_LOOK_S)
    assert load.late_s == pytest.approx(1.0 / 1024), "one long sleep is ten short ones"


async def followed(work: Callable[[], None]) -> float:
    """How late the load says it was, at most, while a loop did `work` between sleeps."""
    load, worst = Load(), 0.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(5):
            work()
            await trio.sleep(0.001)  # a turn of the loop ends
            worst = max(worst, load.late_s)
        nursery.cancel_scope.cancel()
    return worst


def block() -> None:
    """Keep the event loop from turning for BLOCKED_S."""
    until = time.perf_counter() + BLOCKED_S
    while time.perf_counter() < until:
        pass


async def test_a_blocked_loop_is_seen() -> None:
    assert await followed(block) >= BLOCKED_S


async def test_several_peers_of_one_run_are_told_and_none_that_has_ended() -> None:
    one, other, turns = Load(), Load(), of_this_run()
    async with trio.open_nursery() as both:
        both.start_soon(one.run)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.run)
            await trio.testing.wait_all_tasks_blocked()
            block()
            await trio.sleep(0.001)  # a turn of the loop ends
            assert min(one.late_s, other.late_s) >= BLOCKED_S
            nursery.cancel_scope.cancel()
        assert turns.watchers == [one.note]
        both.cancel_scope.cancel()
    assert turns.watchers == []


async def test_work_that_gives_way_waits_until_it_is_calm_or_its_time_is_over(autojump_clock: MockClock) -> None:
    load = Load()
    began = trio.current_time()
    await load.give_way()
    assert trio.current_time() == began, "nothing is late"
    load.note(1.0)
    await load.give_way()
    assert trio.current_time() == pytest.approx(began + GIVE_WAY_S), "bounded"

    async def calm() -> None:
        await trio.sleep(0.1)
        load.late_s = 0.0

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(calm)
        await load.give_way(60.0)
    assert 0.1 <= trio.current_time() - began <= 0.1 + 2 * LOAD_LOOK_S
