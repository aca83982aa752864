"""An agent that lets others work and puts no Start on chain, or says there other than was streamed: its first few answers, and no more until it is
forgotten; one without weight has no such answer to spare."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from p2p.inference.unstarted import FORGOTTEN_AFTER, Unstarted, Word
from p2p.ledger.apply import DRAW_WINDOW
from p2p.limits import MAX_UNSTARTED
from p2p.types import Params, Request, SignedRequest

AGENT, OTHER = b"a" * 32, b"b" * 32
BASE = Request(1, "n", bytes(32), 1, "toy", bytes(32), Params(), 50, 50, 100, 40, bytes(32))


def request(nonce: int) -> SignedRequest:
    return SignedRequest(replace(BASE, client_nonce=nonce), bytes(64))


def by(words: dict[int, Word], else_: Word = Word.OPEN) -> Callable[[SignedRequest], Word]:
    return lambda signed: words.get(signed.request.client_nonce, else_)


@pytest.mark.parametrize("after", [Word.PENDING, Word.KEPT])
def test_an_agent_that_never_starts_is_worked_for_a_few_times_only(after: Word) -> None:
    words: dict[int, Word] = {}
    seen = Unstarted(by(words))
    for nonce in range(1, 40):
        seen.note(AGENT, request(nonce), 10)
    assert not seen.owes(AGENT, 10 + DRAW_WINDOW), "they can start still"
    assert seen.owes(AGENT, 11 + DRAW_WINDOW)
    assert not seen.owes(OTHER, 11 + DRAW_WINDOW)
    words |= dict.fromkeys(range(1, 40 - MAX_UNSTARTED), after)
    assert not seen.owes(AGENT, 11 + DRAW_WINDOW), "those that are on chain, however late, are no debt"


@pytest.mark.parametrize(("weighty", "spared"), [(True, MAX_UNSTARTED), (False, 0)])
def test_what_it_said_on_chain_against_the_executor_counts_and_outlives_the_inference(weighty: bool, spared: int) -> None:
    words = dict.fromkeys(range(1, spared + 1), Word.BROKEN)
    seen = Unstarted(by(words, Word.PENDING))
    for nonce in range(1, spared + 2):
        seen.note(AGENT, request(nonce), 10)
    assert not seen.owes(AGENT, 11, weighty=weighty)
    words[spared + 1] = Word.BROKEN
    assert seen.owes(AGENT, 11, weighty=weighty)
    words.clear()
    assert seen.owes(AGENT, 10 + FORGOTTEN_AFTER, weighty=weighty)
    assert not seen.owes(AGENT, 11 + FORGOTTEN_AFTER, weighty=weighty)


def test_it_is_forgotten_after_a_while_and_little_is_kept() -> None:
    seen = Unstarted(by({}))
    for nonce in range(1, 1000):
        seen.note(AGENT, request(nonce), 10)
    assert len(seen._open[AGENT]) == 64
    assert seen.owes(AGENT, 10 + FORGOTTEN_AFTER)
    assert not seen.owes(AGENT, 11 + FORGOTTEN_AFTER)
    assert not seen._open
    assert not seen._broken
