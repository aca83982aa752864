"""Follows one answer, frame by frame, to its receipt.

Law: each frame brings the end nearer, and one that does not ends the stream; the receipt is checked here before it is
given out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import peer_id
from p2p.base.limits import FIRST_TOKEN_TIMEOUT_S
from p2p.base.types import VERSION, SignedRequest
from p2p.client.answer_proof import AnswerProof
from p2p.client.draw_check import DrawCheck
from p2p.client.question import AskSpec
from p2p.client.receipt import check_receipt, streamed_by, summary
from p2p.client.tip_proof import Question
from p2p.client.way import Way
from p2p.gossip.streams import Stream
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

Event = dict[str, Any]


async def follow(
    stream: Stream, spec: AskSpec, signed: SignedRequest, drawn: DrawCheck, question: Question
) -> AsyncIterator[Event]:
    """The events of one answer; the last one is `done`, with the receipt. drawn: what is known of the draw; it learns
    the rest with `question`, which asks the same peer. Raises RemoteProtocolError, or the agent's own error."""
    answer = AnswerStream(spec, signed, drawn)
    while True:
        frame = await receive_frame(stream, Accepted, Trying, Declined, Tokens, Done, Failure, timeout_s=FRAME_WAIT_S)
        if isinstance(frame, Failure):
            raise_failure(frame)
        elif isinstance(frame, Accepted):
            yield answer.accept(frame)
            await drawn.look(question, spec.agent)
        elif isinstance(frame, Trying):
            yield answer.trying(frame)
        elif isinstance(frame, Declined):
            yield answer.declined(frame)
        elif isinstance(frame, Tokens):
            for event in answer.add(frame):
                yield event
        elif isinstance(frame, Done):
            answer.prove(frame)
            await drawn.settle(question, spec.agent)
            yield answer.finish(frame)
            return
        else:
            raise RemoteProtocolError(
                f"a {type(frame).__name__} frame came where a frame of an answer is expected", field="frame"
            )


@dataclass(slots=True)
class AnswerStream:
    """One answer, as far as it has come."""

    spec: AskSpec
    signed: SignedRequest
    drawn: DrawCheck
    accepted: Accepted | None = None
    tokens: list[int] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    way: Way = field(init=False)

    def __post_init__(self) -> None:
        self.way = Way(self.spec.network)

    def accept(self, frame: Accepted) -> Event:
        if self.accepted is not None:
            raise RemoteProtocolError("accepted twice", field="frame")
        self.accepted = frame
        return {
            "event": "accepted", "inference_id": frame.inference_id.hex(), "agent": frame.agent.hex(),
            "draw_height": self.drawn.height, "beacon": frame.beacon.hex(),
            "candidates": [node.hex() for node in frame.candidates],
        }

    def trying(self, frame: Trying) -> Event:
        self.way.trying(self.accepted, frame)
        return {"event": "executor", "node": frame.node.hex(), "peer_id": peer_id(frame.node)}

    def declined(self, frame: Declined) -> Event:
        self.way.passed(self.accepted, frame)
        return {"event": "busy" if frame.busy else "failed", "node": frame.node.hex(), "reason": frame.reason}

    def add(self, frame: Tokens) -> Iterator[Event]:
        """An event for each token. The text of all that share a frame is with the first."""
        if frame.position != len(self.tokens) or len(self.tokens) + len(frame.tokens) > self.spec.max_tokens:
            raise RemoteProtocolError(
                "tokens that do not follow on those before, or more than were asked for", field="position"
            )
        check_text(frame)
        self.tokens.extend(frame.tokens)
        self.text.append(frame.text)
        return (
            {"event": "token", "text": "" if at else frame.text, "token": token}
            for at, token in enumerate(frame.tokens)
        )

    def prove(self, frame: Done) -> None:
        """Give the answer's proof to whoever wants it, before anything about the receipt is known."""
        if self.spec.on_proof is not None:
            self.spec.on_proof(AnswerProof(
                VERSION, self.spec.prompt, self.signed, self._taken(), frame.finish, frame.artifact,
                tuple(self.tokens), "".join(self.text),
            ))

    def finish(self, frame: Done) -> Event:
        """Check the receipt. A price that was proved on the way is kept when nothing was wrong."""
        spec, drawn, accepted, text = self.spec, self.drawn, self._taken(), "".join(self.text)
        problems = check_receipt(spec, self.signed, accepted, frame, self.tokens, text, drawn=drawn)
        problems += self.way.problems(frame)
        if not problems and drawn.price_micro is not None and spec.known_prices is not None:
            spec.known_prices.keep(spec.model, drawn.price_micro, drawn.height)
        passed_over = self.way.passed_over(streamed_by(frame))
        receipt = summary(self.signed, accepted, frame, spec.agent, problems, drawn.known, passed_over)
        return {"event": "done", "receipt": receipt, "text": text}

    def _taken(self) -> Accepted:
        if self.accepted is None:
            raise RemoteProtocolError("finished before it was accepted", field="frame")
        return self.accepted
