"""Generation that the agent can end early. Law: what was handed on is whole; a Stop takes effect between two tokens
only."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import trio

from p2p.base.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.gossip.streams import Stream
from p2p.verification.engine import TokenStep
from p2p.wire.frames import Stop, receive_frame


@dataclass(slots=True)
class _Agent:
    """What came from the agent while tokens went there. scope: around the wait for the next token. left: it went, or
    said what it may not."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    stopped: bool = False
    left: bool = False
    error: FolkmootError | None = None

    async def listen(self, stream: Stream, inference_id: bytes) -> None:
        try:
            frame = await receive_frame(stream, Stop, timeout_s=math.inf)
            if not isinstance(frame, Stop) or frame.inference_id != inference_id:
                raise RemoteProtocolError(f"{type(frame).__name__} has no place here", field="frame")
            self.stopped = True
        except Unavailable as error:  # it went to another executor, or is dead: nobody would confirm what we sign
            self.left, self.error = True, Unavailable(f"the agent left: {error.message}", field="agent")
        except FolkmootError as error:
            self.left, self.error = True, error
        self.scope.cancel()

    async def beside(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        try:
            await meanwhile()
        except FolkmootError as error:
            self.error = self.error or error
            self.scope.cancel()


async def until_stop(
    stream: Stream, inference_id: bytes, tokens: AsyncIterator[TokenStep], take: Callable[[TokenStep], Awaitable[None]],
    meanwhile: Callable[[], Awaitable[None]] = trio.sleep_forever, left: Callable[[], None] = lambda: None,
) -> bool:
    """Hand each token to `take`, until they end (False) or the agent says Stop (True). Raises what `tokens` and `take`
    raise, Unavailable where the agent is gone, RemoteProtocolError where it says anything else. meanwhile: runs until
    the end; a FolkmootError of it ends the answer. left: called where the agent is why there is no more."""
    agent = _Agent()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(agent.listen, stream, inference_id)
        nursery.start_soon(agent.beside, meanwhile)
        try:
            with agent.scope:
                async for step in tokens:
                    # half a frame would spoil the stream; bounded by the frame's own time limit
                    with trio.CancelScope(shield=True):
                        await take(step)
        except FolkmootError as error:
            agent.error = agent.error or error
        finally:
            if isinstance(tokens, AsyncGenerator):
                with trio.CancelScope(shield=True):
                    await tokens.aclose()
        nursery.cancel_scope.cancel()
    if agent.error is not None:
        if agent.left:
            left()
        raise agent.error
    return agent.stopped
