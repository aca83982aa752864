"""Generation that the agent can end early. Law: every token handed on is whole; a Stop takes effect between two
tokens."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import trio

from p2p.base.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.gossip.connections.streams import Stream
from p2p.verification.engine import TokenStep
from p2p.wire.frames import Stop, receive_frame


@dataclass(slots=True)
class _Agent:
    """What the agent sends while tokens go to it."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)  # around the wait for the next token
    stopped: bool = False  # it sent Stop
    left: bool = False  # it is gone, or sent what it must not
    error: FolkmootError | None = None

    async def listen(self, stream: Stream, inference_id: bytes) -> None:
        try:
            frame = await receive_frame(stream, Stop, timeout_s=math.inf)
            if not isinstance(frame, Stop) or frame.inference_id != inference_id:
                raise RemoteProtocolError("an agent sends nothing but Stop after a Forward", field="frame")
            self.stopped = True
        except Unavailable as error:  # it is dead, or asks another executor: nobody would confirm what we sign
            self.left, self.error = True, Unavailable(f"the agent left: {error.message}", field="agent")
        except FolkmootError as error:
            self.left, self.error = True, error
        self.scope.cancel()

    async def run_beside(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        try:
            await meanwhile()
        except FolkmootError as error:
            self.error = self.error or error
            self.scope.cancel()


async def until_stop(
    stream: Stream, inference_id: bytes, tokens: AsyncIterator[TokenStep], take: Callable[[TokenStep], Awaitable[bool]],
    meanwhile: Callable[[], Awaitable[None]] = trio.sleep_forever, left: Callable[[], None] = lambda: None,
) -> bool:
    """Hand each token to `take` until they end or `take` says that the answer is over (False), or the agent sends Stop
    (True).

    meanwhile: runs at the same time, until the end; its FolkmootError ends the answer. left: called if the agent is why
    there are no more tokens. Raises what `tokens` and `take` raise, Unavailable if the agent is gone,
    RemoteProtocolError if it sends anything but Stop.
    """
    agent = _Agent()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(agent.listen, stream, inference_id)
        nursery.start_soon(agent.run_beside, meanwhile)
        try:
            with agent.scope:
                async for step in tokens:
                    # half a frame would spoil the stream; bounded by the frame's own time limit
                    with trio.CancelScope(shield=True):
                        is_over = await take(step)
                    if is_over:
                        break
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
