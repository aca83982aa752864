"""Shares, rates, lengths, sessions: each bounded, each with the law of its file."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2p.base.serving_limits import AFFINE_S, RETRY_LEAST_S, RETRY_MOST_S
from p2p.scheduling.affinity import Affinity
from p2p.scheduling.fair import Shares
from p2p.scheduling.jobs import Kind
from p2p.scheduling.measured import Lengths, Rate, hint
from tests.scheduling.jobs import job


def test_an_account_that_was_away_gains_nothing_by_it() -> None:
    shares = Shares()
    shares.arrive(b"here", [])
    for _ in range(10):
        shares.charge(b"here", 100)
    shares.arrive(b"back", [b"here"])
    assert shares.of(b"back") == shares.of(b"here")


def test_a_job_that_used_less_than_expected_gives_the_rest_back() -> None:
    shares = Shares()
    shares.charge(b"a", 100)
    shares.correct(b"a", -60)
    assert shares.of(b"a") == 40
    shares.correct(b"forgotten", 5)
    assert len(shares) == 1


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 1000)), max_size=200))
def test_shares_remember_few_accounts_and_forget_the_one_that_used_least(jobs: list[tuple[int, int]]) -> None:
    shares = Shares(most=8)
    for account, tokens in jobs:
        shares.arrive(bytes([account]), [])
        shares.charge(bytes([account]), tokens)
        assert len(shares) <= 8
        assert shares.of(bytes([account])) >= shares.floor or account == jobs[0][0]


def test_a_rate_is_measured_over_the_time_in_which_there_was_work() -> None:
    rate = Rate()
    assert rate.per_s is None
    assert rate.wait_s(1000) == 0
    rate.advance(0.0, busy=False)
    rate.advance(1000.0, busy=False)
    rate.advance(1010.0, busy=True)
    rate.note(200)
    assert rate.per_s == 20
    assert rate.wait_s(100) == 5
    rate.advance(900.0, busy=True)  # a clock that goes back
    assert rate.per_s == 20


def test_a_rate_forgets() -> None:
    rate, at = Rate(), 0.0
    rate.advance(at, busy=False)
    for tokens in (10, 1000):
        for _ in range(60):
            at += 10
            rate.advance(at, busy=True)
            rate.note(tokens * 10)
    assert rate.per_s is not None
    assert 990 < rate.per_s < 1120


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.lists(st.integers(0, 10**7), max_size=50))
def test_what_is_reserved_is_between_the_prompt_and_all_that_is_allowed(
    prompt: int, most: int, used: list[int]
) -> None:
    lengths, one = Lengths(), job(prompt=prompt, most=most)
    assert lengths.need(one) == max(prompt + most, 1), "before anything was measured"
    for tokens in used:
        lengths.note(one, tokens)
    assert min(prompt + 1, max(one.tokens, 1)) <= lengths.need(one) <= max(one.tokens, 1)
    check = job(Kind.VALIDATION, prompt=prompt, most=most)
    assert lengths.need(check) == max(check.tokens, 1)


@given(st.floats(min_value=0, max_value=1e12))
def test_a_hint_is_within_its_bounds(seconds: float) -> None:
    assert RETRY_LEAST_S <= hint(seconds) <= RETRY_MOST_S


def test_the_session_used_longest_ago_is_forgotten_first() -> None:
    affinity = Affinity(most=2)
    one, two, three = (job(session=name) for name in (b"1", b"2", b"3"))
    affinity.note(one, "x", 0.0)
    affinity.note(two, "y", 1.0)
    affinity.note(one, "z", 2.0)
    affinity.note(three, "x", 3.0)
    assert [affinity.of(each) for each in (one, two, three)] == ["z", "", "x"]
    affinity.note(job(), "x", 4.0)
    assert len(affinity) == 2, "a job without a session is not remembered"
    affinity.forget(2.5 + AFFINE_S)
    assert [affinity.of(each) for each in (one, three)] == ["", "x"], "one that is over is forgotten"
    affinity.forget(3.0 + AFFINE_S)
    assert len(affinity) == 0
