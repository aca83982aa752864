"""An agent that breaks off, repeats itself or provokes: what was streamed is counted, nothing is begun twice, and the
chain hears of it once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from p2p.base.codec import unpack
from p2p.base.errors import FolkmootError, RemoteProtocolError
from p2p.base.serving_limits import MAX_ONCE
from p2p.base.types import AGENT_CAUSED, RecordKind, SignedBusy, SignedRequest
from p2p.peer.admission import Once
from p2p.peer.executor import Executor
from p2p.peer.quotas import Limit, Quotas
from p2p.verification.engine import Job, TokenStep
from p2p.wire.frames import Declined, Tokens, parse_frame
from tests.lab.attacks.engine import ToyEngine
from tests.peer.ready import ready
from tests.peer.scenarios.test_stop import pipe
from tests.peer.test_executor import (
    AGENT,
    CLIENT,
    FIRST,
    SECOND,
    THIRD,
    executor,
    forward,
    request,
    said,
    served,
    whole,
    word,
)


class LastWaits(ToyEngine):
    """All tokens but the last come at once."""

    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        number = 0
        async for step in super().generate(job):
            number += 1
            if number == job.max_tokens:
                await trio.sleep_forever()
            yield step


def weightless(status: str) -> Executor:
    who = executor(engine=LastWaits())
    who.admission.quotas = Quotas("agent", Limit(4, 10_000, 60))
    who.admission.credit.status = lambda signed: status
    who.admission.credit.has_weight = lambda agent: False
    return who


async def broken_off(who: Executor, signed: SignedRequest) -> tuple[int, FolkmootError | None]:
    """Tokens that the agent has had when it resets its stream before the end, and how the executor ended."""
    mine, theirs = pipe()
    mine.peer, had, ends = AGENT.peer_id, 0, []

    async def serve() -> None:
        try:
            await who.serve(mine, forward(signed))
        except FolkmootError as error:
            ends.append(error)
        await mine.close()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            while had < signed.request.max_tokens - 1 and not ends:
                try:
                    frame = parse_frame(await theirs.receive())
                except FolkmootError:
                    break
                if not isinstance(frame, Tokens):
                    break
                had += len(frame.tokens)
            await theirs.reset()
    return had, ends[0] if ends else None


def used(who: Executor) -> int:
    return sum(who.admission.quotas._meters[AGENT.public].used.values())


@pytest.mark.parametrize("status", ["", "STARTED", "EXPIRED", "nonce"])
async def test_an_agent_that_breaks_off_has_had_it_and_is_not_served_again(status: str) -> None:
    """All tokens but one, again and again, for one Start whose escrow came back: it had 780 tokens in twenty rounds,
    metered as none."""
    who, signed = weightless(status), request(1, 40)
    had, error = await broken_off(who, signed)
    assert had == 39
    assert error is not None
    assert used(who) >= had
    again, refusal = await broken_off(who, signed)
    assert again == 0
    assert isinstance(refusal, RemoteProtocolError)
    assert refusal.penalty == 0
    frames, _ = await served(who, forward(request(2, 40)))
    assert isinstance(frames[0], Declined)
    assert "does not put on chain" in frames[0].reason
    assert who.admission.credit.problem(AGENT.public, CLIENT.public, 640), "for as long as debts are remembered"


async def test_where_another_executor_finishes_it_nothing_is_held_against_the_agent() -> None:
    """It went on because this one was slow: that is what it is for."""
    who = weightless("STARTED")
    await broken_off(who, request(1, 40))
    assert who.admission.credit.problem(AGENT.public, CLIENT.public, 6)
    who.admission.credit.status = lambda signed: "FINISHED"
    assert not who.admission.credit.problem(AGENT.public, CLIENT.public, 6)


async def test_an_engine_that_dies_is_not_the_agents_doing() -> None:
    from tests.peer.test_executor import Dies

    who = weightless("EXPIRED")
    who.ready = ready(Dies(5))
    _, error = await served(who, forward(request(1, 40)))
    assert error is not None
    assert not who.admission.credit.problem(AGENT.public, CLIENT.public, 600)
    _, refusal = await served(who, forward(request(1, 40)))
    assert isinstance(refusal, RemoteProtocolError), "yet one request is one try"
    assert said(who) == []


async def test_a_beginning_that_is_not_this_models_costs_one_prefill_and_is_metered() -> None:
    signed = request()
    true = await whole(signed)
    far = next(token for token in range(3, 60) if token not in true)
    who, scored = weightless("STARTED"), []

    class Counts(ToyEngine):
        async def score(self, *args: object, **rest: object) -> object:  # type: ignore[override]
            scored.append(1)
            return await super().score(*args, **rest)  # type: ignore[arg-type]

    who.ready = ready(Counts())
    prefix = [*true[:4], far]
    for _ in range(20):
        await served(who, forward(signed, prefix, word(signed, prefix)))
    assert len(scored) == 1
    assert used(who) >= len(prefix)
    assert said(who) == [RecordKind.BUSY]


async def test_an_executor_says_busy_on_chain_once_for_a_request_however_often_it_is_provoked() -> None:
    """A hundred Forwards were a hundred records; and it says whose doing it is, to the agent as on chain: else the one
    that was not provoked would be the only one silent (M4)."""
    signed = request(2)
    for key in (FIRST, SECOND, THIRD):
        who, words = executor(key), []
        for _ in range(50):
            frames, _ = await served(who, forward(signed, [5, 6], ()))
            words.append(frames[0].busy.record.reason)
        assert said(who) == [RecordKind.BUSY]
        words.append(unpack(SignedBusy, who.outbox._waiting[0].body).record.reason)
        assert all(reason.startswith(AGENT_CAUSED) for reason in words)


async def test_a_full_quota_is_the_agents_doing_and_full_places_are_not() -> None:
    who = executor()
    who.admission.quotas = Quotas("agent", Limit(0, 10_000, 60))
    frames, _ = await served(who, forward(request(1)))
    assert frames[0].busy.record.reason.startswith(AGENT_CAUSED)
    who = executor()
    who.admission.places.most = 0
    frames, _ = await served(who, forward(request(1)))
    assert not frames[0].busy.record.reason.startswith(AGENT_CAUSED)


def test_what_was_said_is_remembered_within_bounds() -> None:
    once = Once()
    for number in range(MAX_ONCE + 1):
        assert once.first(number.to_bytes(32, "big"))
        assert not once.first(number.to_bytes(32, "big"))
    assert len(once._done) == MAX_ONCE
    assert once.first(bytes(32)), "the oldest is forgotten"
