"""What this peer answers on each stream protocol.

Law: one request frame, one handler. A handler's typed error goes back to the sender as a Failure frame.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio
from msgspec import to_builtins

from p2p.base.codec import decode, encode
from p2p.base.errors import FolkmootError, InvalidRequest, RemoteProtocolError
from p2p.chain.account_transactions import AccountTransactions
from p2p.chain.body_stream import serve_body
from p2p.chain.chain import Chain
from p2p.chain.queries import Queries
from p2p.chain.sync_client import serve_sync
from p2p.consensus.engine import ConsensusEngine
from p2p.gossip.connections.streams import Stream
from p2p.machine.deadlines import move_on_after
from p2p.peer.agent import Agent
from p2p.peer.executor import Executor
from p2p.peer.intake import Intake
from p2p.peer.record_sender import RecordSender
from p2p.peer.validator import stored_payload
from p2p.peer.vote_streams import VoteStreams
from p2p.peer.wakeup import Wakeup
from p2p.wire.failures import failure
from p2p.wire.frames import (
    Answer,
    Ask,
    BodyWanted,
    Forward,
    Frame,
    PayloadWanted,
    Query,
    SubmitTransaction,
    pack_frame,
    receive_frame,
)

HEIGHT_WAIT_S = 3.0  # how long a request may wait for a block that its sender has and this peer has not
LAST_FRAME_S = 2.0  # to send the Failure, and to close the stream
MAX_QUERY = 4096  # bytes of a query's body
# protocols whose handler says from where on the work is counted as tokens (Stream.paid)
METERED_BY_QUOTA = frozenset({"infer"})


@dataclass(frozen=True, slots=True)
class StreamHandlers:
    """The servers of one peer's streams. new_height: set after each block."""

    chain: Chain
    consensus: ConsensusEngine
    agent: Agent
    executor: Executor
    queries: Queries
    account_transactions: AccountTransactions
    records: RecordSender
    new_height: Wakeup
    votes: VoteStreams
    intake: Intake

    def table(self) -> dict[str, Callable[[Stream], Awaitable[None]]]:
        """Protocol -> the server of one stream."""
        return {
            "infer": lambda stream: serve_one(stream, self._infer, Ask, Forward),
            "payload": lambda stream: serve_one(stream, self._payload, PayloadWanted),
            "query": lambda stream: serve_one(stream, self._query, Query, SubmitTransaction),
            "body": lambda stream: serve_one(stream, partial(serve_body, self.consensus), BodyWanted),
            "votes": self.votes.serve,
            "sync": lambda stream: serve_sync(self.chain, stream),
        }

    async def _infer(self, stream: Stream, frame: Ask | Forward) -> None:
        if isinstance(frame, Ask):  # an executor declines with its signature (executor.py)
            self.intake.check("agent")
        await self._wait_for(frame.signed_request.request.draw_height)
        if isinstance(frame, Ask):
            await self.agent.serve(stream, frame)
        else:
            await self.executor.serve(stream, frame)

    async def _wait_for(self, height: int) -> None:
        """Give the next block a moment to arrive: client and agent may have it already."""
        with move_on_after(HEIGHT_WAIT_S):
            while height == self.chain.height() + 1:
                await self.new_height.wait()

    async def _payload(self, stream: Stream, frame: PayloadWanted) -> None:
        """Prompt and artifact of an inference, for those who check it."""
        raw = self.chain.payloads.read(frame.inference_id)
        if raw is None or not await self._may_fetch(frame.inference_id, stream.peer):
            raise InvalidRequest("this peer has no such payload for you", field="inference_id", code="not_found")
        await stream.send(pack_frame(stored_payload(raw)))

    async def _may_fetch(self, inference_id: bytes, peer: str) -> bool:
        """Whether the chain gives `peer` a part in this inference: executor, agent or member of a committee. A drawn
        validator may be a block ahead of this peer, so it waits for that block."""
        with move_on_after(HEIGHT_WAIT_S):
            while not self.chain.reader.may_fetch(inference_id, peer):
                await self.new_height.wait()
        return self.chain.reader.may_fetch(inference_id, peer)

    async def _query(self, stream: Stream, frame: Query | SubmitTransaction) -> None:
        if isinstance(frame, SubmitTransaction):
            raw, taken = self.account_transactions.take(frame.signed_op)
            answer = to_builtins(taken)
            if raw is not None:
                await self.records.publish_transaction(raw)
        else:
            answer = self.queries.answer_public(decode(frame.body, limit=MAX_QUERY))
        await stream.send(pack_frame(Answer(encode(answer))))


async def serve_one(stream: Stream, handle: Callable[[Stream, Any], Awaitable[None]], *kinds: type[Frame]) -> None:
    """Read one frame of the `kinds` that this protocol has, and answer it. Raises RemoteProtocolError, for which the
    network counts a penalty against the sender."""
    try:
        await handle(stream, await receive_frame(stream, *kinds))
    except FolkmootError as error:
        with move_on_after(LAST_FRAME_S):
            await stream.send(pack_frame(failure(error)))
        if isinstance(error, RemoteProtocolError):
            raise
    finally:
        with trio.CancelScope(shield=True), move_on_after(LAST_FRAME_S):
            await stream.close()
