"""A whole answer, collected from its events.

Law: what is told here was checked or is marked: `problems` says what of it does not hold.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from p2p.base.errors import RemoteProtocolError
from p2p.base.types import FinishReason
from p2p.client.answer_proof import AnswerProof
from p2p.client.events import Done, Event, Proved, Resumed, TermsShown, Token
from p2p.client.receipt import Receipt
from p2p.verification.artifact import Position


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds since the question was put."""

    first_token_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered, by whom, and what it costs."""

    text: str  # as it is shown: up to the first stop string
    tokens: tuple[int, ...]  # all of them, also those from requests that broke off
    rows: tuple[Position, ...]  # log-probabilities of each token; empty where they were not asked for
    receipt: Receipt  # of the last request
    proof: AnswerProof  # of the last request, for `folkmoot verify`
    # What the last request is charged at the price that was told before it was signed. Requests that broke off are not
    # charged (decision 056); what the chain did at last, `Client.inference` says.
    cost_micro: int
    timings: Timings
    resumed: int = 0  # so often it was continued at another peer

    @property
    def checked(self) -> bool:
        """Whether every claim of the receipt holds."""
        return self.receipt.checked

    @property
    def problems(self) -> tuple[str, ...]:
        return self.receipt.problems

    @property
    def executor(self) -> bytes:
        """Node key of the peer that made the answer, or its end."""
        return self.receipt.executor

    @property
    def inference_id(self) -> bytes:
        return self.receipt.inference_id

    @property
    def finish_reason(self) -> FinishReason:
        return self.receipt.finish_reason


async def collect(events: AsyncIterator[Event], clock: Callable[[], float]) -> Answer:
    """The answer at the end of `events`. clock: seconds. Raises RemoteProtocolError where they end without one."""
    begun = clock()
    first: float | None = None
    tokens: list[Token] = []
    proof: AnswerProof | None = None
    price_micro = resumed = 0
    last = b""  # inference that was continued
    async for event in events:
        if isinstance(event, TermsShown):
            price_micro = event.price_micro
        elif isinstance(event, Token):
            first = clock() if first is None else first
            tokens.append(event)
        elif isinstance(event, Resumed):
            resumed, last = resumed + (event.continues != last), event.continues
        elif isinstance(event, Proved):
            proof = event.proof
        elif isinstance(event, Done):
            assert proof is not None  # stream.py gives it out first
            receipt, now = event.receipt, clock()
            return Answer(
                event.text, tuple(token.token for token in tokens),
                tuple(token.row for token in tokens if token.row is not None), receipt, proof,
                price_micro * (receipt.prompt_tokens + receipt.output_tokens),
                Timings((now if first is None else first) - begun, now - begun), resumed,
            )
    raise RemoteProtocolError("the answer ended without a receipt", field="receipt")
