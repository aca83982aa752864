"""The lock that takes no turn while it is free."""

from __future__ import annotations

import trio
import trio.testing

from p2p.machine.locks import SPELL, Lock


class Turns(trio.abc.Instrument):
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


async def uses(lock: Lock, times: int) -> int:
    """Turns that so many uses take."""
    turns = Turns()
    trio.lowlevel.add_instrument(turns)
    try:
        for _ in range(times):
            async with lock:
                pass
    finally:
        trio.lowlevel.remove_instrument(turns)
    return turns.count


async def test_a_free_lock_takes_one_turn_in_a_spell() -> None:
    assert await uses(Lock(), SPELL - 1) == 0
    assert await uses(Lock(), 10 * SPELL) == 10


async def test_one_at_a_time_in_the_order_in_which_they_came() -> None:
    lock, said = Lock(), list[str]()

    async def hold(name: str) -> None:
        async with lock:
            said.append(f"{name} in")
            await trio.sleep(0)
            said.append(f"{name} out")

    async with trio.open_nursery() as nursery:
        async with lock:
            for name in "abc":
                nursery.start_soon(hold, name)
                await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(trio.sleep, 0)
            assert said == []
    assert said == [f"{name} {what}" for name in "abc" for what in ("in", "out")]


async def test_who_waits_can_be_cancelled_and_takes_nothing_with_him() -> None:
    lock, scope = Lock(), trio.CancelScope()

    async def wait() -> None:
        with scope:
            async with lock:
                raise AssertionError("two hold it")

    async with trio.open_nursery() as nursery, lock:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
    assert scope.cancelled_caught
    async with lock:
        pass


async def test_an_error_inside_frees_it() -> None:
    lock = Lock()
    for _ in range(2):
        try:
            async with lock:
                raise KeyError("inside")
        except KeyError:
            continue
    async with lock:
        pass
