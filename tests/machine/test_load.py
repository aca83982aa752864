"""Work gives way while the process is late, and no longer than its limit."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from p2p.base.limits import GIVE_WAY_S, LATE_S, LOAD_LOOK_S
from p2p.machine.load import Load


def test_lateness_rises_at_once_and_falls_by_halves() -> None:
    load = Load()
    load.note(1.0)
    assert (load.late_s, load.is_late) == (1.0, True)
    for _ in range(20):
        load.note(0.0)
    assert load.late_s < LATE_S
    assert not load.is_late


async def test_a_loop_that_is_on_time_is_never_late(autojump_clock: MockClock) -> None:
    load = Load()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        await trio.sleep(10)
        assert load.late_s == pytest.approx(0.0)
        nursery.cancel_scope.cancel()


async def test_a_blocked_loop_is_seen(mock_clock: MockClock) -> None:
    load = Load()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(LOAD_LOOK_S + 3.0)  # as if something had held the loop for three seconds
        await trio.testing.wait_all_tasks_blocked()
        assert load.late_s == pytest.approx(3.0)
        nursery.cancel_scope.cancel()


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
