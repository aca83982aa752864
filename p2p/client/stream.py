"""Follows one answer, frame by frame, to its receipt.

Law: each frame brings the end nearer, and one that does not ends the stream; the receipt is checked here before it is
given out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import peer_id, public_key_of
from p2p.base.limits import FIRST_TOKEN_TIMEOUT_S
from p2p.base.types import VERSION, SignedRequest
from p2p.client import events
from p2p.client.answer_proof import AnswerProof
from p2p.client.draw_check import DrawCheck
from p2p.client.receipt import check_receipt, streamed_by, summary
from p2p.client.tip_proof import QueryPeer
from p2p.client.way import Way
from p2p.gossip.connections.streams import Stream
from p2p.wire.frames import (
    Accepted,
    Declined,
    Done,
    Failure,
    Tokens,
    Trying,
    check_text,
    raise_failure,
    receive_frame,
)

FRAME_WAIT_S = FIRST_TOKEN_TIMEOUT_S + 10  # an agent gives up on an executor first, and says so


async def follow(
    stream: Stream, peer: str, prompt: str, signed: SignedRequest, drawn: DrawCheck, query: QueryPeer
) -> AsyncIterator[events.Event]:
    """The events of one answer; the last one is Done, with the receipt. peer: the id of the peer that is asked. drawn:
    what is known of the draw; it learns the rest with `query`, which asks the same peer. Raises RemoteProtocolError, or
    the agent's own error."""
    answer = AnswerStream(peer, prompt, signed, drawn)
    while True:
        frame = await receive_frame(stream, Accepted, Trying, Declined, Tokens, Done, Failure, timeout_s=FRAME_WAIT_S)
        if isinstance(frame, Failure):
            raise_failure(frame)
        elif isinstance(frame, Accepted):
            yield answer.accept(frame)
            await drawn.look(query, peer)
        elif isinstance(frame, Trying):
            yield answer.trying(frame)
        elif isinstance(frame, Declined):
            yield answer.declined(frame)
        elif isinstance(frame, Tokens):
            for event in answer.add(frame):
                yield event
        elif isinstance(frame, Done):
            yield answer.prove(frame)
            await drawn.settle(query, peer)
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
    prompt: str
    signed: SignedRequest
    drawn: DrawCheck
    accepted: Accepted | None = None
    tokens: list[int] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    way: Way = field(init=False)

    def __post_init__(self) -> None:
        self.way = Way(self.signed.request.network)

    def accept(self, frame: Accepted) -> events.Accepted:
        if self.accepted is not None:
            raise RemoteProtocolError("accepted twice", field="frame")
        self.accepted = frame
        return events.Accepted(frame.inference_id, frame.agent, self.drawn.height, frame.beacon, frame.candidates)

    def trying(self, frame: Trying) -> events.Trying:
        self.way.trying(self.accepted, frame)
        return events.Trying(frame.node, peer_id(frame.node))

    def declined(self, frame: Declined) -> events.Busy | events.Declined:
        self.way.passed(self.accepted, frame)
        return (events.Busy if frame.busy else events.Declined)(frame.node, frame.reason)

    def add(self, frame: Tokens) -> Iterator[events.Token]:
        """An event for each token. The text of all that share a frame is with the first."""
        most = self.signed.request.max_tokens
        if frame.position != len(self.tokens) or len(self.tokens) + len(frame.tokens) > most:
            raise RemoteProtocolError(
                "tokens that do not follow on those before, or more than were asked for", field="position"
            )
        check_text(frame)
        self.tokens.extend(frame.tokens)
        self.text.append(frame.text)
        return (events.Token("" if at else frame.text, token) for at, token in enumerate(frame.tokens))

    def prove(self, frame: Done) -> events.Proved:
        """The answer's proof, before anything about the receipt is known."""
        return events.Proved(AnswerProof(
            VERSION, self.prompt, self.signed, self._taken(), frame.finish, frame.artifact, tuple(self.tokens),
            "".join(self.text),
        ))

    def finish(self, frame: Done) -> events.Done:
        """Check the receipt."""
        signed, drawn, accepted, text = self.signed, self.drawn, self._taken(), "".join(self.text)
        agent = public_key_of(self.peer)
        problems = check_receipt(agent, signed, accepted, frame, self.tokens, text, drawn=drawn)
        problems += self.way.problems(frame)
        passed_over = self.way.passed_over(streamed_by(frame))
        return events.Done(summary(signed, accepted, frame, self.peer, problems, drawn.known, passed_over), text)

    def _taken(self) -> Accepted:
        if self.accepted is None:
            raise RemoteProtocolError("finished before it was accepted", field="frame")
        return self.accepted
