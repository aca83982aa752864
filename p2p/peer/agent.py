"""The transfer agent: any peer a client happens to ask. Law: forward at once, record in parallel, never wait for the chain.

Draws the executors by the public rule, goes down the list when one is busy, silent or dies, and streams tokens back. Where the client
leaves it asks the executor to stop: both sign for what was streamed, and the client pays for that (decision 023).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import trio

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError, InvalidRequest, RemoteProtocolError, Unavailable
from p2p.base.keys import Domain, Key, peer_id, verify
from p2p.base.limits import BEACON_MAX_AGE, FIRST_TOKEN_TIMEOUT_S, MAX_AFTER_STOP, MAX_CANDIDATES, TOKEN_TIMEOUT_S
from p2p.base.types import VERSION, FinishReason, OutputRecord, RecordKind, SignedBusy, SignedStreamed, StartRecord, Streamed
from p2p.base.weighted_draw import draw_executors
from p2p.peer.beginning import check_prompt
from p2p.peer.client_stream import Reader
from p2p.peer.entrance import Entrance
from p2p.peer.quotas import UNLIMITED, Bandwidth, Taken
from p2p.verification.artifact import output_hash, parse
from p2p.verification.streamed import chain_after, is_signed
from p2p.verification.text import text_hash
from p2p.wire.frames import (
    Accepted,
    Ask,
    Declined,
    Done,
    Failure,
    Forward,
    Payload,
    Stop,
    Tokens,
    Trying,
    check_text,
    pack_frame,
    raise_failure,
    receive_frame,
)

if TYPE_CHECKING:
    from p2p.chain.chain import Chain
    from p2p.gossip.streams import Stream
    from p2p.peer.outbox import Outbox, Room

OpenStream = Callable[[str, str], Awaitable["Stream"]]


@dataclass(slots=True)
class _Session:
    """What one request has come to: who asked, room for its records, tokens streamed so far and the chain over them, the word of those that
    streamed them and died, and why an executor called it wrong, if one did."""

    ask: Ask
    reader: Reader
    taken: Taken
    room: Room
    tokens: list[int] = field(default_factory=list)
    chain: bytes = b""
    taken_over: list[SignedStreamed] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    refusal: InvalidRequest | None = None

    def __post_init__(self) -> None:
        self.chain = self.ask.signed_request.inference_id

    @property
    def first(self) -> int:
        """Tokens whose executors are gone."""
        return self.taken_over[-1].record.tokens if self.taken_over else 0


@dataclass(slots=True)
class Agent:
    """One per peer. open_stream(peer_id, 'infer') reaches an executor."""

    key: Key
    chain: Chain
    outbox: Outbox
    open_stream: OpenStream
    first_token_timeout_s: float = FIRST_TOKEN_TIMEOUT_S
    token_timeout_s: float = TOKEN_TIMEOUT_S
    entrance: Entrance = field(default_factory=Entrance)
    bandwidth: Bandwidth = field(default_factory=partial(Bandwidth, "account", UNLIMITED))

    async def serve(self, client: Stream, ask: Ask) -> None:
        """Answer one Ask on `client`. Raises FolkmootError for the caller to send as Failure."""
        with self.entrance.hold(modest=self.bandwidth.is_modest(ask.signed_request.request.account)):
            await self._serve(client, ask)

    async def _serve(self, client: Stream, ask: Ask) -> None:
        signed = ask.signed_request
        request = signed.request
        height = self.chain.height()
        check_prompt(ask.prompt, request.prompt_hash)
        if not request.may_be_started_by(self.key.public):
            raise InvalidRequest("the request names another agent; ask that one, or sign one for this peer", field="agent")
        if not self.chain.reader.is_registered(self.key.public):
            raise Unavailable("this peer is not registered: ask another, or register it", field="agent")
        if (until := self.chain.reader.suspended(self.key.public)) > 0:
            raise Unavailable(f"this peer may start no inference until height {until}; ask another", field="agent")
        if not height - BEACON_MAX_AGE <= request.draw_height <= height:
            raise InvalidRequest(
                f"the draw is to be of height {request.draw_height}, this chain is at {height}; sign the newest, at most {BEACON_MAX_AGE} behind",
                field="draw_height",
            )
        self.chain.reservations.check_new(signed)
        beacon = self.chain.reader.beacon_at(request.draw_height)
        if beacon is None:
            raise Unavailable("this peer has no beacon yet; it is still joining", field="draw_height")
        serving = self.chain.reader.serving_at(request.model, request.draw_height)
        drawn = draw_executors(beacon, signed.inference_id, serving, self.key.public, MAX_CANDIDATES)
        if not drawn:
            raise Unavailable(f"no other peer serves {request.model}", field="model")
        most = request.prompt_tokens_max + request.max_tokens
        # Start, output and the copy of the finish: what is started here can be confirmed here
        with self.bandwidth.hold(request.account, most, height) as taken, self.outbox.hold(3) as room:
            room.put(RecordKind.START, StartRecord(signed, self.key.public))
            self.chain.reservations.reserve(signed)
            session = _Session(ask, Reader(client), taken, room)
            await session.reader.show(Accepted(signed.inference_id, self.key.public, beacon, drawn))
            await self._execute(session, drawn)

    async def _execute(self, session: _Session, drawn: tuple[bytes, ...]) -> None:
        """Down the list of those drawn until one has done it."""
        for node in drawn:
            await session.reader.show(Trying(node))
            outcome = await self._try(session, node)
            if isinstance(outcome, Done):
                await self._done(session, outcome)
                return
            if outcome.busy is not None:
                self.outbox.offer(RecordKind.BUSY, outcome.busy)
            await session.reader.show(outcome)
        if session.refusal is not None:
            raise session.refusal
        raise Unavailable("every drawn executor was busy or silent; the escrow returns at the deadline", field="executor")

    async def _try(self, session: _Session, node: bytes) -> Done | Declined:
        """One executor, from dial to Done; anything that goes wrong on its side is a Declined with the reason."""
        try:
            stream = await self.open_stream(peer_id(node), "infer")
        except FolkmootError as error:
            return Declined(node, f"unreachable: {error.message}"[:300], None)
        done = False
        try:
            forward = Forward(
                VERSION, session.ask.signed_request, session.ask.prompt, self.key.public, tuple(session.tokens),
                tuple(session.taken_over),
            )
            try:
                await stream.send(pack_frame(forward))
            except FolkmootError as error:
                return Declined(node, error.message[:300], None)
            said: list[SignedStreamed] = []
            outcome = await self._relay(session, stream, node, said)
            session.taken_over += said[-1:]
            done = True
            return outcome
        finally:
            await (stream.close() if done else stream.reset())

    async def _relay(self, session: _Session, stream: Stream, node: bytes, said: list[SignedStreamed]) -> Done | Declined:
        """said: gets the executor's word for each frame of tokens."""
        timeout_s, most = self.first_token_timeout_s, session.ask.signed_request.request.max_tokens
        stopping = False
        while True:
            try:
                if session.reader.gone and session.tokens and not stopping:
                    stopping, most = True, min(most, len(session.tokens) + MAX_AFTER_STOP)
                    await stream.send(pack_frame(Stop(session.ask.signed_request.inference_id)))
                frame = await receive_frame(stream, Tokens, Done, Declined, Failure, timeout_s=timeout_s)
                if isinstance(frame, Tokens):
                    said.append(self._extend(session, node, frame, most))
                elif isinstance(frame, Done):
                    self._check_done(session, node, frame)
                    return frame
                elif isinstance(frame, Declined):
                    return self._check_busy(session, node, frame)
                elif isinstance(frame, Failure):
                    raise_failure(frame)
                else:
                    raise RemoteProtocolError(f"{type(frame).__name__} has no place here", field="frame")
            except FolkmootError as error:
                if isinstance(error, InvalidRequest):
                    session.refusal = error  # likely true, but one executor's word: the others are asked as well
                return Declined(node, f"{error.code}: {error.message}"[:300], None)
            timeout_s = self.token_timeout_s
            await session.reader.show(frame)

    def _extend(self, session: _Session, node: bytes, frame: Tokens, most: int) -> SignedStreamed:
        """Takes the frame, or raises and has taken nothing: what is not signed could be handed to nobody else."""
        if frame.position != len(session.tokens):
            raise RemoteProtocolError(f"position {frame.position} where {len(session.tokens)} was next", field="position")
        if len(session.tokens) + len(frame.tokens) > most:
            raise RemoteProtocolError("more tokens than were asked for, or on and on after Stop", field="tokens")
        check_text(frame)
        request = session.ask.signed_request
        if self.chain.height() > request.request.deadline_height:
            raise RemoteProtocolError("the deadline is past: nobody pays for more", field="deadline_height")
        chain = chain_after(session.chain, frame.tokens)
        upto = len(session.tokens) + len(frame.tokens)
        streamed = SignedStreamed(Streamed(request.inference_id, node, session.first, upto, chain), frame.signature)
        if not is_signed(streamed, request.request.network):
            raise RemoteProtocolError("the tokens are not signed by the executor", field="signature")
        session.chain = chain
        session.text.append(frame.text)
        session.tokens.extend(frame.tokens)
        session.taken.used = len(session.tokens)
        return streamed

    def _check_done(self, session: _Session, node: bytes, done: Done) -> None:
        """The payload is checked before this peer confirms anything: who says what was streamed also has what committees will want, so no
        executor can decide later whether to show it (decision 033)."""
        finish, record = done.finish, done.finish.record
        request = session.ask.signed_request.request
        if record.executor != node or record.inference_id != session.ask.signed_request.inference_id:
            raise RemoteProtocolError("the finish record is about something else", field="finish")
        if not verify(node, Domain.FINISH, request.network, encode(record), finish.signature):
            raise RemoteProtocolError("the finish record is not signed by the executor", field="signature")
        if record.output_tokens != len(session.tokens) or record.output_hash != output_hash(session.tokens):
            raise RemoteProtocolError("the finish record claims other tokens than were streamed", field="output_hash")
        if record.taken_over != session.first:
            raise RemoteProtocolError("the finish record says that others streamed more, or less", field="taken_over")
        if not session.first and record.text_hash != text_hash("".join(session.text)):  # what those before have shown is not its fault
            raise RemoteProtocolError("the finish record is for another text than was streamed", field="text_hash")
        if parse(done.artifact).root() != record.artifact_root:
            raise RemoteProtocolError("the payload is not the one whose root is signed", field="artifact")
        if record.finish_reason is FinishReason.STOPPED and not session.reader.gone:
            raise RemoteProtocolError("it stopped, and nobody asked it to", field="finish_reason")

    def _check_busy(self, session: _Session, node: bytes, frame: Declined) -> Declined:
        busy: SignedBusy | None = frame.busy
        network = session.ask.signed_request.request.network
        honest = (
            busy is not None
            and busy.record.executor == node
            and busy.record.inference_id == session.ask.signed_request.inference_id
            and verify(node, Domain.BUSY, network, encode(busy.record), busy.signature)
        )
        return Declined(node, frame.reason, busy if honest else None)

    async def _done(self, session: _Session, done: Done) -> None:
        record = OutputRecord(
            done.finish.record.inference_id, self.key.public, output_hash(session.tokens), len(session.tokens)
        )
        session.taken.used = done.finish.record.prompt_tokens + len(session.tokens)
        await self._keep(session, done)  # before it is confirmed
        session.room.put(RecordKind.OUTPUT, record)
        session.room.put(RecordKind.FINISH, done.finish)  # the agent's copy: an executor that dies now is still recorded
        await session.reader.show(done)

    async def _keep(self, session: _Session, done: Done) -> None:
        """The payload: for committees that the executor does not answer, and so that this peer's owner can check it (`folkmoot verify`)."""
        payload = encode(Payload(session.ask.prompt, done.artifact))
        await trio.to_thread.run_sync(self.chain.payloads.put, bytes(done.finish.record.inference_id), payload)
