"""What is begun before the chain holds its money: bounded over all executors together, by what an account has and has
proven."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.base.serving_limits import MAX_AHEAD, MAX_AHEAD_ACCOUNTS
from p2p.peer.agent_credit import FORGOTTEN_AFTER
from p2p.peer.ahead import Ahead

ACCOUNT, AGENT, OTHER = b"a" * 32, b"b" * 32, b"c" * 32


@settings(deadline=None)
@given(
    st.integers(1, 12), st.integers(0, 10_000),
    st.lists(st.tuples(st.integers(0, 11), st.integers(1, 3000)), max_size=80),
)
def test_all_executors_together_begin_no_more_than_the_account_has_proven(
    executors: int, trusted: int, asked: list[tuple[int, int]]
) -> None:
    """Nothing of it ever comes to the chain, through whichever agents it was sent."""
    peers, begun = [Ahead(lambda inference_id, agent: False) for _ in range(executors)], 0
    for number, (at, escrow) in enumerate(asked):
        peer = peers[at % executors]
        if peer.covers(ACCOUNT, escrow, trusted, executors, 10):
            peer.note(ACCOUNT, AGENT, number.to_bytes(32, "big"), escrow, 10)
            begun += escrow
    assert begun <= trusted


def test_what_the_chain_holds_does_not_count_and_what_it_never_held_is_remembered() -> None:
    on_chain: set[bytes] = set()
    seen = Ahead(lambda inference_id, agent: inference_id in on_chain and agent == AGENT)
    for number in range(MAX_AHEAD):
        assert seen.covers(ACCOUNT, 1, 10**9, 1, 10)
        seen.note(ACCOUNT, AGENT, bytes([number]), 1, 10)
    assert not seen.covers(ACCOUNT, 1, 10**9, 1, 10), "so many at once, however rich"
    assert not seen.covers(ACCOUNT, 1, 10**9, 1, 10 + FORGOTTEN_AFTER)
    assert seen.covers(b"b" * 32, 1, 10**9, 1, 10)
    on_chain.add(bytes([0]))
    assert seen.covers(ACCOUNT, 1, 10**9, 1, 10)
    assert seen.covers(ACCOUNT, 1, 10**9, 1, 11 + FORGOTTEN_AFTER)


def test_accounts_that_are_remembered_are_bounded_and_the_oldest_goes() -> None:
    seen = Ahead(lambda inference_id, agent: False)
    for number in range(MAX_AHEAD_ACCOUNTS + 5):
        for _ in range(MAX_AHEAD):
            seen.note(number.to_bytes(32, "big"), AGENT, bytes(32), 1, 10)
    assert len(seen._open) == MAX_AHEAD_ACCOUNTS
    assert not seen.covers((MAX_AHEAD_ACCOUNTS + 4).to_bytes(32, "big"), 1, 10**9, 1, 10)


def test_what_another_agent_started_does_not_pay_for_what_was_begun_for_this_one() -> None:
    """An accomplice starts the same signed request: another draw, and nobody pays who worked for the first."""
    seen = Ahead(lambda inference_id, agent: agent == AGENT)
    for number in range(MAX_AHEAD):
        seen.note(ACCOUNT, OTHER, bytes([number]), 1, 10)
    assert not seen.covers(ACCOUNT, 1, 10**9, 1, 10)
    assert not seen.covers(ACCOUNT, 1, 10**9, 1, 10 + FORGOTTEN_AFTER)
