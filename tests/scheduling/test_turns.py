"""Answers before checks inside one engine: TURN-1 to TURN-4 of the room's README, as properties of an engine whose
steps take any time."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from p2p.base.serving_limits import (
    CHECK_CHUNK_LEAST,
    CHECK_CHUNK_MOST,
    CHECK_PATIENCE_S,
    CHECK_SHARE,
    CHECK_STEP_S,
    DUE_SHARE,
    LATE_SHARE,
)
from p2p.scheduling.turns import ANSWER, Turns, is_check, priority_of, share

rates = st.floats(20.0, 1e6)  # tokens of a prefill a second
decodes = st.floats(0.001, 0.3)  # seconds of a step without one
slow_decodes = st.floats(0.02, 0.3)  # where all steps are made between two turns
TURNS = 40  # of checks that are looked at: the chunk's length has settled long before


@dataclass
class Engine:
    """Makes answers without end, and the tokens of checks that wait."""

    rate: float
    decode_s: float
    turns: Turns = field(default_factory=Turns)
    now: float = 0.0
    work: int = 0  # tokens of checks that wait

    def step(self, share_now: float) -> int:
        """One step; how many tokens of checks it had."""
        given = min(self.turns.tokens(self.now, share_now), self.work)
        seconds = self.decode_s + given / self.rate
        if given:
            self.turns.begun()
        self.now += seconds
        self.work -= given
        if given:
            self.turns.ended(self.now, seconds, given)
        return given


@given(rates, slow_decodes, st.integers(1, 40_000), st.sampled_from([CHECK_SHARE, DUE_SHARE, LATE_SHARE]))
def test_checks_get_their_share_and_no_more(rate: float, decode_s: float, work: int, part: float) -> None:
    """TURN-2: answers have the rest, and a turn is late by one step of theirs at most."""
    engine, with_checks, longest, wait_until, seen = Engine(rate, decode_s, work=work), 0.0, 0.0, 0.0, 0
    while engine.work and seen < TURNS:
        before = engine.now
        if engine.step(part):
            seen += 1
            lasted = engine.now - before
            assert wait_until <= before <= wait_until + decode_s + 1e-6
            with_checks, longest = with_checks + lasted, max(longest, lasted)
            wait_until = engine.now + lasted * (1 - part) / part
        assert with_checks <= part * engine.now + longest + 1e-6


@given(rates, decodes, st.integers(1, 200_000))
def test_a_step_with_checks_is_short_once_the_engine_is_known(rate: float, decode_s: float, work: int) -> None:
    """TURN-3: an answer that comes waits for one such step."""
    engine, seen = Engine(rate, decode_s, work=work), 0
    while engine.work and seen < TURNS:
        before = engine.now
        given = engine.step(1.0)
        seen += 1
        assert CHECK_CHUNK_LEAST <= engine.turns.chunk <= CHECK_CHUNK_MOST
        assert engine.now - before <= max(CHECK_STEP_S, CHECK_CHUNK_LEAST / rate) + 2 * decode_s
        assert given > 0, "nobody is there to let pass (TURN-4)"


@given(rates, decodes, st.integers(1, 20_000), st.floats(0.0, 600.0))
def test_no_check_starves_however_many_answers_there_are(
    rate: float, decode_s: float, work: int, due_in: float
) -> None:
    """TURN-2: after twice its patience it has all but a quarter of the engine, and a step of answers for each turn."""
    engine = Engine(rate, decode_s, work=work)
    due = priority_of(engine.now + due_in, engine.now)
    while engine.work:
        engine.step(share(due, 0.0, engine.now))
    turns = work / CHECK_CHUNK_LEAST + 2
    of_checks = work / rate + decode_s * turns
    assert engine.now <= 2 * (CHECK_PATIENCE_S + 1) + of_checks / LATE_SHARE + decode_s * turns


@given(st.floats(0, 1e10), st.floats(0, 1e10))
def test_a_check_is_never_taken_for_an_answer(due: float, clock: float) -> None:
    found = priority_of(due, clock)
    assert is_check(found)
    assert found <= max(clock + CHECK_PATIENCE_S, due, 1) + 1
    assert not is_check(ANSWER)


@given(st.integers(1, 1000), st.floats(0, 1000), st.floats(0, 5000), st.floats(0, 5000))
def test_a_share_only_grows(due: int, since: float, one: float, two: float) -> None:
    early, late = sorted((one, two))
    assert share(due, since, early) <= share(due, since, late)


def test_two_steps_at_once_have_checks_only_when_their_time_is_over() -> None:
    """An engine that makes the next step while the last one runs does not know yet what that one costs."""
    turns = Turns()
    assert turns.tokens(0.0, CHECK_SHARE) > 0
    turns.begun()
    assert turns.tokens(0.0, CHECK_SHARE) == turns.tokens(0.0, DUE_SHARE) == 0
    assert turns.tokens(0.0, 1.0) > 0
    turns.ended(1.0, 1.0, 100)
    assert turns.tokens(7.9, CHECK_SHARE) == 0
    assert turns.tokens(8.1, CHECK_SHARE) > 0
    assert turns.tokens(1.9, DUE_SHARE) == 0
    assert turns.tokens(2.1, DUE_SHARE) > 0
