"""Where a validator looks for a payload. Law: whoever has it will do, for the root on chain says which one is right; who has a wrong one has none.

The executor first; where it is slow or silent also the other members of the inference's committees and the agent that confirmed the answer, in
an order drawn for this validator, until it must say that it got nothing. So an executor cannot leave out one of a committee, and nobody's
answer is lost because the executor is stopped or flooded while a committee fetches it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from p2p.base.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.base.keys import digest, peer_id
from p2p.base.types import VERSION
from p2p.verification import artifact as artifacts
from p2p.wire.frames import Failure, Payload, PayloadWanted, pack_frame, receive_frame

if TYPE_CHECKING:
    from p2p.chain.views.inferences import Claim, Duty
    from p2p.gossip.streams import Stream

HEDGE_S = 2.0  # after so long without an answer the next one is asked as well
RETRY_S, MAX_RETRY_S = 2.0, 16.0  # between two questions to the same one
LEAST_S = 6.0  # it is looked for at least this long, however late the height
TICK_S = 0.5  # between two looks at the height


@dataclass(frozen=True, slots=True)
class FoundPayload:
    """The payload that the root on chain names, and what is in it."""

    payload: Payload
    artifact: artifacts.Artifact


@dataclass(slots=True)
class Search:
    """One look for one payload. me: this validator's key. height: of the chain now."""

    me: bytes
    duty: Duty
    claim: Claim
    open_stream: Callable[[str, str], Awaitable[Stream]]
    height: Callable[[], int]
    _found: FoundPayload | None = None
    _reasons: dict[bytes, str] = field(default_factory=dict)

    async def run(self) -> FoundPayload:
        """Raises Unavailable where nobody gave it in time."""
        async with trio.open_nursery() as nursery:
            for place, node in enumerate(self.order()):
                nursery.start_soon(self._ask, node, place * HEDGE_S, nursery.cancel_scope)
            nursery.start_soon(self._until_late, nursery.cancel_scope)
        if self._found is None:
            first = self.order()[:1]
            why = self._reasons.get(first[0], "no answer") if first else "there is nobody to ask"
            raise Unavailable(f"nobody gave the payload; the executor: {why}"[:300], field="payload")
        return self._found

    def order(self) -> list[bytes]:
        """Whom to ask, in turn."""
        first = self.claim.host or self.claim.finish.executor
        others = {*self.claim.holders} - {first, self.me}
        return [first, *sorted(others, key=lambda node: digest(b"sources", self.duty.beacon, self.duty.inference_id, self.me, node))]

    def give_up_at(self) -> int:
        """The height from which on it says that it got nothing: a quarter of the window before its commitment must be in a block."""
        return self.duty.closes - max(2, (self.duty.closes - self.duty.height) // 4)

    async def _until_late(self, done: trio.CancelScope) -> None:
        await trio.sleep(LEAST_S)
        while self.height() < self.give_up_at():
            await trio.sleep(TICK_S)
        done.cancel()

    async def _ask(self, node: bytes, wait_s: float, done: trio.CancelScope) -> None:
        await trio.sleep(wait_s)
        pause_s = RETRY_S
        while True:
            try:
                payload = await self._fetch(node)
                if (found := await trio.to_thread.run_sync(opened, payload, self.claim)) is not None:
                    self._found = found
                    done.cancel()
                self._reasons[node] = "it gave another payload than the one whose root is on chain"
            except FolkmootError as error:
                self._reasons[node] = error.message
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_RETRY_S)

    async def _fetch(self, node: bytes) -> Payload:
        stream = await self.open_stream(peer_id(node), "payload")
        try:
            await stream.send(pack_frame(PayloadWanted(VERSION, self.duty.inference_id)))
            frame = await receive_frame(stream, Payload, Failure)
        finally:
            await stream.close()
        if isinstance(frame, Payload):
            return frame
        raise Unavailable(frame.message if isinstance(frame, Failure) else type(frame).__name__, field="payload")


def opened(payload: Payload, claim: Claim) -> FoundPayload | None:
    """What is in it; None where it is not the one that was signed for, or not for the client's prompt."""
    if digest(b"prompt", payload.prompt.encode()) != claim.request.prompt_hash:
        return None
    try:
        artifact = artifacts.parse(payload.artifact)
    except RemoteProtocolError:
        return None
    return FoundPayload(payload, artifact) if artifact.root() == claim.finish.artifact_root else None
