"""What an answer consists of, for every API. Law: data only; no API's words and no event of the client.

The order of one answer: Started, again where another executor takes over; then Said and calls (CallBegin, CallDelta*,
CallEnd) in any order; then Ended or Failed, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from p2p.base.errors import FolkmootError


@dataclass(frozen=True, slots=True)
class Started:
    """An executor is asked."""

    inference_id: str  # 64 hexadecimal digits
    executor: str  # 64 hexadecimal digits
    price_micro: int  # of a token, at most


@dataclass(frozen=True, slots=True)
class Row:
    """The log-probabilities of one token, in nats, as the model gave them: before temperature, penalties and bias."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]  # the likeliest (token, log-probability)s, best first


@dataclass(frozen=True, slots=True)
class Said:
    """Text of the answer, and the rows of the tokens that came with it. One of both may be empty."""

    text: str
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class CallBegin:
    """The model calls a tool."""

    index: int  # of the calls of this answer
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallDelta:
    """More of a call's arguments."""

    index: int
    arguments: str  # a part of the JSON text


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The call is over."""

    index: int
    is_cut: bool = False  # the answer ended in the middle of it


class Reason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"  # the model ended it
    LENGTH = "length"  # the bound on its tokens, or the end of the context
    CALLS = "calls"  # the model called tools and waits for their results
    STOP_STRING = "stop_string"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as they are charged."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0  # of the prompt, that the executor says it had computed before

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.prompt + other.prompt, self.completion + other.completion, self.cached + other.cached)


@dataclass(frozen=True, slots=True)
class Ended:
    """The answer is complete."""

    reason: Reason
    usage: Usage
    stop: str | None = None  # the stop string that ended it, where that is known


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no answer, or no more of it."""

    error: FolkmootError


Piece = Started | Said | CallBegin | CallDelta | CallEnd | Ended | Failed
