"""Rule A: a peer goes slower while rounds fail for lateness, and as fast as before when they succeed in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.limits import MAX_STRETCH
from p2p.consensus.events import Committed, SetTimer, StartHeight, Timeout
from p2p.consensus.messages import VoteType
from p2p.consensus.pacing import CALM, STEP, Pacing
from p2p.consensus.round import TimeoutKind
from p2p.consensus.timing import Timing

from .test_time import NOW, Seat, dated, maker, others, proposal, vote

T = Timing()
ROUND_MS = T.propose_ms + 2 * T.vote_ms
HEIGHT = st.tuples(st.integers(0, 5), st.integers(-1, 40), st.integers(-10_000, 100_000))


@given(st.lists(HEIGHT, max_size=100), st.floats(0.5, 20.0), st.integers(0, 200))
def test_whatever_was_decided_the_durations_fit_each_other(
    heights: list[tuple[int, int, int]], strain: float, round_: int
) -> None:
    """As in test_time, at every pace: no honest proposal between right clocks is lost to rule Y."""
    pace = Pacing(T, lambda: strain)
    for late, decided, took_ms in heights:
        pace.decided(late, decided, took_ms)
        assert CALM <= pace.percent <= MAX_STRETCH * CALM
    now = pace.now
    assert now.precision_ms == T.precision_ms
    assert now.delay_in(round_) > pace.timeout_ms(TimeoutKind.PROPOSE, round_) >= now.timeout_ms(
        TimeoutKind.PROPOSE, round_
    ) > 2 * T.precision_ms
    assert now.block_interval_ms <= now.empty_block_interval_ms
    assert 0 <= pace.rest_ms(heights[0][2] if heights else 0) <= now.empty_block_interval_ms - now.block_interval_ms
    assert pace.timeout_ms(TimeoutKind.PROPOSE, round_) >= T.timeout_ms(TimeoutKind.PROPOSE, round_)


@pytest.mark.parametrize("took_ms", [0, 250, T.empty_block_interval_ms, 10**6])
def test_empty_heights_begin_an_interval_apart_however_long_a_decision_takes(took_ms: int) -> None:
    """At least the interval of full blocks lies between a decision and what follows."""
    seat = Seat(others(maker(0))[0])
    height = StartHeight(1, even_if_empty=True)
    seat.driver.take(height)
    seat.now_ms += took_ms
    block = dated(NOW, maker(0))
    seat.driver.take(proposal(block, maker(0)))
    out: list[object] = []
    for kind in (VoteType.PREVOTE, VoteType.PRECOMMIT):
        for key in others(seat.key):
            out += seat.driver.take(vote(key, kind, block))
    (first_ms,) = (one.delay_ms for one in out if isinstance(one, SetTimer) and isinstance(one.event, StartHeight))
    (rest,) = seat.driver.take(StartHeight(2, even_if_empty=False))
    assert isinstance(rest, SetTimer)
    assert rest.event == StartHeight(2, even_if_empty=True)
    assert first_ms == T.block_interval_ms
    assert took_ms + first_ms + rest.delay_ms == max(T.empty_block_interval_ms, took_ms + T.block_interval_ms)


def test_late_rounds_slow_down_and_decisions_in_time_speed_up() -> None:
    pace = Pacing(T)
    for _ in range(3 * MAX_STRETCH):
        pace.decided(1, 1, ROUND_MS)
    assert pace.percent == MAX_STRETCH * CALM
    assert (pace.now.block_interval_ms, pace.now.propose_ms) == (8 * T.block_interval_ms, 8 * T.propose_ms)
    for _ in range(25):
        pace.decided(0, 0, 0)
    assert pace.now == T


def test_a_decision_that_took_most_of_its_time_changes_nothing() -> None:
    """At the edge the pace stays: else it would fail in every second height."""
    pace = Pacing(T)
    pace.decided(4, 4, 10**6)
    held = pace.percent
    pace.decided(0, 0, ROUND_MS * held // CALM // 2 + 1)
    pace.decided(0, 3, 0)
    assert pace.percent == held == CALM + 4 * STEP
    pace.decided(0, 0, ROUND_MS * held // CALM // 2)
    assert pace.percent < held


def test_a_third_that_always_comes_late_cannot_make_it_slow() -> None:
    """Faulty proposers with a third of the turns send their proposals after the timeout."""
    pace, seen = Pacing(T), list[int]()
    for height in range(300):
        pace.decided(int(height % 3 == 0), int(height % 3 == 0), 0)
        seen.append(pace.percent)
    assert max(seen[30:]) <= 220
    assert sum(seen[30:]) / len(seen[30:]) <= 200


def decide(seat: Seat, *, shown_in_round_0: bool) -> list[object]:
    """Take a height in which round 0 ended in nil and round 1 decides; its proposal came late, or never."""
    first, second = maker(0), maker(1)
    if shown_in_round_0:
        for key in others(seat.key):
            seat.driver.take(vote(key, VoteType.PREVOTE, None))
        seat.driver.take(proposal(dated(NOW, first), first))
    for key in others(seat.key):
        seat.driver.take(vote(key, VoteType.PRECOMMIT, None))
    assert seat.driver.machine.round == 0
    seat.driver.take(Timeout(TimeoutKind.PRECOMMIT, 1, 0))
    block = dated(NOW, second, 1)
    seat.driver.take(proposal(block, second, 1))
    out: list[object] = []
    for kind in (VoteType.PREVOTE, VoteType.PRECOMMIT):
        for key in others(seat.key):
            out += seat.driver.take(vote(key, kind, block, 1))
    assert any(isinstance(one, Committed) for one in out)
    return out


@pytest.mark.parametrize(("late", "percent"), [(True, CALM + STEP), (False, CALM)])
def test_only_a_round_whose_proposal_is_here_was_late(late: bool, percent: int) -> None:
    """A validator that is off does not slow the others down: its rounds have no proposal."""
    key = others(maker(0), maker(1))[0]
    seat = Seat(key)
    out = decide(seat, shown_in_round_0=late)
    assert seat.driver.pace.percent == percent == seat.driver.status().pace_percent
    timers = [one.delay_ms for one in out if isinstance(one, SetTimer) and isinstance(one.event, StartHeight)]
    assert timers == [T.block_interval_ms * percent // CALM]


def test_a_late_peer_waits_longer_and_no_longer_than_a_proposal_may_travel() -> None:
    strain = [1.0]
    pace = Pacing(T, lambda: strain[0])
    assert pace.timeout_ms(TimeoutKind.PREVOTE, 0) == T.vote_ms
    strain[0] = 3.0
    assert pace.timeout_ms(TimeoutKind.PREVOTE, 0) == 3 * T.vote_ms
    assert pace.timeout_ms(TimeoutKind.PROPOSE, 0) == T.delay_in(0) - 1
    assert pace.rebroadcast_ms() == 3 * T.rebroadcast_ms, "repeats would make what waits wait longer"
    strain[0] = 1000.0
    assert pace.rebroadcast_ms() == MAX_STRETCH * T.rebroadcast_ms
    assert pace.now.block_interval_ms == T.block_interval_ms, "others would wait for nothing"
