"""The transfer agent: the peer that a client asks. Law: it forwards at once and records in parallel; it never waits for
the chain.

It draws the executors by the public rule, asks the next one when one is busy, silent or dies, and streams tokens back.
When the client leaves it asks the executor to stop: both sign for what was streamed, and the client pays for that
(decision 023).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from p2p.base.body import open_body
from p2p.base.codec import encode
from p2p.base.errors import FolkmootError, InvalidRequest, RemoteProtocolError, Unavailable
from p2p.base.keys import Domain, Key, peer_id, verify
from p2p.base.limits import EXECUTOR_SILENT_S, FIRST_TOKEN_TIMEOUT_S, TOKEN_TIMEOUT_S
from p2p.base.serving_limits import BEACON_MAX_AGE, MAX_AFTER_STOP
from p2p.base.token_ids import pack_ids
from p2p.base.types import (
    VERSION,
    FinishReason,
    OutputRecord,
    RecordKind,
    SignedBusy,
    SignedStreamed,
    StartRecord,
    Streamed,
)
from p2p.machine.deadlines import own_time, strain
from p2p.machine.tracing import EACH, about, passes
from p2p.metrics.peer import ASKED, PEER
from p2p.metrics.registry import Registry
from p2p.peer.client_stream import Reader
from p2p.peer.entrance import Entrance
from p2p.peer.quotas import UNLIMITED, Quotas, Usage
from p2p.peer.telling import Telling
from p2p.text.vocabulary import text_hash
from p2p.verification.artifact import output_hash, parse
from p2p.verification.streamed import chain_after, is_signed
from p2p.wire.failures import raise_failure
from p2p.wire.frames import (
    Accepted,
    Ask,
    Declined,
    Done,
    Failure,
    Forward,
    Frame,
    Payload,
    Stop,
    Tokens,
    Trying,
    Working,
    check_text,
    pack_frame,
    receive_frame,
)

if TYPE_CHECKING:
    from p2p.chain.chain import Chain
    from p2p.gossip.connections.streams import Stream
    from p2p.peer.outbox import Outbox, Room

OpenStream = Callable[[str, str], Awaitable["Stream"]]  # (peer id, protocol) -> a new stream there

log = structlog.get_logger()

MAX_REASON = 300  # characters of why an executor did not answer
RECORDS_OF_A_REQUEST = 3  # Start, output and a copy of the finish: what is started here can be confirmed here


@dataclass(slots=True)
class _Session:
    """One request while this peer is its agent."""

    ask: Ask
    reader: Reader  # the client
    usage: Usage  # of the account's quota
    room: Room  # in the outbox
    tokens: list[int] = field(default_factory=list)  # streamed so far, by all executors
    chain: bytes = b""  # hash chain over these tokens
    # signatures of executors that streamed some and failed
    taken_over: list[SignedStreamed] = field(default_factory=list)
    text: list[str] = field(default_factory=list)  # pieces, as streamed
    refusal: InvalidRequest | None = None  # an executor calls the request wrong

    def __post_init__(self) -> None:
        self.chain = self.ask.signed_request.inference_id

    @property
    def first(self) -> int:
        """Tokens that failed executors streamed; the present one continues after them."""
        return self.taken_over[-1].record.tokens if self.taken_over else 0


@dataclass(slots=True)
class Agent:
    """One per peer."""

    key: Key
    chain: Chain
    outbox: Outbox
    open_stream: OpenStream
    first_token_timeout_s: float = FIRST_TOKEN_TIMEOUT_S
    token_timeout_s: float = TOKEN_TIMEOUT_S
    entrance: Entrance = field(default_factory=Entrance)
    quotas: Quotas = field(default_factory=partial(Quotas, "account", UNLIMITED))
    metrics: Registry = field(default_factory=partial(Registry, PEER))

    async def serve(self, client: Stream, ask: Ask) -> None:
        """Answer one Ask on `client`. Raises FolkmootError for the caller to send as Failure."""
        outcome, telling = "refused", Telling(client)
        try:
            with (
                self.entrance.hold(modest=self.quotas.is_modest(ask.signed_request.request.account)),
                about("agent", ask.signed_request.inference_id) as facts,
            ):
                passes(ask.signed_request.inference_id, "agent is asked")
                outcome = "failed"
                try:
                    await telling.at_work(partial(self._serve, telling, ask))
                    outcome = "answered"
                except InvalidRequest:
                    outcome = "refused"
                    raise
                finally:
                    facts["outcome"] = outcome = "left" if telling.is_gone else outcome
        finally:
            self.metrics.add(ASKED, outcome)

    async def _serve(self, telling: Telling, ask: Ask) -> None:
        signed = ask.signed_request
        request = signed.request
        height = self.chain.height()
        open_body(ask.body, request.body_hash)
        if not request.may_be_started_by(self.key.public):
            raise InvalidRequest("the request names another agent; ask that, or sign one for this peer", field="agent")
        if not self.chain.reader.is_registered(self.key.public):
            raise Unavailable("this peer is not registered: ask another, or register it", field="agent")
        if (until := self.chain.reader.suspended(self.key.public)) > 0:
            raise Unavailable(f"this peer may start no inference until height {until}; ask another", field="agent")
        if not height - BEACON_MAX_AGE <= request.draw_height <= height:
            raise InvalidRequest(
                f"the request names height {request.draw_height} for its draw, this chain is at {height}; "
                f"sign the newest height, at most {BEACON_MAX_AGE} behind", field="draw_height",
            )
        self.chain.reservations.check_new(signed)
        draw = self.chain.reader.draw_for(signed)
        if draw is None:
            raise Unavailable(
                "this peer has no beacon of that height yet; it is still joining; ask another", field="draw_height"
            )
        drawn = draw.executors(signed, self.key.public)
        if not drawn:
            raise Unavailable(f"no other peer serves {request.model}", field="model")
        most = request.prompt_tokens_max + request.max_tokens
        with self.quotas.hold(request.account, most, height) as usage, self.outbox.hold(RECORDS_OF_A_REQUEST) as room:
            telling.stream.paid()  # from here on the account's quota counts tokens, no more the network the CPU time
            room.put(RecordKind.START, StartRecord(signed, self.key.public))
            self.chain.reservations.reserve(signed)
            session = _Session(ask, Reader(telling), usage, room)
            log.info("a request is begun", account=request.account, model=request.model, **{EACH: True})
            passes(signed.inference_id, "agent has checked")
            await self._execute(session, drawn, Accepted(signed.inference_id, self.key.public, draw.beacon, drawn))

    async def _execute(self, session: _Session, drawn: tuple[bytes, ...], *first: Frame) -> None:
        """Ask the drawn executors in turn until one has answered. first: what the client is told before. Raises
        Unavailable, or the refusal that an executor gave."""
        for node in drawn:
            outcome, first = await self._try(session, node, *first, Trying(node)), ()
            if isinstance(outcome, Done):
                await self._done(session, outcome)
                return
            log.info("an executor declined", executor=node, reason=outcome.reason, **{EACH: True})
            if outcome.busy is not None:
                self.outbox.offer(RecordKind.BUSY, outcome.busy)
            await session.reader.show(outcome)
        if session.refusal is not None:
            raise session.refusal
        raise Unavailable(
            "every drawn executor was busy or silent; the escrow returns at the deadline", field="executor"
        )

    async def _try(self, session: _Session, node: bytes, *told: Frame) -> Done | Declined:
        """Ask one executor. Whatever goes wrong on its side is a Declined with the reason. The client is told `told`
        meanwhile: the request need not wait for that, nor the client for a connection to the executor."""
        asked: Stream | Declined | None = None
        done = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.reader.show, *told)
                asked = await self._forward(session, node)
            if isinstance(asked, Declined):
                return asked
            signed: list[SignedStreamed] = []
            outcome = await self._relay(session, asked, node, signed)
            session.taken_over += signed[-1:]
            done = True
            return outcome
        finally:
            if asked is not None and not isinstance(asked, Declined):
                await (asked.close() if done else asked.reset())

    async def _forward(self, session: _Session, node: bytes) -> Stream | Declined:
        """A stream to one executor that has the request on it."""
        try:
            stream = await self.open_stream(peer_id(node), "infer")
        except FolkmootError as error:
            return Declined(node, f"unreachable: {error.message}"[:MAX_REASON], None)
        forward = Forward(
            VERSION, session.ask.signed_request, session.ask.body, self.key.public, pack_ids(session.tokens),
            tuple(session.taken_over), session.ask.rows,
        )
        is_sent = False
        try:
            passes(forward.signed_request.inference_id, "agent has a stream to the executor")
            await stream.send(pack_frame(forward))
            is_sent = True
            return stream
        except FolkmootError as error:
            return Declined(node, error.message[:MAX_REASON], None)
        finally:
            if not is_sent:
                await stream.reset()

    async def _relay(
        self, session: _Session, stream: Stream, node: bytes, signed: list[SignedStreamed]
    ) -> Done | Declined:
        """Pass frames to the client until the executor ends. signed: receives the executor's signature for each frame
        of tokens."""
        silent_s, most = EXECUTOR_SILENT_S * strain(), session.ask.signed_request.request.max_tokens
        stopping, until = False, own_time() + self.first_token_timeout_s
        while True:
            try:
                if session.reader.gone and session.tokens and not stopping:
                    stopping, most = True, min(most, len(session.tokens) + MAX_AFTER_STOP)
                    await stream.send(pack_frame(Stop(session.ask.signed_request.inference_id)))
                wait_s = max(0.0, min(silent_s, until - own_time()))
                frame = await receive_frame(stream, Tokens, Working, Done, Declined, Failure, timeout_s=wait_s)
                silent_s = EXECUTOR_SILENT_S * strain()
                if isinstance(frame, Tokens):
                    passes(session.ask.signed_request.inference_id, "agent has the first tokens")
                    signed.append(self._extend(session, node, frame, most))
                elif isinstance(frame, Done):
                    self._check_done(session, node, frame)
                    return frame
                elif isinstance(frame, Declined):
                    return self._check_busy(session, node, frame)
                elif isinstance(frame, Failure):
                    raise_failure(frame)
                elif isinstance(frame, Working):
                    silent_s = max(silent_s, frame.silence_ms / 1000)
                else:
                    raise RemoteProtocolError(f"an executor does not send {type(frame).__name__}", field="frame")
            except FolkmootError as error:
                if isinstance(error, InvalidRequest):
                    session.refusal = error  # likely true, but only one executor says so: ask the others too
                return Declined(node, f"{error.code}: {error.message}"[:MAX_REASON], None)
            if isinstance(frame, Tokens):
                until = own_time() + self.token_timeout_s
                await session.reader.show(frame)

    def _extend(self, session: _Session, node: bytes, frame: Tokens, most: int) -> SignedStreamed:
        """Add the frame's tokens; returns the executor's signature for all it streamed. Raises RemoteProtocolError and
        adds nothing if the signature is wrong, for no other executor could continue from such tokens."""
        if frame.position != len(session.tokens):
            raise RemoteProtocolError(
                f"position {frame.position} where {len(session.tokens)} was next", field="position"
            )
        if len(session.tokens) + len(frame.tokens) > most:
            raise RemoteProtocolError("more tokens than were asked for, or than may follow a Stop", field="tokens")
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
        session.usage.used = len(session.tokens)
        return streamed

    def _check_done(self, session: _Session, node: bytes, done: Done) -> None:
        """Raises RemoteProtocolError if finish and payload are not about what was streamed. The agent keeps the payload
        before it confirms anything, so no executor can decide later whether to show it to a committee (decision
        033)."""
        finish, record = done.finish, done.finish.record
        request = session.ask.signed_request.request
        if record.executor != node or record.inference_id != session.ask.signed_request.inference_id:
            raise RemoteProtocolError("the finish record is about another inference or executor", field="finish")
        if not verify(node, Domain.FINISH, request.network, encode(record), finish.signature):
            raise RemoteProtocolError("the finish record is not signed by the executor", field="signature")
        if record.output_tokens != len(session.tokens) or record.output_hash != output_hash(session.tokens):
            raise RemoteProtocolError("the finish record claims other tokens than were streamed", field="output_hash")
        if record.taken_over != session.first:
            raise RemoteProtocolError(
                "the finish record claims another number of tokens taken over", field="taken_over"
            )
        # earlier executors' text is not its fault
        if not session.first and record.text_hash != text_hash("".join(session.text)):
            raise RemoteProtocolError("the finish record is for another text than was streamed", field="text_hash")
        if parse(done.artifact).root() != record.artifact_root:
            raise RemoteProtocolError("the payload is not the one whose root is signed", field="artifact")
        if record.finish_reason is FinishReason.STOPPED and not session.reader.gone:
            raise RemoteProtocolError("the executor stopped, and nobody asked it to", field="finish_reason")

    def _check_busy(self, session: _Session, node: bytes, frame: Declined) -> Declined:
        """The same, without its record if `node` did not sign that."""
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
        """Keep the payload, then confirm the answer on chain and to the client."""
        record = OutputRecord(
            done.finish.record.inference_id, self.key.public, output_hash(session.tokens), len(session.tokens)
        )
        session.usage.used = done.finish.record.prompt_tokens + len(session.tokens)
        await self._keep(session, done)
        session.room.put(RecordKind.OUTPUT, record)
        session.room.put(RecordKind.FINISH, done.finish)  # a copy, for an executor that dies now
        executor, tokens = done.finish.record.executor, len(session.tokens)
        log.info("an answer is confirmed", executor=executor, tokens=tokens, **{EACH: True})
        await session.reader.show(done)

    async def _keep(self, session: _Session, done: Done) -> None:
        """The payload, for committees that the executor does not answer, and for `folkmoot verify` by this peer's
        owner."""
        payload = encode(Payload(session.ask.body, done.artifact))
        await trio.to_thread.run_sync(self.chain.payloads.put, bytes(done.finish.record.inference_id), payload)
