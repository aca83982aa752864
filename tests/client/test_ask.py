"""One question: each step is told before the next one is taken, and a client waits for an agent that has too many
requests, and for nothing else. What it signed is paid once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from p2p.base.body import one_message
from p2p.base.codec import decode, encode
from p2p.base.errors import FolkmootError, InvalidRequest, Overloaded, Unavailable
from p2p.base.serving_limits import AGENT_WAIT_S, AGENT_WAITS, MAX_AGENT_WAIT
from p2p.base.types import SignedRequest
from p2p.client.ask import ask_over
from p2p.client.events import Accepted, Event, Notices, Signed, TermsShown, Waiting, plain
from p2p.client.question import TEMPLATE_TOKENS, Overrides, Question
from p2p.wire import frames
from p2p.wire.failures import failure
from p2p.wire.frames import Answer, Ask, Frame, Query, pack_frame, parse_frame
from tests.client.liar import PEER, Liar
from tests.client.one_answer import pipe
from tests.client.test_tip_proof import NOTICE
from tests.sim.traffic import CLIENT, MODEL

BUSY = Overloaded("this peer has more requests than it can keep up with", field="agent", retry_after=1)
OLD = InvalidRequest("the request names a height that is too old", field="draw_height")
OVERTAKEN = InvalidRequest("nonce 1 was used; the next is 90", field="client_nonce")
QUESTION = Question(MODEL, one_message("hello"), max_tokens=10)
ENOUGH = Unavailable("no more", field="model")  # how a script ends


class Agent:
    """Answers each request with the next line of `script`: an error, or frames. Its chain is the Liar's, and grows by
    `grows` heights with each request."""

    def __init__(
        self, peer: Liar, nursery: trio.Nursery, script: Sequence[FolkmootError | frames.Accepted], grows: int
    ) -> None:
        self.peer, self.nursery, self.script, self.grows = peer, nursery, list(script), grows
        self.asked: list[SignedRequest] = []

    async def open_stream(self, peer: str, protocol: str) -> Any:
        assert peer == PEER.peer_id
        mine, theirs = pipe()
        self.nursery.start_soon({"query": self._query, "infer": self._infer}[protocol], theirs)
        return mine

    async def _query(self, stream: Any) -> None:
        frame = parse_frame(await stream.receive())
        assert isinstance(frame, Query)
        try:
            answer: Frame = Answer(encode(await self.peer.question(decode(frame.body))))
        except FolkmootError as error:
            answer = failure(error)
        await stream.send(pack_frame(answer))

    async def _infer(self, stream: Any) -> None:
        frame = parse_frame(await stream.receive())
        assert isinstance(frame, Ask)
        self.asked.append(frame.signed_request)
        self.peer.grow(self.grows)
        line = self.script.pop(0) if self.script else ENOUGH
        while isinstance(line, frames.Accepted):
            await stream.send(pack_frame(line))
            line = self.script.pop(0)
        await stream.send(pack_frame(failure(line)))


async def asked(
    peer: Liar, *script: FolkmootError | frames.Accepted, patience: int = AGENT_WAITS, grows: int = 0
) -> tuple[list[SignedRequest], list[Event], FolkmootError]:
    """What was sent, the events, and the error in the end."""
    events: list[Event] = []
    async with trio.open_nursery() as nursery:
        agent: Any = Agent(peer, nursery, script, grows)
        try:
            async for event in ask_over(agent, peer.to, QUESTION, peer.payer, patience=patience):
                events.append(event)
        except FolkmootError as error:
            return agent.asked, events, error
    raise AssertionError("every script ends with a refusal")


def kinds(events: list[Event]) -> list[type[Event]]:
    return [type(event) for event in events]


@pytest.mark.parametrize("last", [Notices, TermsShown, Signed])
async def test_whoever_leaves_at_an_event_has_nothing_done_that_comes_after_it(peer: Liar, last: type[Event]) -> None:
    peer.says(notices=[NOTICE])
    async with trio.open_nursery() as nursery:
        agent: Any = Agent(peer, nursery, (), 0)
        answer = ask_over(agent, peer.to, QUESTION, peer.payer)
        seen = [await anext(answer)]
        while not isinstance(seen[-1], last):
            seen.append(await anext(answer))
        await answer.aclose()
    assert kinds(seen) == [Notices, TermsShown, Signed][: len(seen)]
    assert agent.asked == []
    assert peer.nonces.last(CLIENT.public) == (last is Signed), "what is not signed uses no nonce"


async def test_what_it_will_cost_is_told_before_it_is_signed(peer: Liar) -> None:
    _, events, _ = await asked(peer)
    terms, signed = events
    assert isinstance(terms, TermsShown)
    assert isinstance(signed, Signed)
    assert terms.most_micro == terms.max_price_micro * (len("hello") + TEMPLATE_TOKENS + 10)
    request = signed.signed_request.request
    assert (request.max_price_micro, request.prompt_tokens_max + request.max_tokens) == (
        terms.max_price_micro, terms.tokens
    )
    assert plain(terms) == {
        "event": "terms", "price_micro": terms.price_micro, "max_price_micro": terms.max_price_micro,
        "tokens": terms.tokens, "balance_micro": terms.balance_micro, "most_micro": terms.most_micro,
    }


async def test_the_same_request_is_sent_again_after_the_wait(peer: Liar, autojump_clock: MockClock) -> None:
    sent, events, error = await asked(peer, BUSY, BUSY, BUSY)
    assert error.field == ENOUGH.field
    assert len(sent) == 4
    assert len(set(sent)) == 1
    assert peer.nonces.last(CLIENT.public) == sent[0].request.client_nonce == 1
    terms, signed, *waits = events
    assert (type(terms), signed) == (TermsShown, Signed(sent[0]))
    assert [wait.left for wait in waits] == [AGENT_WAITS - 1, AGENT_WAITS - 2, AGENT_WAITS - 3]
    assert {wait.reason for wait in waits} == {BUSY.message}
    assert sum(wait.wait_s for wait in waits) == pytest.approx(trio.current_time(), abs=0.1)
    assert 3 * AGENT_WAIT_S <= trio.current_time() <= 6 * AGENT_WAIT_S


@pytest.mark.parametrize("patience", [0, 2, AGENT_WAITS])
async def test_a_client_gives_up_after_its_patience(peer: Liar, autojump_clock: MockClock, patience: int) -> None:
    sent, events, error = await asked(peer, *[BUSY] * 20, patience=patience)
    assert (len(sent), kinds(events).count(Waiting)) == (patience + 1, patience)
    assert (error.code, error.field) == (BUSY.code, BUSY.field)


@pytest.mark.parametrize("refusal", [
    Overloaded("the account's quota", field="max_tokens", retry_after=3), Overloaded("running", field="account"),
    Overloaded("an hour", field="agent", retry_after=MAX_AGENT_WAIT + 1), Unavailable("suspended", field="agent"),
    InvalidRequest("another agent", field="agent"), OLD,
], ids=lambda refusal: f"{refusal.code}: {refusal.field}")
async def test_no_other_refusal_is_waited_for(peer: Liar, autojump_clock: MockClock, refusal: FolkmootError) -> None:
    sent, events, error = await asked(peer, refusal, BUSY)
    assert (len(sent), kinds(events), error.message) == (1, [TermsShown, Signed], refusal.message)


async def test_a_request_that_was_accepted_is_not_sent_again(peer: Liar, autojump_clock: MockClock) -> None:
    taken = frames.Accepted(bytes(32), PEER.public, bytes(32), ())
    sent, events, error = await asked(peer, BUSY, taken, BUSY)
    assert (kinds(events), len(sent)) == ([TermsShown, Signed, Waiting, Accepted], 2)
    assert error.field == "agent"


async def test_a_request_whose_draw_grew_old_is_signed_again_with_its_nonce(
    peer: Liar, autojump_clock: MockClock
) -> None:
    """So whoever kept the first one can have it paid instead of the second, and not as well."""
    sent, events, error = await asked(peer, BUSY, OLD, BUSY, grows=1)
    assert kinds(events) == [TermsShown, Signed, Waiting, TermsShown, Signed, Waiting]
    assert error.field == ENOUGH.field
    assert [one.request.draw_height for one in sent] == [5, 5, 7, 7]
    assert {one.request.client_nonce for one in sent} == {1}
    assert all(one.is_signed() for one in sent)


async def test_a_nonce_that_others_overtook_while_it_waited_is_replaced(peer: Liar, autojump_clock: MockClock) -> None:
    sent, events, error = await asked(peer, BUSY, OVERTAKEN)
    assert kinds(events) == [TermsShown, Signed, Waiting, TermsShown, Signed]
    assert error.field == ENOUGH.field
    assert [one.request.client_nonce for one in sent] == [1, 1, 2]
    assert all(one.is_signed() for one in sent)


async def test_an_agent_that_calls_every_nonce_used_gets_three(peer: Liar, autojump_clock: MockClock) -> None:
    sent, _, error = await asked(peer, *[OVERTAKEN] * 10)
    assert ([one.request.client_nonce for one in sent], error.field) == ([1, 2, 3], "client_nonce")


async def test_a_nonce_that_the_caller_chose_is_not_replaced(peer: Liar) -> None:
    async with trio.open_nursery() as nursery:
        agent: Any = Agent(peer, nursery, [OVERTAKEN], 0)
        with pytest.raises(InvalidRequest) as caught:
            async for _ in ask_over(agent, peer.to, QUESTION, peer.payer, Overrides(nonce=7)):
                pass
    assert (len(agent.asked), caught.value.field) == (1, "client_nonce")


async def test_an_agent_that_calls_every_draw_old_is_asked_once_more(peer: Liar, autojump_clock: MockClock) -> None:
    sent, _, error = await asked(peer, BUSY, OLD, OLD, OLD)
    assert (len(sent), error.field) == (3, "draw_height")
