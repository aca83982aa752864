"""An agent that lets others work and puts no Start on chain: its first few answers, and no more until it is forgotten."""

from __future__ import annotations

from msgspec.structs import replace

from p2p.inference.unstarted import FORGOTTEN_AFTER, Unstarted
from p2p.ledger.apply import DRAW_WINDOW
from p2p.limits import MAX_UNSTARTED
from p2p.types import Params, Request, SignedRequest

AGENT, OTHER = b"a" * 32, b"b" * 32
BASE = Request(1, "n", bytes(32), 1, "toy", bytes(32), Params(), 50, 50, 100, 40, bytes(32), 1)


def request(nonce: int) -> SignedRequest:
    return SignedRequest(replace(BASE, client_nonce=nonce), bytes(64))


def test_an_agent_that_never_starts_is_worked_for_a_few_times_only() -> None:
    on_chain: set[int] = set()
    seen = Unstarted(lambda signed: signed.request.client_nonce in on_chain)
    for nonce in range(1, 40):
        seen.note(AGENT, request(nonce), 10)
    assert not seen.owes(AGENT, 10 + DRAW_WINDOW), "they can start still"
    assert seen.owes(AGENT, 11 + DRAW_WINDOW)
    assert not seen.owes(OTHER, 11 + DRAW_WINDOW)
    on_chain |= set(range(1, 40 - MAX_UNSTARTED))
    assert not seen.owes(AGENT, 11 + DRAW_WINDOW), "those that are on chain, however late, are no debt"


def test_it_is_forgotten_after_a_while_and_little_is_kept() -> None:
    seen = Unstarted(lambda signed: False)
    for nonce in range(1, 1000):
        seen.note(AGENT, request(nonce), 10)
    assert len(seen._open[AGENT]) == 64
    assert seen.owes(AGENT, 10 + FORGOTTEN_AFTER)
    assert not seen.owes(AGENT, 11 + FORGOTTEN_AFTER)
    assert not seen._open
