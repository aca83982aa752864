"""Where a validator looks for a payload. Law: any source will do, because the root on chain tells a right payload from
a wrong one.

It asks the executor first. When that is slow or silent it asks the agent that confirmed the answer and the other
members of the inference's committees too, in an order drawn for this validator, until it must say that nobody gave the
payload. So an executor cannot leave out one member of a committee, and no answer is lost because its executor is
stopped or flooded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from p2p.base.body import Body, open_body
from p2p.base.errors import FolkmootError, InvalidRequest, RemoteProtocolError, Unavailable
from p2p.base.keys import digest, peer_id
from p2p.base.types import VERSION
from p2p.verification import artifact as artifacts
from p2p.wire.frames import Failure, Payload, PayloadWanted, pack_frame, receive_frame

if TYPE_CHECKING:
    from p2p.chain.views.inferences import Claim, Duty
    from p2p.gossip.connections.streams import Stream

HEDGE_S = 2.0  # the next source is asked too when the ones before gave nothing for so long
RETRY_S, MAX_RETRY_S = 2.0, 16.0  # pauses between two questions to one source: the first, doubled up to the last
LEAST_S = 6.0  # a search takes at least this long, however late the height
HEIGHT_LOOK_S = 0.5  # between two looks at the height
GIVE_UP_SHARE = 4  # it gives up a quarter of the window before the end ...
GIVE_UP_LEAST = 2  # ... but at least so many heights before: the commitment must still get into a block
MAX_REASON = 300  # characters of why nobody gave it


@dataclass(frozen=True, slots=True)
class FoundPayload:
    """A payload whose root is the one on chain."""

    payload: Payload
    body: Body
    artifact: artifacts.Artifact


@dataclass(slots=True)
class PayloadSearch:
    """One search for one payload."""

    me: bytes  # this validator's key
    duty: Duty
    claim: Claim
    open_stream: Callable[[str, str], Awaitable[Stream]]
    height: Callable[[], int]  # of the chain now
    _found: FoundPayload | None = None
    _reasons: dict[bytes, str] = field(default_factory=dict)  # by node, why it gave nothing

    async def run(self) -> FoundPayload:
        """Raises Unavailable if nobody gave it in time."""
        async with trio.open_nursery() as nursery:
            for place, node in enumerate(self.sources_in_turn()):
                nursery.start_soon(self._ask_until_found, node, place * HEDGE_S, nursery.cancel_scope)
            nursery.start_soon(self._end_at_give_up_height, nursery.cancel_scope)
        if self._found is None:
            why = self._reasons.get(self.sources_in_turn()[0], "no answer")
            raise Unavailable(f"nobody gave the payload; the executor: {why}"[:MAX_REASON], field="payload")
        return self._found

    def sources_in_turn(self) -> list[bytes]:
        """Nodes to ask, in turn: the executor, or the key it was rotated to; then the others in this validator's own
        order."""
        first = self.claim.host or self.claim.finish.executor
        others, duty = {*self.claim.holders} - {first, self.me}, self.duty

        def place(node: bytes) -> bytes:
            return digest(b"sources", duty.beacon, duty.inference_id, self.me, node)

        return [first, *sorted(others, key=place)]

    def give_up_height(self) -> int:
        """The height from which on the validator says that nobody gave the payload."""
        window = self.duty.closes - self.duty.height
        return self.duty.closes - max(GIVE_UP_LEAST, window // GIVE_UP_SHARE)

    async def _end_at_give_up_height(self, done: trio.CancelScope) -> None:
        await trio.sleep(LEAST_S)
        while self.height() < self.give_up_height():
            await trio.sleep(HEIGHT_LOOK_S)
        done.cancel()

    async def _ask_until_found(self, node: bytes, wait_s: float, done: trio.CancelScope) -> None:
        """After `wait_s`, ask one source again and again; `done` ends the search."""
        await trio.sleep(wait_s)
        pause_s = RETRY_S
        while True:
            try:
                payload = await self._fetch(node)
                if (found := await trio.to_thread.run_sync(open_payload, payload, self.claim)) is not None:
                    self._found = found
                    done.cancel()
                self._reasons[node] = "it gave a payload with another root than the one on chain"
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


def open_payload(payload: Payload, claim: Claim) -> FoundPayload | None:
    """The payload, opened; None if it is not the one that was signed for, or not for the client's body."""
    try:
        body = open_body(payload.body, claim.request.body_hash)
    except InvalidRequest:
        return None
    try:
        artifact = artifacts.parse(payload.artifact)
    except RemoteProtocolError:
        return None
    return FoundPayload(payload, body, artifact) if artifact.root() == claim.finish.artifact_root else None
