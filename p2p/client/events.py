"""What a client is told on the way to its answer. Law: data only; what only the peer says is marked as its word.

The tag of an event is its name in the lines of `folkmoot ask --json`.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from p2p.base.types import SignedRequest
from p2p.client.answer_proof import AnswerProof
from p2p.client.receipt import Receipt, hexed
from p2p.verification.artifact import Position
from p2p.wire.answers.accounts import Notice


class _Event(Struct, frozen=True, tag_field="event"):
    pass


class Notices(_Event, frozen=True, tag="notices"):
    """What became of earlier inferences of the account, by the peer's word; at least one."""

    notices: tuple[Notice, ...]


class TermsShown(_Event, frozen=True, tag="terms"):
    """What the request is about to cost. Nothing is signed before the next event is asked for."""

    price_micro: int  # of a token now, by the peer's word
    max_price_micro: int  # of a token, as it is signed
    tokens: int  # the most of prompt and answer together
    balance_micro: int  # of the account, by the peer's word

    @property
    def most_micro(self) -> int:
        """What the whole may cost."""
        return self.max_price_micro * self.tokens


class Signed(_Event, frozen=True, tag="signed"):
    """The request is signed. It is not sent before the next event is asked for."""

    signed_request: SignedRequest


class Waiting(_Event, frozen=True, tag="waiting"):
    """The agent has too many requests. It is asked again after the wait."""

    wait_s: float
    reason: str  # the agent's words
    left: int  # waits after this one, before the client gives up


class Accepted(_Event, frozen=True, tag="accepted"):
    """The agent has taken the request. Its draw is checked in the receipt."""

    inference_id: bytes
    agent: bytes
    draw_height: int
    beacon: bytes
    candidates: tuple[bytes, ...]  # in the order in which they are asked


class Trying(_Event, frozen=True, tag="executor"):
    """The agent asks this executor now."""

    node: bytes
    peer_id: str


class Busy(_Event, frozen=True, tag="busy"):
    """That executor has signed that it cannot answer. The next one is asked."""

    node: bytes
    reason: str


class Declined(_Event, frozen=True, tag="failed"):
    """That executor did not answer, says the agent. The next one is asked."""

    node: bytes
    reason: str


class Token(_Event, frozen=True, tag="token"):
    """The next token. The text of all tokens that share a frame comes with the first of them. A token waits with text
    that may begin a stop string; of the stop string, and of what follows it, nothing is here."""

    text: str
    token: int
    row: Position | None = None  # log-probabilities, by the executor's word; None: they were not asked for


class PeerFailed(_Event, frozen=True, tag="peer_failed"):
    """This peer did not take the question, or not to the end; another one is asked."""

    peer: str
    code: str  # of the error
    reason: str
    left: int  # tries after this one


class Resumed(_Event, frozen=True, tag="resumed"):
    """The answer broke off at one peer. It goes on, token for token, by a request of its own at another one."""

    peer: str  # that is asked now
    continues: bytes  # the inference whose tokens are carried over
    tokens: int  # so many of them


class Proved(_Event, frozen=True, tag="proved"):
    """The answer is complete, and this is its proof, whatever the receipt will say."""

    proof: AnswerProof


class Done(_Event, frozen=True, tag="done"):
    """The end: the receipt, checked, and the whole text as it was shown."""

    receipt: Receipt
    text: str
    stop: str = ""  # the stop string that ended it


Event = (
    Notices | TermsShown | Signed | Waiting | Accepted | Trying | Busy | Declined | Token | PeerFailed | Resumed
    | Proved | Done
)


def plain(event: Event) -> dict[str, Any]:
    """For JSON: `event` is its tag, bytes are hexadecimal digits."""
    found = hexed(event)
    if isinstance(event, TermsShown):
        found["most_micro"] = event.most_micro
    elif isinstance(event, Done):
        found["receipt"] = event.receipt.plain()
        if not event.stop:
            del found["stop"]
    elif isinstance(event, Token) and event.row is None:
        del found["row"]
    return found
