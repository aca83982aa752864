"""One signed request, the frames of its answer, and streams in memory to carry them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio

from p2p.base.body import Body, one_message
from p2p.base.codec import encode
from p2p.base.errors import Unavailable
from p2p.base.genesis import ModelSpec
from p2p.base.keys import Domain, Key, digest
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
from p2p.client.draw_check import DrawCheck
from p2p.client.events import Event
from p2p.client.stream import AnswerStream, follow_into
from p2p.verification import artifact as artifacts
from p2p.verification.artifact import output_hash, pack_rows
from p2p.verification.engine import TokenStep
from p2p.verification.streamed import chain_after, sign_streamed
from p2p.wire.frames import Done, Tokens, pack_frame

AGENT, EXECUTOR, CLIENT = (Key(bytes([i]) * 32) for i in (1, 2, 3))
SPEC = ModelSpec("toy", b"\x01" * 32, b"\x02" * 32, "bfloat16", 10, 1, 2048)
BODY = one_message("hi")
RAW = encode(BODY)
NETWORK = "n"


def signed_request(body: Body = BODY, params: Params | None = None) -> SignedRequest:
    request = Request(
        VERSION, NETWORK, CLIENT.public, 1, "toy", body.hash, params or Params(), 50, 1000, 100, 40, CLIENT.public, 1
    )
    return SignedRequest(request, CLIENT.sign(Domain.REQUEST, NETWORK, encode(request)))


SIGNED = signed_request()


def text_hash(text: str) -> bytes:
    """As a finish record carries it."""
    return digest(b"text", text.encode())


class End:
    """One end of a stream in memory."""

    def __init__(self, out: trio.MemorySendChannel[bytes], into: trio.MemoryReceiveChannel[bytes]) -> None:
        self.out, self.into = out, into

    async def send(self, frame: bytes) -> None:
        try:
            await self.out.send(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Unavailable("the stream broke", field="stream") from error

    async def receive(self, *, limit: int = 0, timeout_s: float = 5.0) -> bytes:
        try:
            with trio.fail_after(timeout_s):
                return await self.into.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError, trio.TooSlowError) as error:
            raise Unavailable("the peer closed the stream", field="stream") from error

    async def close(self) -> None:
        self.out.close()

    async def reset(self) -> None:
        self.out.close()
        self.into.close()


def pipe() -> tuple[Any, Any]:
    one, two = trio.open_memory_channel[bytes](10_000), trio.open_memory_channel[bytes](10_000)
    return End(one[0], two[1]), End(two[0], one[1])


def step(token: int, logprob: float = -0.1) -> TokenStep:
    return TokenStep(token, "", logprob, ((token, logprob), *((token + at, -3.0 - at) for at in range(1, 8))))


def frame(
    tokens: Sequence[int], text: str, *, before: Sequence[int] = (), first: int = 0, key: Key = EXECUTOR,
    rows: bool = False, inference_id: bytes = SIGNED.inference_id,
) -> Tokens:
    """The frame with `tokens`, which follow `before`. first: of this executor's own tokens."""
    upto = len(before) + len(tokens)
    chain = chain_after(inference_id, (*before, *tokens))
    signed = sign_streamed(key, NETWORK, inference_id, first, upto, chain)
    packed = pack_rows([step(token) for token in tokens]) if rows else b""
    return Tokens(len(before), tuple(tokens), text, signed.signature, packed)


def finished(
    tokens: Sequence[int], text: str, reason: FinishReason = FinishReason.LENGTH, *, key: Key = EXECUTOR,
    taken: tuple[SignedStreamed, ...] = (), logprob: float = -0.1,
) -> Done:
    header = artifacts.header_for(SIGNED.request, SIGNED.inference_id, SPEC, bytes(32), range(5), reason, taken=taken)
    made = artifacts.build(header, [step(token, logprob) for token in tokens])
    record = FinishRecord(
        SIGNED.inference_id, key.public, made.root(), output_hash(tokens), 5, len(tokens), reason,
        text_hash=text_hash(text), taken_over=made.header.taken_over,
    )
    return Done(SignedFinish(record, key.sign(Domain.FINISH, NETWORK, encode(record))), made.to_bytes())


class NoDraw(DrawCheck):
    """Of which nothing is asked."""

    async def look(self, *words: Any) -> None:
        del words

    settle = look


async def followed(frames: Sequence[Any], **settings: Any) -> list[Event]:
    """The events of a client to whom an agent sent these frames. settings: of the AnswerStream."""
    client, agent = pipe()
    nothing: Any = None
    for one in frames:
        await agent.send(pack_frame(one))
    answer = AnswerStream(AGENT.peer_id, RAW, SIGNED, NoDraw(nothing, "toy", 1), **settings)
    with trio.fail_after(60):
        return [event async for event in follow_into(client, answer, nothing)]
