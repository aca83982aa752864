"""What an agent lets in: never more than its most, fewer while it is late, and modest accounts before others."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from p2p.base.errors import Overloaded
from p2p.base.serving_limits import ENTRANCE_LEAST, ENTRANCE_LEAST_BEHIND, ENTRANCE_LOOK_S
from p2p.machine.load import Load
from p2p.peer.entrance import Entrance
from p2p.peer.quotas import UNLIMITED, Quotas


async def test_while_late_places_fall_by_halves_and_modest_ones_come_in(autojump_clock: MockClock) -> None:
    load, many = Load(), ExitStack()
    entrance = Entrance(load, most=16, limit=16)
    for _ in range(8):
        many.enter_context(entrance.hold(modest=False))
    load.note(10.0)
    for left in (4.0, 2.0, 1.0, 1.0):
        await trio.sleep(ENTRANCE_LOOK_S)
        with pytest.raises(Overloaded) as caught, entrance.hold(modest=False):
            raise AssertionError("it has more than it keeps up with")
        assert caught.value.retry_after == 1
        assert entrance.limit == max(left, ENTRANCE_LEAST)
    with entrance.hold(modest=True):
        assert entrance.running == 9
    load.late_s = 0.0
    many.close()
    for more in (2.0, 3.0, 4.0):
        await trio.sleep(ENTRANCE_LOOK_S)
        with entrance.hold(modest=False):
            assert entrance.limit == more


async def test_a_place_is_free_again_whatever_ends_the_request(autojump_clock: MockClock) -> None:
    entrance = Entrance(Load(), most=1, limit=1)
    for _ in range(3):
        with pytest.raises(Overloaded), entrance.hold(modest=True), entrance.hold(modest=True):
            raise AssertionError("not even a modest one beyond the most")
    assert entrance.running == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 1000)), max_size=30))
def test_somebody_is_always_modest_and_a_newcomer_too(taken: list[tuple[int, int]]) -> None:
    quotas = Quotas("account", UNLIMITED)
    for key, tokens in taken:
        quotas.take(bytes([key]), tokens, 1)
    assert quotas.is_modest(b"new")
    used = {key: sum(tokens for one, tokens in taken if one == key) for key, _ in taken}
    modest = {key for key in used if quotas.is_modest(bytes([key]))}
    assert modest == {key for key, mine in used.items() if mine <= sum(used.values()) / len(used) / 2}


async def test_a_peer_that_is_behind_with_its_duties_works_on_requests_a_part_of_the_time(
    autojump_clock: MockClock,
) -> None:
    entrance = Entrance(load := Load(), most=16, limit=16)
    load.is_behind = True
    inside = refused = 0
    for _ in range(200):
        try:
            with entrance.hold(modest=False):
                inside += 1
                await trio.sleep(1.0)
        except Overloaded:
            refused += 1
            await trio.sleep(1.0)
    assert 200 * ENTRANCE_LEAST_BEHIND <= inside <= 200 * ENTRANCE_LEAST_BEHIND + 5
    with entrance.hold(modest=True):
        pass  # whoever had little comes in meanwhile
    load.is_behind = False
    for _ in range(8):
        await trio.sleep(ENTRANCE_LOOK_S)
        entrance._adapt(trio.current_time())
    assert entrance.limit > 1
    with entrance.hold(modest=False):
        pass


async def test_a_peer_that_is_only_late_always_takes_one(autojump_clock: MockClock) -> None:
    entrance = Entrance(load := Load(), most=16, limit=16)
    load.note(1000.0)
    for _ in range(20):
        with entrance.hold(modest=False):
            await trio.sleep(1.0)
    assert entrance.limit == ENTRANCE_LEAST
