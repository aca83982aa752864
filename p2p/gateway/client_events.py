"""A client's events as pieces of an answer. Law: pure; what the receipt does not bear out is no answer.

An answer that breaks off at one peer goes on at another by a request of its own (decision 056): its executor is then
another one, and its tokens are counted here, because the last receipt knows only its own.
"""

from __future__ import annotations

from p2p.base.errors import RemoteProtocolError, Unavailable
from p2p.base.types import FinishReason
from p2p.client.events import Accepted, Done, Event, TermsShown, Token, Trying
from p2p.gateway.core.backend import Asked
from p2p.gateway.core.pieces import Ended, Reason, Row, Said, Started, Usage

_REASONS = {
    FinishReason.STOP: Reason.STOP, FinishReason.LENGTH: Reason.LENGTH, FinishReason.STOP_STRING: Reason.STOP_STRING,
}


class ClientEvents:
    """One answer on its way."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._price_micro = 0
        self._inference = ""
        self._tokens = 0

    def feed(self, event: Event) -> Started | Said | Ended | None:
        """The piece that an event is; None for one that callers of an API are not told.

        Raises RemoteProtocolError where the receipt does not hold, and Unavailable for an answer that was stopped.
        """
        match event:
            case TermsShown():
                self._price_micro = event.price_micro
            case Accepted():
                self._inference = event.inference_id.hex()
            case Trying():
                return Started(self._inference, event.node.hex(), self._price_micro)
            case Token():
                return self._token(event)
            case Done():
                return self._ended(event)
        return None

    def _token(self, event: Token) -> Said | None:
        self._tokens += 1
        row = event.row
        if row is None:
            return Said(event.text) if event.text else None
        return Said(event.text, (Row(row.token, row.logprob, row.top),))

    def _ended(self, event: Done) -> Ended:
        receipt = event.receipt
        if receipt.problems:
            raise RemoteProtocolError(
                f"the answer's receipt does not hold: {'; '.join(receipt.problems)}"[:1000], field="receipt",
            )
        reason = _REASONS.get(receipt.finish_reason)
        if reason is None:
            raise Unavailable("the answer was stopped by its agent; ask again", field="answer")
        if receipt.continues:
            usage = Usage(self._asked.prompt_tokens, self._tokens)
        else:
            usage = Usage(receipt.prompt_tokens, receipt.output_tokens, receipt.cached)
        return Ended(reason, usage, event.stop or None)
