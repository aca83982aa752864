"""Follows one answer, frame by frame, to its receipt.

Law: each frame brings the end nearer, and one that does not ends the stream. Tokens count when their executor's
signature is checked, before they are shown; the receipt is checked here before it is given out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import peer_id, public_key_of
from p2p.base.limits import AGENT_SILENT_S, EXECUTOR_SILENT_S, FIRST_TOKEN_TIMEOUT_S
from p2p.base.token_ids import pack_ids
from p2p.base.types import VERSION, FinishReason, SignedRequest, SignedStreamed, Streamed
from p2p.client import events
from p2p.client.answer_proof import AnswerProof
from p2p.client.draw_check import DrawCheck
from p2p.client.receipt import check_receipt, draw_problems, rows_problems, streamed_by, summary
from p2p.client.repeat import NOTHING, Repeat
from p2p.client.shown import Shown
from p2p.client.tip_proof import QueryPeer
from p2p.client.way import Way
from p2p.gossip.connections.streams import Stream
from p2p.machine.deadlines import strain
from p2p.verification.artifact import Position, unpack_rows
from p2p.verification.streamed import chain_after, is_signed
from p2p.wire.failures import raise_failure
from p2p.wire.frames import Accepted, Declined, Done, Failure, Tokens, Trying, Working, check_text, receive_frame

FRAME_WAIT_S = FIRST_TOKEN_TIMEOUT_S + 10  # an agent gives up on an executor first, and says so


async def follow(
    stream: Stream, peer: str, body: bytes, signed: SignedRequest, drawn: DrawCheck, query: QueryPeer,
) -> AsyncIterator[events.Event]:
    """The events of one answer without stop strings; the last one is Done, with the receipt. peer: the id of the peer
    that is asked. body: encoded, as it was sent. Otherwise as `follow_into`."""
    async for event in follow_into(stream, AnswerStream(peer, body, signed, drawn), query):
        yield event


async def follow_into(stream: Stream, answer: AnswerStream, query: QueryPeer) -> AsyncIterator[events.Event]:
    """The events of an answer, which `answer` keeps, so that it can be continued elsewhere where this raises. query:
    asks the same peer; the rest of the draw is learnt with it. Raises RemoteProtocolError, or the agent's own error."""
    wait_s = FRAME_WAIT_S
    while True:
        frame = await receive_frame(
            stream, Accepted, Trying, Declined, Tokens, Working, Done, Failure, timeout_s=wait_s
        )
        # an agent that is there says something all the time, so a dead one is missed soon
        wait_s = (EXECUTOR_SILENT_S + AGENT_SILENT_S) * strain()
        if isinstance(frame, Failure):
            raise_failure(frame)
        elif isinstance(frame, Accepted):
            yield answer.accept(frame)
            # while the executor begins: the state knows the set now, and the agent may die later
            await answer.drawn.look(query, answer.peer)
        elif isinstance(frame, Trying):
            yield answer.trying(frame)
        elif isinstance(frame, Declined):
            yield answer.declined(frame)
        elif isinstance(frame, Tokens):
            for event in answer.add(frame):
                yield event
        elif isinstance(frame, Working):
            wait_s = min(FRAME_WAIT_S, max(wait_s, AGENT_SILENT_S + frame.silence_ms / 1000))
        elif isinstance(frame, Done):
            for event in answer.shown.end():
                yield event
            yield answer.prove(frame)
            await answer.drawn.settle(query, answer.peer)
            yield answer.finish(frame)
            return
        else:
            raise RemoteProtocolError(
                f"a {type(frame).__name__} frame came where a frame of an answer is expected", field="frame"
            )


@dataclass(slots=True)
class AnswerStream:
    """One answer, as far as it has come."""

    peer: str  # id of the peer that is asked
    body: bytes  # encoded
    signed: SignedRequest
    drawn: DrawCheck
    rows: bool = False  # log-probabilities were asked for
    shown: Shown = field(default_factory=Shown)  # where the answer continues another one: the same
    before: tuple[AnswerStream, ...] = ()  # whose tokens this one continues, the first one first
    repeat: Repeat = NOTHING  # what was shown already and comes once more
    accepted: Accepted | None = None
    tokens: list[int] = field(default_factory=list)  # each of them signed by its executor
    text: list[str] = field(default_factory=list)  # their text, as it was signed
    positions: list[Position] = field(default_factory=list)  # their log-probabilities
    way: Way = field(init=False)
    _chain: bytes = field(init=False, repr=False)  # hash chain over the tokens
    _first: int = 0  # of the present executor's tokens

    def __post_init__(self) -> None:
        self.way = Way(self.signed.request.network)
        self._chain = self.signed.inference_id

    def accept(self, frame: Accepted) -> events.Accepted:
        if self.accepted is not None:
            raise RemoteProtocolError("accepted twice", field="frame")
        self.accepted = frame
        return events.Accepted(frame.inference_id, frame.agent, self.drawn.height, frame.beacon, frame.candidates)

    def trying(self, frame: Trying) -> events.Trying:
        self.way.trying(self.accepted, frame)
        self._first = len(self.tokens)
        return events.Trying(frame.node, peer_id(frame.node))

    def declined(self, frame: Declined) -> events.Busy | events.Declined:
        self.way.passed(self.accepted, frame)
        return (events.Busy if frame.busy else events.Declined)(frame.node, frame.reason)

    def add(self, frame: Tokens) -> list[events.Token]:
        """The events that can be shown. Raises RemoteProtocolError, and keeps nothing of a frame that is wrong."""
        request, upto = self.signed.request, len(self.tokens) + len(frame.tokens)
        if frame.position != len(self.tokens) or upto > request.max_tokens:
            raise RemoteProtocolError(
                "tokens that do not follow on those before, or more than were asked for", field="position"
            )
        check_text(frame)
        rows = self._rows(frame)
        executor = self.way.asked
        if executor is None:
            raise RemoteProtocolError("tokens came, and no executor was asked", field="frame")
        chain = chain_after(self._chain, frame.tokens)
        record = Streamed(self.signed.inference_id, executor, self._first, upto, chain)
        if not is_signed(SignedStreamed(record, frame.signature), request.network):
            raise RemoteProtocolError("the tokens are not signed by the executor that was asked", field="signature")
        self.repeat, again, text = self.repeat.after(frame.tokens, frame.text)
        self._chain = chain
        self.tokens.extend(frame.tokens)
        self.text.append(frame.text)
        self.positions.extend(rows)
        if again == len(frame.tokens):
            return []
        return self.shown.add(frame.tokens[again:], (rows or [None] * len(frame.tokens))[again:], text)

    def _rows(self, frame: Tokens) -> tuple[Position, ...]:
        """The log-probabilities of a frame's tokens; none where they were not asked for."""
        if not self.rows:
            return ()
        found = unpack_rows(frame.rows)
        if tuple(row.token for row in found) != frame.tokens:
            raise RemoteProtocolError("the log-probabilities are missing, or not those of these tokens", field="rows")
        return found

    def prove(self, frame: Done) -> events.Proved:
        """The answer's proof, before anything about the receipt is known."""
        return events.Proved(AnswerProof(
            VERSION, self.body, self.signed, self._taken(), frame.finish, frame.artifact, pack_ids(self.tokens),
            "".join(self.text),
        ))

    def finish(self, frame: Done) -> events.Done:
        """Check the receipt."""
        signed, drawn, accepted, text = self.signed, self.drawn, self._taken(), "".join(self.text)
        agent = public_key_of(self.peer)
        problems = check_receipt(agent, signed, accepted, frame, self.tokens, text, drawn=drawn)
        problems += self.way.problems(frame)
        if self.rows:
            problems += rows_problems(frame, self.positions)
        if (frame.finish.record.finish_reason is FinishReason.STOP_STRING) and not self.shown.found:
            problems.append("the answer is said to end at a stop string, and has none")
        for earlier in self.before:
            problems += [f"in the request that this one continues: {problem}" for problem in earlier.problems()]
        passed_over, continues = self.way.passed_over(streamed_by(frame)), self.continues
        receipt = summary(signed, accepted, frame, self.peer, problems, drawn.known, passed_over, continues)
        by_stop = frame.finish.record.finish_reason is FinishReason.STOP_STRING
        return events.Done(receipt, self.shown.text, (self.shown.stop or "") if by_stop else "")

    @property
    def continues(self) -> tuple[bytes, ...]:
        """The inferences whose tokens come before these."""
        return tuple(earlier.signed.inference_id for earlier in self.before)

    def problems(self) -> list[str]:
        """What is wrong with an answer that broke off, and of which tokens are kept: they are signed, so by the right
        executor or not."""
        return draw_problems(self.drawn, self._taken(), self.signed) if self.tokens else []

    def _taken(self) -> Accepted:
        if self.accepted is None:
            raise RemoteProtocolError("finished before it was accepted", field="frame")
        return self.accepted
