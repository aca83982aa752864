"""What one key may have of a peer: never more than the limit in any window, and what returns can be taken again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.base.errors import Overloaded
from p2p.peer.quotas import Limit, Quotas, Usage

STEPS = st.lists(st.tuples(
    st.sampled_from(("take", "take", "end", "wait")), st.sampled_from((0, 0, 1, 2)), st.integers(20, 60),
    st.integers(0, 60),
), min_size=10, max_size=60)


def refused(metered: Quotas, key: bytes, tokens: int, height: int) -> Overloaded:
    with pytest.raises(Overloaded) as caught:
        metered.take(key, tokens, height)
    return caught.value


@settings(max_examples=300, deadline=None)
@given(STEPS, st.integers(1, 4))
def test_no_window_ever_holds_more_than_the_limit(steps: list[tuple[str, int, int, int]], window: int) -> None:
    """A model in the test keeps every usage for ever, and adds up each window by itself."""
    metered, height = Quotas("account", Limit(3, 100, window), 3), 1
    running: list[Usage] = []
    shares: list[Usage] = []  # tokens: what counts of it now
    for kind, who, tokens, used in steps:
        key = bytes([who])
        if kind == "wait":
            height += 1 + tokens % 3
        elif kind == "end" and running:
            taken = running.pop(used % len(running))
            taken.used = min(used, taken.tokens)
            metered.give_back(taken)
            taken.tokens = taken.used
        elif kind == "take":
            mine = [t for t in shares if t.key == key and t.height > height - window]
            room = 100 - sum(t.tokens for t in mine)
            idle = sum(t.key == key for t in running) < 3
            try:
                taken = metered.take(key, tokens, height)
            except Overloaded:
                assert not idle or tokens > room, "what fits is taken"
            else:
                assert idle
                assert tokens <= room
                running.append(taken)
                shares.append(taken)
        assert len(metered) <= 3
    for end in range(height + 1):
        for who in range(3):
            assert sum(t.tokens for t in shares if t.key == bytes([who]) and end - window < t.height <= end) <= 100


def wait(metered: Quotas, tokens: int, height: int) -> int:
    """0: taken. Else the heights that the refusal names."""
    try:
        metered.take(b"a", tokens, height)
    except Overloaded as error:
        return error.retry_after
    return 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 50)), min_size=1, max_size=20), st.integers(1, 100))
def test_the_wait_named_is_long_enough_and_no_longer(takes: list[tuple[int, int]], wanted: int) -> None:
    metered, height = Quotas("account", Limit(100, 100, 5)), 1
    for step, tokens in takes:
        height += step
        assert 0 <= wait(metered, tokens, height) <= 5
    named = wait(metered, wanted, height)
    if named:
        assert named == 1 or wait(metered, wanted, height + named - 1) == 1
        assert wait(metered, wanted, height + named) == 0


def test_what_was_not_used_returns_at_once() -> None:
    metered = Quotas("account", Limit(8, 100, 10))
    with metered.hold(b"a", 100, 1) as taken:
        assert refused(metered, b"a", 1, 1).retry_after == 10
        metered.take(b"b", 100, 1)  # another account's limit is its own
        taken.used = 30
    assert refused(metered, b"a", 71, 5).retry_after == 6
    metered.take(b"a", 70, 5)
    metered.take(b"a", 30, 11)


def test_requests_at_once_are_bounded_and_an_ended_one_makes_room() -> None:
    metered = Quotas("account", Limit(1, 100, 10))
    first = metered.take(b"a", 1, 1)
    error = refused(metered, b"a", 1, 20)
    assert (error.field, error.retry_after) == ("account", 1)
    metered.give_back(first)
    metered.take(b"a", 1, 20)


def test_what_never_fits_says_so() -> None:
    error = refused(Quotas("account", Limit(1, 100, 10)), b"a", 101, 1)
    assert (error.field, error.retry_after) == ("max_tokens", 0)


def test_a_height_that_goes_back_gives_nothing_twice() -> None:
    metered = Quotas("account", Limit(8, 100, 10))
    metered.take(b"a", 100, 50)
    assert refused(metered, b"a", 1, 3).retry_after == 10


def test_who_uses_nothing_makes_room_then_who_used_least_and_never_who_runs() -> None:
    metered = Quotas("account", Limit(8, 100, 10), keys=2)
    taken = metered.take(b"a", 5, 1)
    metered.take(b"b", 5, 1)
    assert refused(metered, b"c", 5, 2).field == "account"
    assert refused(metered, b"c", 5, 11).field == "account", "both run still"
    metered.give_back(taken)
    metered.take(b"c", 5, 11)
    assert len(metered) == 2


def test_a_thousand_tiny_answers_close_the_peer_to_nobody_and_hide_nobodys_use() -> None:
    metered = Quotas("account", Limit(8, 100, 10), keys=4)
    with metered.hold(b"much", 100, 1) as taken:
        taken.used = 90
    for number in range(100):
        with metered.hold(number.to_bytes(2, "big"), 100, 2) as taken:
            taken.used = 3
    assert len(metered) == 4
    assert refused(metered, b"much", 11, 3).retry_after == 8, "who had most is remembered"
    metered.take(b"new", 100, 3)
