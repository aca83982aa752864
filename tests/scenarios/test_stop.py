"""Scenarios of ending early, on the real agent and the real generation over streams in memory: who stops unasked, who does not stop."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
import trio

from p2p.bandwidth import Taken
from p2p.codec import encode
from p2p.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.inference.agent import Agent, _Session
from p2p.inference.engine import TokenStep
from p2p.inference.reader import Reader
from p2p.inference.session import Ask, Done, Frame, Stop, Tokens, Trying, pack_frame, parse_frame
from p2p.inference.stopping import until_stop
from p2p.keys import Domain, Key, digest
from p2p.limits import MAX_AFTER_STOP
from p2p.outbox import Outbox
from p2p.types import FinishReason, FinishRecord, Params, Request, SignedFinish, SignedRequest
from p2p.verification.artifact import output_hash

AGENT, EXECUTOR, CLIENT = (Key(bytes([i]) * 32) for i in (1, 2, 3))
BODY = Request(1, "n", CLIENT.public, 1, "toy", digest(b"prompt", b"hi"), Params(), 50, 1000, 100, 40, CLIENT.public, 1)
SIGNED = SignedRequest(BODY, CLIENT.sign(Domain.REQUEST, "n", encode(BODY)))


class End:
    """One end of a stream in memory. broken: nothing can be sent any more."""

    def __init__(self, out: trio.MemorySendChannel[bytes], into: trio.MemoryReceiveChannel[bytes]) -> None:
        self.out, self.into, self.broken = out, into, False

    async def send(self, frame: bytes) -> None:
        if self.broken:
            raise Unavailable("the stream broke", field="stream")
        await self.out.send(frame)

    async def receive(self, limit: int = 0, timeout_s: float = 5.0) -> bytes:
        try:
            with trio.fail_after(min(timeout_s, 30.0)):
                return await self.into.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError) as error:
            raise Unavailable("the peer closed the stream", field="stream") from error

    async def close(self) -> None:
        self.out.close()

    reset = close


def pipe() -> tuple[Any, Any]:
    one, two = trio.open_memory_channel[bytes](10_000), trio.open_memory_channel[bytes](10_000)
    return End(one[0], two[1]), End(two[0], one[1])


def finished(tokens: list[int], reason: FinishReason) -> Done:
    record = FinishRecord(SIGNED.inference_id, EXECUTOR.public, bytes(32), output_hash(tokens), 5, len(tokens), reason)
    return Done(SignedFinish(record, EXECUTOR.sign(Domain.FINISH, "n", encode(record))), b"")


async def serve(executor: Callable[[Any], Awaitable[None]], *, gone: bool) -> tuple[Outbox, list[Frame], str]:
    """What the agent has for the chain, what the client saw, and the reason of the error at the end."""
    client, seen_by_client = pipe()
    to_executor, at_executor = pipe()
    outbox = Outbox(AGENT, "n")
    client.broken = gone

    async def open_stream(peer: str, protocol: str) -> Any:
        del peer, protocol
        return to_executor

    agent = Agent(AGENT, cast(Any, None), outbox, open_stream, 5.0, 5.0)
    session = _Session(Ask(1, SIGNED, "hi"), Reader(client), Taken(b"", 1, 1000))
    reason = ""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(executor, at_executor)
        try:
            await agent._execute(session, (EXECUTOR.public,))
        except FolkmootError as error:
            reason = str(error)
        nursery.cancel_scope.cancel()
    await client.close()
    frames = []
    while True:
        try:
            frames.append(parse_frame(await seen_by_client.receive()))
        except Unavailable:
            return outbox, frames, reason


async def test_an_executor_that_stops_unasked_is_passed_over_and_no_record_confirms_it() -> None:
    async def cuts_short(stream: Any) -> None:
        await stream.receive()
        await stream.send(pack_frame(Tokens(0, (7,), "a")))
        await stream.send(pack_frame(finished([7], FinishReason.STOPPED)))

    outbox, frames, reason = await serve(cuts_short, gone=False)
    assert [type(frame).__name__ for frame in frames] == ["Trying", "Tokens", "Passed"]
    assert "nobody asked it to" in frames[-1].reason  # type: ignore[union-attr]
    assert "every drawn executor" in reason
    assert len(outbox) == 0
    assert isinstance(frames[0], Trying)


async def test_an_executor_that_stops_when_asked_is_confirmed() -> None:
    heard: list[Frame] = []

    async def stops(stream: Any) -> None:
        await stream.receive()
        await stream.send(pack_frame(Tokens(0, (7,), "a")))
        heard.append(parse_frame(await stream.receive()))
        await stream.send(pack_frame(Tokens(1, (8,), "b")))  # it was on its way
        await stream.send(pack_frame(finished([7, 8], FinishReason.STOPPED)))

    outbox, frames, reason = await serve(stops, gone=True)
    assert heard == [Stop(SIGNED.inference_id)]
    assert (len(outbox), frames, reason) == (2, [], ""), "an OutputRecord and the executor's finish"


async def test_an_executor_that_goes_on_after_stop_is_not_confirmed() -> None:
    heard: list[Frame] = []

    async def goes_on(stream: Any) -> None:
        await stream.receive()
        for at in range(MAX_AFTER_STOP + 2):
            await stream.send(pack_frame(Tokens(at, (7,), "a")))
        with contextlib.suppress(Unavailable):  # the agent has had enough
            while True:
                heard.append(parse_frame(await stream.receive()))

    outbox, _, reason = await serve(goes_on, gone=True)
    assert "every drawn executor" in reason
    assert len(outbox) == 0
    assert heard == [Stop(SIGNED.inference_id)], "asked once"


# -- the executor's side ----------------------------------------------------------------------------------------------------


async def endless(ended: list[bool]) -> AsyncIterator[TokenStep]:
    try:
        while True:
            await trio.lowlevel.checkpoint()
            yield TokenStep(7, "a", -0.1)
    finally:
        ended.append(True)


@pytest.mark.parametrize(("frame", "error"), [
    (Stop(SIGNED.inference_id), None), (Stop(bytes(32)), RemoteProtocolError), (Trying(bytes(32)), RemoteProtocolError), (None, Unavailable),
])
async def test_generation_ends_between_two_tokens_when_the_agent_says_anything(frame: Frame | None, error: type[FolkmootError] | None) -> None:
    mine, agents = pipe()
    taken: list[int] = []
    whole: list[int] = []
    ended: list[bool] = []

    async def take(step: TokenStep) -> None:
        taken.append(step.token)
        if len(taken) == 3:
            await (agents.send(pack_frame(frame)) if frame else agents.close())
        await trio.sleep(0)  # a cut would fall here
        await trio.sleep(0)
        whole.append(step.token)

    with trio.fail_after(30):
        if error is None:
            assert await until_stop(mine, SIGNED.inference_id, endless(ended), take)
        else:
            with pytest.raises(error):
                await until_stop(mine, SIGNED.inference_id, endless(ended), take)
    assert len(taken) >= 3
    assert taken == whole, "no token is half sent"
    assert ended == [True], "the engine is let go at once"


async def test_the_engine_is_let_go_at_once_when_the_agent_takes_no_more() -> None:
    mine, _agents = pipe()
    ended: list[bool] = []
    tokens = endless(ended)

    async def take(step: TokenStep) -> None:
        del step
        raise Unavailable("the stream broke", field="stream")

    with pytest.raises(Unavailable):
        await until_stop(mine, SIGNED.inference_id, tokens, take)
    assert ended == [True]


async def test_a_generation_that_ends_by_itself_was_not_stopped_and_its_errors_come_through() -> None:
    async def two(fail: bool) -> AsyncIterator[TokenStep]:
        yield TokenStep(7, "a", -0.1)
        if fail:
            raise Unavailable("the ML node broke", field="ml_node")

    taken: list[int] = []

    async def take(step: TokenStep) -> None:
        taken.append(step.token)

    mine, _agents = pipe()
    assert not await until_stop(mine, SIGNED.inference_id, two(fail=False), take)
    with pytest.raises(Unavailable) as caught:
        await until_stop(mine, SIGNED.inference_id, two(fail=True), take)
    assert caught.value.field == "ml_node"
    assert taken == [7, 7]
