"""Scenarios of ending early, on the real agent and the real generation over streams in memory: who stops unasked, who
does not stop."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
import trio

from p2p.base.body import one_message
from p2p.base.codec import encode
from p2p.base.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.base.keys import Domain, Key
from p2p.base.serving_limits import MAX_AFTER_STOP
from p2p.base.types import (
    VERSION,
    FinishReason,
    FinishRecord,
    Params,
    Request,
    SignedFinish,
    SignedRequest,
    SignedStreamed,
)
from p2p.client.stream import follow
from p2p.peer.agent import Agent, _Session
from p2p.peer.client_stream import Reader
from p2p.peer.outbox import Outbox, Room
from p2p.peer.quotas import Usage
from p2p.peer.stoppable import until_stop
from p2p.peer.telling import Telling
from p2p.text.vocabulary import text_hash
from p2p.verification import artifact as artifacts
from p2p.verification.artifact import output_hash
from p2p.verification.engine import TokenStep
from p2p.verification.streamed import chain_after, sign_streamed
from p2p.wire.frames import Accepted, Ask, Declined, Done, Forward, Frame, Stop, Tokens, Trying, pack_frame, parse_frame
from tests.verification.toy import SPEC

AGENT, EXECUTOR, CLIENT = (Key(bytes([i]) * 32) for i in (1, 2, 3))
BODY = Request(
    VERSION, "n", CLIENT.public, 1, "toy", one_message("hi").hash, Params(), 50, 1000, 100, 40, CLIENT.public, 1
)
SIGNED = SignedRequest(BODY, CLIENT.sign(Domain.REQUEST, "n", encode(BODY)))


class End:
    """One end of a stream in memory. broken: nothing can be sent any more."""

    def __init__(self, out: trio.MemorySendChannel[bytes], into: trio.MemoryReceiveChannel[bytes]) -> None:
        self.out, self.into, self.broken = out, into, False

    async def send(self, *frames: bytes) -> None:
        if self.broken:
            raise Unavailable("the stream broke", field="stream")
        for frame in frames:
            await self.out.send(frame)

    async def receive(self, *, limit: int = 0, timeout_s: float = 5.0) -> bytes:
        try:
            with trio.fail_after(min(timeout_s, 30.0)):
                return await self.into.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError) as error:
            raise Unavailable("the peer closed the stream", field="stream") from error

    def paid(self) -> None: ...

    async def close(self) -> None:
        self.out.close()

    reset = close


def pipe() -> tuple[Any, Any]:
    one, two = trio.open_memory_channel[bytes](10_000), trio.open_memory_channel[bytes](10_000)
    return End(one[0], two[1]), End(two[0], one[1])


def finished(
    tokens: list[int], reason: FinishReason, text: str = "", taken: tuple[SignedStreamed, ...] = (),
    key: Key = EXECUTOR,
) -> Done:
    shown = text_hash(text or "ab"[: len(tokens)])
    steps = [TokenStep(token, "", -0.1, ((token, -0.1),)) for token in tokens]
    made = artifacts.build(
        artifacts.header_for(BODY, SIGNED.inference_id, SPEC, bytes(32), range(5), reason, taken=taken), steps
    )
    record = FinishRecord(
        SIGNED.inference_id, key.public, made.root(), output_hash(tokens), 5, len(tokens), reason, text_hash=shown,
        taken_over=made.header.taken_over,
    )
    return Done(SignedFinish(record, key.sign(Domain.FINISH, "n", encode(record))), made.to_bytes())


def said(tokens: list[int], text: str = "a", first: int = 0, key: Key = EXECUTOR) -> Tokens:
    """The frame with the last of `tokens`."""
    signed = sign_streamed(key, "n", SIGNED.inference_id, first, len(tokens), chain_after(SIGNED.inference_id, tokens))
    return Tokens(len(tokens) - 1, (tokens[-1],), text, signed.signature)


class NoChain:
    """At a height before every deadline."""

    now = 1
    payloads = property(lambda self: self)

    def height(self) -> int:
        return self.now

    def put(self, key: bytes, raw: bytes) -> None: ...


async def serve(executor: Callable[[Any], Awaitable[None]], *, gone: bool) -> tuple[Outbox, list[Frame], str]:
    """What the agent has for the chain, what the client saw, and the reason of the error at the end."""
    client, seen_by_client = pipe()
    to_executor, at_executor = pipe()
    outbox = Outbox(AGENT, "n")
    client.broken = gone

    async def open_stream(peer: str, protocol: str) -> Any:
        del peer, protocol
        return to_executor

    agent = Agent(AGENT, cast(Any, NoChain()), outbox, open_stream, 5.0, 5.0)
    asked = Ask(VERSION, SIGNED, encode(one_message("hi")))
    session = _Session(asked, Reader(Telling(client)), Usage(b"", 1, 1000), Room(outbox, 0))
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
        await stream.send(pack_frame(said([7])))
        await stream.send(pack_frame(finished([7], FinishReason.STOPPED)))

    outbox, frames, reason = await serve(cuts_short, gone=False)
    assert [type(frame).__name__ for frame in frames] == ["Trying", "Tokens", "Declined"]
    assert "nobody asked it to" in frames[-1].reason  # type: ignore[union-attr]
    assert "every drawn executor" in reason
    assert len(outbox) == 0
    assert isinstance(frames[0], Trying)


async def test_the_client_is_told_while_the_executor_is_dialled_and_in_one_write() -> None:
    client, at_client = pipe()
    writes: list[int] = []
    send = client.send

    async def counted(*frames: bytes) -> None:
        writes.append(len(frames))
        await send(*frames)

    client.send = counted

    async def never(peer: str, protocol: str) -> Any:
        await trio.sleep_forever()

    agent = Agent(AGENT, cast(Any, NoChain()), Outbox(AGENT, "n"), never, 5.0, 5.0)
    asked = Ask(VERSION, SIGNED, encode(one_message("hi")))
    session = _Session(asked, Reader(Telling(client)), Usage(b"", 1, 1000), Room(agent.outbox, 0))
    accepted = Accepted(SIGNED.inference_id, AGENT.public, bytes(32), (EXECUTOR.public,))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(agent._execute, session, (EXECUTOR.public,), accepted)
        seen = [parse_frame(await at_client.receive()) for _ in range(2)]
        nursery.cancel_scope.cancel()
    assert seen == [accepted, Trying(EXECUTOR.public)]
    assert writes == [2]


async def test_the_request_leaves_before_the_client_has_read_that_it_does() -> None:
    client, to_executor, at_executor = pipe()[0], *pipe()
    held = trio.Event()

    async def slow(*frames: bytes) -> None:
        await held.wait()

    client.send = slow

    async def open_stream(peer: str, protocol: str) -> Any:
        await trio.lowlevel.checkpoint()
        return to_executor

    agent = Agent(AGENT, cast(Any, NoChain()), Outbox(AGENT, "n"), open_stream, 5.0, 5.0)
    asked = Ask(VERSION, SIGNED, encode(one_message("hi")))
    session = _Session(asked, Reader(Telling(client)), Usage(b"", 1, 1000), Room(agent.outbox, 0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(agent._execute, session, (EXECUTOR.public,))
        assert isinstance(parse_frame(await at_executor.receive()), Forward)
        nursery.cancel_scope.cancel()
        held.set()


async def test_an_executor_that_stops_when_asked_is_confirmed() -> None:
    heard: list[Frame] = []

    async def stops(stream: Any) -> None:
        await stream.receive()
        await stream.send(pack_frame(said([7])))
        heard.append(parse_frame(await stream.receive()))
        await stream.send(pack_frame(said([7, 8], "b")))  # it was on its way
        await stream.send(pack_frame(finished([7, 8], FinishReason.STOPPED)))

    outbox, frames, reason = await serve(stops, gone=True)
    assert heard == [Stop(SIGNED.inference_id)]
    assert (len(outbox), frames, reason) == (2, [], ""), "an OutputRecord and the executor's finish"


async def test_an_executor_that_goes_on_after_stop_is_not_confirmed() -> None:
    heard: list[Frame] = []

    async def goes_on(stream: Any) -> None:
        await stream.receive()
        for at in range(MAX_AFTER_STOP + 2):
            await stream.send(pack_frame(said([7] * (at + 1))))
        with contextlib.suppress(Unavailable):  # the agent has had enough
            while True:
                heard.append(parse_frame(await stream.receive()))

    outbox, _, reason = await serve(goes_on, gone=True)
    assert "every drawn executor" in reason
    assert len(outbox) == 0
    assert heard == [Stop(SIGNED.inference_id)], "asked once"


@pytest.mark.parametrize(("bad", "words"), [
    (Tokens(1, (8,), "b", bytes(64)), "not signed"), (said([9, 8], "b"), "not signed"),
    (said([7, 8], "b", key=AGENT), "not signed"),
    (said([7, 8], "b", first=1), "not signed"), (said([7], "b"), "position 0 where 1 was next"),
    (said([7, 8, 9], "b"), "position 2"),
    (said([7, 8], "x" * 5000), "bytes of text"),
])
async def test_a_frame_that_could_be_handed_to_nobody_is_not_taken(bad: Tokens, words: str) -> None:
    """Neither shown nor gone on from: the answer stays where it was."""
    async def lies(stream: Any) -> None:
        await stream.receive()
        await stream.send(pack_frame(said([7])))
        await stream.send(pack_frame(bad))

    _, frames, _ = await serve(lies, gone=False)
    assert [type(frame).__name__ for frame in frames] == ["Trying", "Tokens", "Declined"]
    assert words in frames[-1].reason  # type: ignore[union-attr]


async def test_frames_without_tokens_keep_nobody_waiting() -> None:
    async def idles(stream: Any) -> None:
        await stream.receive()
        with contextlib.suppress(Unavailable):
            for _ in range(5):
                await stream.send(encode(["tokens", 0, [], "", bytes(64)]))

    _, frames, _ = await serve(idles, gone=False)
    assert [type(frame).__name__ for frame in frames] == ["Trying", "Declined"], "the first one ends it"


async def test_nothing_is_taken_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def late(stream: Any) -> None:
        await stream.receive()
        await stream.send(pack_frame(said([7])))

    monkeypatch.setattr(NoChain, "now", BODY.deadline_height + 1)
    _, frames, _ = await serve(late, gone=False)
    assert "deadline" in frames[-1].reason  # type: ignore[union-attr]


# -- the client's side -----------------------------------------------------------------------------------------------

NODES = (EXECUTOR.public, b"\x09" * 32)


class NoDraw:
    """Finds nothing out."""

    height = 1

    async def look(self, question: Any, peer: str) -> None:
        del question, peer


TAKEN = Accepted(SIGNED.inference_id, AGENT.public, bytes(32), NODES)


@pytest.mark.parametrize(("frames", "field"), [
    ([TAKEN, TAKEN], "frame"), ([Trying(NODES[0])], "frame"), ([TAKEN, *[Trying(NODES[0])] * 3], "frame"),
    ([TAKEN, *[Trying(NODES[0]), Declined(NODES[0], "", None)] * 3], "frame"),
    ([TAKEN, Declined(NODES[0], "", None)], "frame"),
    ([TAKEN, Trying(NODES[0]), said([7]), said([7])], "position"),
    ([TAKEN, Trying(NODES[0]), said([7, 8])], "position"),
    ([TAKEN, Trying(NODES[0]), said([7], "x" * 5000)], "text"),
    ([TAKEN, Trying(NODES[0]), *[said([7] * (at + 1)) for at in range(1001)]], "position"),
])
async def test_an_agent_cannot_keep_a_client_for_ever(frames: list[Any], field: str) -> None:
    """Each frame brings the end nearer: a frame that does not ends it."""
    mine, agents = pipe()
    for frame in frames:
        await agents.send(pack_frame(frame))
    with trio.fail_after(60), pytest.raises(RemoteProtocolError) as caught:
        async for _ in follow(mine, AGENT.peer_id, "hi", SIGNED, cast(Any, NoDraw()), cast(Any, None)):
            pass
    assert caught.value.field == field


# -- the executor's side ---------------------------------------------------------------------------------------------


async def endless(ended: list[bool]) -> AsyncIterator[TokenStep]:
    try:
        while True:
            await trio.lowlevel.checkpoint()
            yield TokenStep(7, "a", -0.1)
    finally:
        ended.append(True)


@pytest.mark.parametrize(("frame", "error"), [
    (Stop(SIGNED.inference_id), None), (Stop(bytes(32)), RemoteProtocolError), (Trying(bytes(32)), RemoteProtocolError),
    (None, Unavailable),
])
async def test_generation_ends_between_two_tokens_when_the_agent_says_anything(
    frame: Frame | None, error: type[FolkmootError] | None
) -> None:
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
