"""Waiting for a Start: one participant fills no more than its part of the places, and what never comes is
remembered."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace as changed

from p2p.base.body import one_message
from p2p.base.codec import encode
from p2p.base.errors import Overloaded, RemoteProtocolError
from p2p.base.keys import Domain, Key
from p2p.base.serving_limits import MAX_WAITING_STARTS, START_WAIT_S, WAITING_OF_ACCOUNT, WAITING_OF_AGENT
from p2p.base.types import VERSION, SignedRequest
from p2p.base.weighted_draw import WeightedDraw
from p2p.ledger.participants.serving import DRAW_WINDOW
from p2p.peer.agent_credit import Credit
from p2p.peer.start_first import LATE, StartFirst, Waiting
from p2p.wire.frames import Forward
from tests.peer.test_executor import DRAWN, PROMPT, request

AGENTS = [Key(bytes([number]) * 32).public for number in range(1, 80)]


@dataclass
class Chain:
    """Nobody has proven anything; `started` are on chain."""

    started: set[bytes] = field(default_factory=set)
    now: int = 5
    reader = property(lambda self: self)

    def height(self) -> int:
        return self.now

    def draw_of(self, inference_id: bytes) -> Any:
        return inference_id if inference_id in self.started else None

    def starter_of(self, inference_id: bytes) -> bytes | None:
        return None

    def serving_at(self, model: str, height: int) -> WeightedDraw:
        return WeightedDraw([(key, 1) for key in DRAWN])

    def escrow_micro(self, signed: SignedRequest) -> int:
        return 62

    def trusted_micro(self, account: bytes) -> int:
        return 0

    def is_void(self, signed: SignedRequest) -> bool:
        return False

    def has_weight(self, agent: bytes) -> bool:
        return False


def one() -> tuple[StartFirst, Chain]:
    chain: Any = Chain()
    return StartFirst(chain, Credit(lambda signed: "", lambda agent: False)), chain


def asked(nonce: int, account: int, agent: int = 0) -> Forward:
    key = Key(account.to_bytes(32, "big"))
    body = changed(request(nonce).request, account=key.public, signer=key.public)
    signed = SignedRequest(body, key.sign(Domain.REQUEST, "n", encode(body)))
    return Forward(VERSION, signed, encode(one_message(PROMPT)), AGENTS[agent], b"")


async def test_one_agent_and_one_account_leave_places_for_others(autojump_clock: trio.testing.MockClock) -> None:
    """64 Forwards of one account, never started, kept every newcomer out, for ever and for nothing."""
    first, chain = one()
    ends: list[str] = []

    async def ask(forward: Forward) -> None:
        ends.append(await first.wait(forward))

    async with trio.open_nursery() as nursery:
        for nonce in range(1, 65):
            nursery.start_soon(ask, asked(nonce, 1))
        for nonce in range(1, 65):
            nursery.start_soon(ask, asked(nonce, 1 + nonce, 1))
        await trio.testing.wait_all_tasks_blocked()
        assert len(first.waiting) == WAITING_OF_ACCOUNT + WAITING_OF_AGENT
        newcomer = asked(1, 99, 2)
        chain.started.add(newcomer.signed_request.inference_id)  # seen from the next look on
        assert await first.wait(newcomer) == ""
    assert ends.count(LATE) == WAITING_OF_ACCOUNT + WAITING_OF_AGENT
    assert len(first.waiting) == 0


async def test_what_never_comes_is_its_agents_debt_and_asked_before_anybody_waits(
    autojump_clock: trio.testing.MockClock
) -> None:
    first, chain = one()
    assert await first.wait(asked(1, 1)) == LATE
    chain.now += DRAW_WINDOW + 1
    before = trio.current_time()
    assert "does not put on chain" in await first.wait(asked(2, 2))
    assert trio.current_time() == before
    assert await first.wait(asked(3, 3, 1)) == LATE, "another agent's"
    assert trio.current_time() == before + START_WAIT_S


async def test_where_all_places_are_taken_whoever_holds_most_gives_way() -> None:
    waiting, cancelled = Waiting(), 0
    with ExitStack() as held:
        for number in range(MAX_WAITING_STARTS):  # of an agent with weight
            held.enter_context(
                waiting.hold(number.to_bytes(32, "big"), AGENTS[0], number.to_bytes(32, "big"), weighs=True)
            )
        for number in range(1, 9):
            held.enter_context(waiting.hold(bytes([number]) * 32, AGENTS[number], bytes([number]) * 32, weighs=False))
            assert len(waiting) == MAX_WAITING_STARTS
        with pytest.raises(Overloaded):
            waiting.hold(b"z" * 32, AGENTS[0], b"z" * 32, weighs=True).__enter__()
        with pytest.raises(RemoteProtocolError):
            waiting.hold(bytes([1]) * 32, AGENTS[1], b"z" * 32, weighs=True).__enter__()
        cancelled = sum(row[0] == AGENTS[0] for row in waiting._rows.values())
    assert cancelled == MAX_WAITING_STARTS - 8
    assert len(waiting) == 0
