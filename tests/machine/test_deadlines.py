"""Deadlines in own time: what this process loses is nobody else's fault."""

from __future__ import annotations

import time

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from p2p.base.limits import LATE_S, MAX_STRETCH, STRAIN_S
from p2p.machine import deadlines
from p2p.machine.deadlines import OwnTime, fail_after, move_on_after, of_this_run, own_time

TURN = st.tuples(st.floats(0.0001, 3.0), st.floats(0.0, 1.0))


@given(st.lists(TURN, max_size=50))
def test_own_time_never_runs_backward_and_never_faster_than_the_clock(turns: list[tuple[float, float]]) -> None:
    """LATE-1."""
    own = OwnTime()
    for length, share in turns:
        before = own.lost_s
        own.turn(length, length * share)
        assert 0.0 <= own.lost_s - before <= length
        assert 1.0 <= own.strain <= MAX_STRETCH
        if length * share <= LATE_S:
            assert own.lost_s == before, "a short turn is own time"


def test_strain_is_how_much_longer_things_take_and_it_passes() -> None:
    own = OwnTime()
    for _ in range(round(20 * STRAIN_S / LATE_S / 4)):
        own.turn(4 * LATE_S, 4 * LATE_S)
    assert own.strain == pytest.approx(4.0, rel=0.05)
    for _ in range(1000):
        own.turn(STRAIN_S / 50, 0.0)
    assert own.strain == pytest.approx(1.0, abs=0.01)
    for _ in range(1000):
        own.turn(1.0, 1.0)
    assert own.strain == MAX_STRETCH


async def test_on_time_a_deadline_is_trios(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    with move_on_after(4.0) as scope:
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() - began == pytest.approx(4.0)
    with pytest.raises(trio.TooSlowError):
        with fail_after(1.0):
            await trio.sleep_forever()
    with fail_after(1.0):
        await trio.sleep(0.9)


async def test_lost_time_moves_a_deadline_and_no_further_than_its_bound(autojump_clock: MockClock) -> None:
    """LATE-2."""
    own, began = of_this_run().own, trio.current_time()
    with move_on_after(4.0):
        own.lost_s += 3.0
        await trio.sleep_forever()
    assert trio.current_time() - began == pytest.approx(7.0)
    began = trio.current_time()
    with move_on_after(4.0):
        own.lost_s += 1000.0
        await trio.sleep_forever()
    assert trio.current_time() - began == pytest.approx(4.0 * MAX_STRETCH)
    began = trio.current_time()
    with move_on_after(4.0):
        await trio.sleep_forever()
    assert trio.current_time() - began == pytest.approx(4.0), "what was lost before does not count"


async def test_a_loop_that_stands_still_ends_nobodys_wait() -> None:
    """The real clock. trio's own deadline of 20 ms ends when the loop comes back after 100 ms; ours does not, because
    the answer came meanwhile."""
    answer, stood = trio.Event(), own_time()
    started = time.perf_counter()

    async def stand_still() -> None:
        time.sleep(0.1)
        await trio.sleep(0)
        answer.set()

    async with trio.open_nursery() as nursery:
        with fail_after(0.02):
            nursery.start_soon(stand_still)
            await answer.wait()
    assert own_time() - stood < time.perf_counter() - started - 0.05, "what the loop stood still is lost time"


async def test_many_short_waits_leave_nothing_behind(autojump_clock: MockClock) -> None:
    for _ in range(5000):
        with move_on_after(1000.0):
            pass
    assert len(of_this_run()._heap) <= deadlines._SPARE_ENTRIES + 2
